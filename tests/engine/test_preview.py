"""What can be seen of a solve while it runs."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from engine.clip import preview
from engine.errors import Cancelled
from engine.schemas import schema
from engine.solve_folder import PREVIEW, PREVIEW_DEPTH, PREVIEW_TRACK
from engine.workspace import PREVIEW_INTERVAL_S, open_workspace
from tests import pictures


def ignore(_document):
    pass


def cameras(count):
    return {1000 + i: np.eye(4) + np.eye(4, k=3) * i for i in range(count)}


def test_the_track_follows_its_schema_and_is_small(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).normal(size=(10000, 3))
    document = preview.track_document(cameras(500), xyz, np.full((10000, 3), 9, np.uint8))
    with open_workspace(tmp_path / "a.solve", ignore) as workspace:
        preview.show_track(document, workspace)
        path = workspace.root / PREVIEW / PREVIEW_TRACK
        read = json.loads(path.read_text())
        jsonschema.validate(read, schema("preview-1"))
        assert len(read["cameras"]) == 500 and preview.MOST_POINTS / 2 < len(read["points"]) <= preview.MOST_POINTS
        assert read["cameras"]["1003"][0][3] == 3.0
        assert np.allclose(read["points"][1], [*xyz[4], 9, 9, 9], atol=1e-4)
        assert path.stat().st_size < 5e5


def test_near_is_bright_and_holes_are_black(tmp_path: Path) -> None:
    depth = np.full((90, 160), 8.0, np.float32)
    depth[:, :80], depth[:30, 80:] = 2.0, 0.0
    with open_workspace(tmp_path / "a.solve", ignore) as workspace:
        preview.show_depth(depth, workspace)
        picture = pictures.read(workspace.root / PREVIEW / PREVIEW_DEPTH).astype(int).sum(axis=2)
    assert picture.shape == (90, 160)
    assert picture[60, 20] > picture[60, 140] + 100 > 100 and picture[10, 140] == 0


def test_it_is_gone_when_the_solve_ends_and_written_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, written = tmp_path / "a.solve", []

    def write(path):
        written.append(path.name)
        path.touch()

    with pytest.raises(Cancelled), open_workspace(folder, ignore) as workspace:
        for _ in range(3):
            workspace.preview("depth.png", write)
        assert written == ["depth.png"]
        monkeypatch.setitem(workspace._shown, "depth.png", workspace._shown["depth.png"] - PREVIEW_INTERVAL_S)
        workspace.preview("depth.png", lambda path: written.append(path.name))
        assert len(written) == 2 and (folder / "preview" / "depth.png").exists()
        raise Cancelled
    assert not (folder / "preview").exists()
    (folder / "preview").mkdir()  # as a killed engine leaves it
    with open_workspace(folder, ignore):
        assert not (folder / "preview").exists()


def test_no_solve_fails_for_want_of_a_preview(tmp_path: Path) -> None:
    def full(_path):
        raise OSError(28, "No space left on device")

    with open_workspace(tmp_path / "a.solve", ignore) as workspace:
        workspace.preview("depth.png", full)
    assert json.loads((tmp_path / "a.solve" / "status.json").read_text())["state"] == "done"
