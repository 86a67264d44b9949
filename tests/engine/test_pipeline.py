"""How the stages hang together: cache keys, and a whole small solve."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.cameras.knowledge import what_is_known
from engine.depth.hints import Hint, Polygons
from engine.depth.settings import settings_of
from engine.errors import Cancelled, WorkspaceError
from engine.footage import Footage, probe
from engine.pipeline import plan, solve
from engine.pipeline.cameras import identity
from engine.pipeline.solve import Inputs
from engine.pipeline.stages import KINDS
from engine.priors import Source
from engine.request import STAGES, FootageRequest, LensRequest, MaskRequest, PriorRequest, Request, WorldRequest

CLIP = Footage(
    path=Path("/shots/a.mp4"), kind="movie", pattern=None, width=640, height=360, fps=(24, 1), numbers=(1, 2, 3),
    missing=(), files=(), colourspace="srgb", content_id="c0",
)  # fmt: skip
REQUEST = Request(FootageRequest(CLIP.path), Path("/shots/a.solve"))
PRIOR = Source("a", "CC0-1.0", False, "depth", "one", lambda *_: lambda _: np.zeros((1, 1), np.float32))
GIVEN = {"artist": None, "segmentation": None}
ALL = ["footage", "masks", "poses", "flow", "motion", "prior", "scale", "evidence", "depth", "export"]
AFTER_POSES = ALL[3:]


HINT = Hint("a", Polygons({2: np.zeros((3, 2))}), 2, 2, "distance", (1.0,))


def stages(request=REQUEST, clip=CLIP, prior=PRIOR, given=GIVEN, device="cpu", hints=()):
    known = what_is_known(request.lens, clip)
    inputs = Inputs(request, clip, settings_of(request), prior, given, known, identity(request, known), hints)
    return plan(Path("/cache"), inputs, device)


def keys(*args, **kwargs):
    return {name: stage.key for name, stage in stages(*args, **kwargs).items()}


@pytest.mark.parametrize(
    ("changed", "redone"),
    [
        (keys(clip=replace(CLIP, content_id="c1")), ALL),
        (keys(clip=replace(CLIP, numbers=(1, 2))), ALL),
        (keys(given={"artist": "x", "segmentation": None}), ALL[1:]),
        (keys(replace(REQUEST, lens=LensRequest(focal_px=500.0))), ALL[2:]),
        (keys(replace(REQUEST, seed=1)), ALL[2:]),
        (keys(replace(REQUEST, world=WorldRequest(camera_height=1.7))), ALL[2:]),
        (keys(replace(REQUEST, tracks=Path(__file__))), ALL[2:]),
        (keys(replace(REQUEST, preset="preview")), AFTER_POSES),
        (keys(replace(REQUEST, masks=MaskRequest(motion=False))), ["motion", "depth", "export"]),
        (keys(prior=replace(PRIOR, identity="two")), ["prior", "scale", "evidence", "depth", "export"]),
        (keys(device="cuda"), ["prior", "scale", "evidence", "depth", "export"]),
        (keys(replace(REQUEST, footage=replace(REQUEST.footage, baseline=0.06))), ALL[6:]),
        (keys(clip=replace(CLIP, path=Path("/elsewhere/a.mp4"))), ["export"]),
        (keys(hints=[HINT]), ["export"]),
        (keys(replace(REQUEST, output=Path("/other.solve"))), []),
    ],
)
def test_a_changed_setting_redoes_exactly_the_stages_that_read_it(changed, redone) -> None:
    assert [name for name, key in keys().items() if changed[name] != key] == redone


@pytest.mark.parametrize("name", ALL)
def test_a_new_version_of_a_stage_redoes_it_and_what_reads_it_and_nothing_else(
    name, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys()
    newer = tuple(replace(kind, version=kind.version + 1) if kind.name == name else kind for kind in KINDS)
    monkeypatch.setattr("engine.pipeline.run.KINDS", newer)
    redone = {name}
    for kind in (kind for kind in KINDS if kind.name in ALL):
        if redone & set(kind.reads):
            redone.add(kind.name)
    assert {stage for stage, key in keys().items() if key != before[stage]} == redone & set(before)


def test_hints_are_a_stage_of_their_own() -> None:
    assert "hints" not in keys()
    one, other = keys(hints=[HINT]), keys(hints=[replace(HINT, values=(2.0,))])
    assert [name for name in one if one[name] != other[name]] == ["hints", "export"]
    assert list(one) == [*ALL[:-1], "hints", "export"]


def test_a_release_keeps_what_was_solved_by_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys()
    monkeypatch.setattr("engine.__version__", "99.0.0")
    assert keys() == before


def test_the_stages_are_those_that_a_request_can_name() -> None:
    assert tuple(kind.name for kind in KINDS) == STAGES


def test_the_page_on_architecture_tells_every_stage_in_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| stage | module | what it does |\n|---|---|---|\n")[2].partition("\n\n")[0]
    told = [line.split("|")[1].strip() for line in table.splitlines()]
    assert tuple(name for name in told if name) == STAGES


def test_stages_read_only_those_before_them() -> None:
    done: set[str] = set()
    for kind in KINDS:
        assert set(kind.reads) <= done
        done.add(kind.name)


def test_only_the_stages_that_are_needed_are_planned() -> None:
    assert list(keys()) == ALL
    assert "evidence" not in keys(replace(REQUEST, method="selfsup"))
    assert "evidence" not in keys(replace(REQUEST, preset="cvd-2020"))
    assert "prior" not in keys(replace(REQUEST, prior=PriorRequest("none")), prior=None)


@pytest.mark.parametrize(
    ("request_", "largest"),
    [
        (REQUEST, "poses"),
        (replace(REQUEST, method="selfsup"), "depth"),
        (replace(REQUEST, preset="cvd-2020"), "depth"),
        (replace(REQUEST, prior=PriorRequest("none")), "depth"),
    ],
)
def test_depth_is_most_of_the_work_only_where_the_network_is_trained(request_, largest) -> None:
    weights = {name: stage.weight for name, stage in stages(request_).items()}
    assert max(weights, key=weights.__getitem__) == largest
    assert (weights["depth"] < 0.2 * sum(weights.values())) == (largest == "poses")


def test_without_a_prior_the_network_starts_photometrically_from_nothing() -> None:
    settings = settings_of(replace(REQUEST, prior=PriorRequest("none")))
    assert settings.photometric_steps > 0
    assert not settings.pretrained
    assert settings.measured
    assert settings_of(REQUEST).photometric_steps == 0


@pytest.fixture
def solved_of_a(tmp_path: Path):
    """Two clips, and a folder that holds the finished solve of the first."""
    for clip, seed in (("a", 0), ("b", 1)):
        (tmp_path / clip).mkdir()
        for number, value in enumerate(np.random.default_rng(seed).integers(0, 256, (4, 48, 64, 3), np.uint8), 1):
            cv2.imwrite(str(tmp_path / clip / f"{number:04d}.png"), value)
    folder = tmp_path / "a.solve"
    folder.mkdir()
    source = {"path": str(tmp_path / "a" / "0001.png"), "content_id": "of another range"}
    (folder / "solve.json").write_text(json.dumps({"schema": "cvd.solve/1", "source": source}))
    return folder


def footage_only(clip, folder, replace=False):
    """Solve the stage footage, which changes no result."""
    request = Request(FootageRequest(clip), folder, prior=PriorRequest("none"), replace=replace)
    with pytest.raises(Cancelled, match="Stopped after the stage footage"):
        solve(request, lambda _document: None, until="footage")


def test_a_solve_of_other_footage_is_not_replaced_unasked(tmp_path: Path, solved_of_a) -> None:
    before = (solved_of_a / "solve.json").read_bytes()
    with pytest.raises(WorkspaceError) as caught:
        footage_only(tmp_path / "b", solved_of_a)
    assert caught.value.code == "workspace.other_footage"
    assert str(tmp_path / "a" / "0001.png") in caught.value.why
    assert (solved_of_a / "solve.json").read_bytes() == before
    footage_only(tmp_path / "b", solved_of_a, replace=True)


def test_another_range_and_a_clip_that_was_moved_are_the_same_footage(tmp_path: Path, solved_of_a) -> None:
    footage_only(tmp_path / "a", solved_of_a)
    moved = (tmp_path / "a").rename(tmp_path / "moved")
    source = {"path": str(tmp_path / "a" / "0001.png"), "content_id": probe(moved).content_id}
    (solved_of_a / "solve.json").write_text(json.dumps({"schema": "cvd.solve/1", "source": source}))
    footage_only(moved, solved_of_a)
