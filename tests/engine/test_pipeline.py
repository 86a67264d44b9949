"""How the stages hang together: cache keys, and a whole small solve."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.footage import Footage
from engine.pipeline import plan
from engine.request import FootageRequest, LensRequest, Request

CLIP = Footage(
    path=Path("/shots/a.mp4"), kind="movie", pattern=None, width=640, height=360, fps=(24, 1), numbers=(1, 2, 3),
    missing=(), files=(), colourspace="srgb", content_id="c0",
)  # fmt: skip
REQUEST = Request(FootageRequest(CLIP.path), Path("/shots/a.solve"))
ALL = ["footage", "poses", "flow", "prior", "scale", "depth", "export"]


def keys(request=REQUEST, clip=CLIP, device="cpu"):
    return {name: stage.key for name, stage in plan(Path("/cache"), request, clip, device).items()}


@pytest.mark.parametrize(
    ("changed", "redone"),
    [
        (keys(clip=replace(CLIP, content_id="c1")), ALL),
        (keys(clip=replace(CLIP, numbers=(1, 2))), ALL),
        (keys(replace(REQUEST, lens=LensRequest(focal_px=500.0))), ALL[1:]),
        (keys(replace(REQUEST, seed=1)), ALL[1:]),
        (keys(replace(REQUEST, preset="preview")), ALL[2:]),
        (keys(device="cuda"), ALL[3:]),
        (keys(clip=replace(CLIP, path=Path("/elsewhere/a.mp4"))), ALL[6:]),
        (keys(replace(REQUEST, output=Path("/other.solve"))), []),
    ],
)
def test_a_changed_setting_redoes_exactly_the_stages_after_it(changed, redone):
    assert [name for name, key in keys().items() if changed[name] != key] == redone
