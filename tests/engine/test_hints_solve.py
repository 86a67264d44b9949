"""Depth hints in a whole solve: what is made anew, and what is not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.errors import HintError
from engine.files import read_exr
from engine.pipeline import solve
from engine.request import FootageRequest, Request
from tests.engine.poses.quick_solver import quick_solver
from tests.faults import matrix

SETTINGS = replace(matrix.SETTINGS, fit_steps=0.0)
FRAMES = range(1, 7)
CORNERS = [[100.0, 60.0], [180.0, 60.0], [180.0, 120.0], [100.0, 120.0]]  # of 320 x 180 pixels


def solved_with(folder, clip, hints=None):
    """Solve, and the stages that were done and taken from the cache."""
    path = None
    if hints is not None:
        path = folder.parent / f"{folder.name}.hints.json"
        path.write_text(json.dumps({"schema": "cvd.hints/1", "hints": hints}))
    told: list[dict[str, Any]] = []
    with quick_solver():
        solve(Request(FootageRequest(clip), folder, hints=path), told.append, SETTINGS)
    return [[event["stage"] for event in told if event.get("type") == kind] for kind in ("stage_done", "stage_reused")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory):
    """The tiny clip and its solve without hints; nobody may change either."""
    folder = tmp_path_factory.mktemp("hints")
    clip = matrix.tiny_clip(folder / "clip")
    done, _ = solved_with(folder / "a.solve", clip)
    assert "hints" not in done
    return clip, folder / "a.solve"


@pytest.fixture
def own(plain, tmp_path: Path):
    clip, folder = plain
    shutil.copytree(folder, tmp_path / "a.solve")
    return clip, tmp_path / "a.solve"


def files_of(folder):
    return {number: (folder / "depth" / f"{number:06d}.exr") for number in FRAMES}


def hint(number, **depth):
    return {"name": "box", "polygons": [{"frame": number, "points": CORNERS}], **depth}


def test_a_hint_makes_the_depth_of_its_frames_anew_and_nothing_else(own) -> None:
    clip, folder = own
    before = {number: (path.read_bytes(), path.stat().st_mtime_ns) for number, path in files_of(folder).items()}
    done, reused = solved_with(folder, clip, [hint(1, distance=2.0)])
    assert done == ["hints", "export"]
    assert set(reused) >= {"footage", "poses", "flow", "evidence", "depth"}
    depth = read_exr(folder / "depth" / "000001.exr")
    assert (np.abs(depth[66:114, 108:172] - 2.0) < 1e-4).all()
    measured = cv2.imread(str(folder / "measured" / "000001.png"), cv2.IMREAD_GRAYSCALE)
    assert measured is not None
    assert (measured[66:114, 108:172] == 255).all()
    assert (read_exr(folder / "confidence" / "000001.exr")[66:114, 108:172] == 1.0).all()
    # The edges of frames up to four away are decided with it; 6 is further away.
    assert files_of(folder)[6].read_bytes() == before[6][0]
    assert files_of(folder)[6].stat().st_mtime_ns == before[6][1], "the file itself, not another one like it"
    # Without the hint all is as it was, and nothing has to be solved for that.
    done, _ = solved_with(folder, clip)
    assert done == ["export"]
    assert {number: path.read_bytes() for number, path in files_of(folder).items()} == {
        number: content for number, (content, _) in before.items()
    }


def test_a_file_that_was_touched_is_made_anew(own) -> None:
    clip, folder = own
    before = files_of(folder)[6].read_bytes()
    files_of(folder)[6].write_bytes(b"somebody's own")
    solved_with(folder, clip, [hint(1, distance=2.0)])
    assert files_of(folder)[6].read_bytes() == before


def test_a_plane_and_a_point_of_the_solve_are_met(own) -> None:
    clip, folder = own
    document = json.loads((folder / "solve.json").read_text())
    frame = next(entry for entry in document["frames"] if entry["frame"] == 3)
    pose, lens = np.array(frame["world_from_camera"]), document["lens"]
    level = [(pose @ [x, y, 3.0, 1.0])[:3].tolist() for x, y in ((0, 0), (1, 0), (0, 1), (1, 1))]
    solved_with(folder, clip, [hint(3, plane=level)])
    assert (np.abs(read_exr(folder / "depth" / "000003.exr")[66:114, 108:172] - 3.0) < 1e-4).all()
    tilted = [(pose @ [x, y, 3.0 + 0.5 * x, 1.0])[:3].tolist() for x, y in ((0, 0), (1, 0), (0, 1))]
    solved_with(folder, clip, [hint(3, plane=tilted)])
    x = (np.arange(320) + 0.5 - lens["cx"]) / lens["fx"]
    across = 3.0 / (1.0 - 0.5 * x)
    depth = read_exr(folder / "depth" / "000003.exr")
    assert np.abs(depth[66:114, 108:172] / across[108:172] - 1).max() < 0.01, "but for the lens, which is nearly none"
    solved_with(folder, clip, [hint(3, point=(pose @ [4.0, 1.0, 2.5, 1.0])[:3].tolist())])
    assert (np.abs(read_exr(folder / "depth" / "000003.exr")[66:114, 108:172] - 2.5) < 1e-4).all()


def test_a_wrong_hint_leaves_the_solve_as_it_was(own) -> None:
    clip, folder = own
    before = (folder / "solve.json").read_bytes()
    for wrong, code in (
        ({"frame": 99, "points": CORNERS}, "hint.frames"),
        ({"frame": 1, "points": []}, "hint.polygon"),
    ):
        with pytest.raises(HintError) as raised:
            solved_with(folder, clip, [{"polygons": [wrong], "distance": 1.0}])
        assert raised.value.code == code
        assert json.loads((folder / "status.json").read_text())["error"]["code"] == code
    away = [[x + 900.0, y] for x, y in CORNERS]
    with pytest.raises(HintError, match="outside of the picture"):
        solved_with(folder, clip, [{"polygons": [{"frame": 1, "points": away}], "distance": 1.0}])
    assert (folder / "solve.json").read_bytes() == before
