"""Files that are dropped onto Blender's window: it calls the operator of the file handler as these tests do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import bpy
import pytest

from cvd_blender_addon.operators.import_solve import CVD_FH_solve
from cvd_blender_addon.operators.solve import CVD_FH_clip
from cvd_blender_addon.properties import of
from tests.addon.synthetic import Synthetic
from tests.addon.typed import ops

pytestmark = pytest.mark.every_blender


def drop(path: Path) -> set[str]:
    """As Blender does: the path of what is dropped, and the directory that it lies in."""
    return set(ops.cvd.import_solve("INVOKE_DEFAULT", filepath=str(path), directory=f"{path.parent}/"))


@pytest.mark.parametrize("name", ["", "solve.json"])
def test_a_solve_is_imported(scene: bpy.types.Scene, addon: None, synthetic: Synthetic, name: str) -> None:
    assert drop(synthetic.folder / name) == {"FINISHED"}
    assert scene.camera is not None and of(scene).solve_folder == str(synthetic.folder)


def test_what_is_no_solve_says_so(scene: bpy.types.Scene, addon: None, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(RuntimeError, match=r"solve\.json"):
        drop(tmp_path / "other.json")
    assert len(scene.objects) == 0


def test_a_clip_is_taken(scene: bpy.types.Scene, addon: None, synthetic: Synthetic) -> None:
    clip = synthetic.folder.parent / "plate_1001.png"
    of(scene).solve_folder = "/of/another.solve"
    assert ops.cvd.take_clip("INVOKE_DEFAULT", filepath=str(clip)) == {"FINISHED"}
    assert (of(scene).clip_path, of(scene).solve_folder) == (str(clip), "")
    with pytest.raises(RuntimeError, match="There is no file"):
        ops.cvd.take_clip(filepath="/no/such.mp4")
    of(scene).job_running = True
    with pytest.raises(RuntimeError, match="A solve is running"):
        ops.cvd.take_clip(filepath=str(clip))


def context(**parts: object) -> bpy.types.Context:
    """Stands in for Blender's."""
    return cast(bpy.types.Context, SimpleNamespace(**parts))


def test_handlers_are_for_their_files_and_places(addon: None) -> None:
    assert CVD_FH_solve.bl_file_extensions.split(";") == [".json", ".solve"]
    assert {".mp4", ".exr", ".png", ".mov"} <= set(CVD_FH_clip.bl_file_extensions.split(";"))
    for handler in (CVD_FH_solve, CVD_FH_clip):
        module, name = handler.bl_import_operator.split(".")
        assert getattr(getattr(bpy.ops, module), name).get_rna_type()
    for kind, taken in (("VIEW_3D", True), ("CLIP_EDITOR", True), ("TEXT_EDITOR", False)):
        assert CVD_FH_solve.poll_drop(context(area=SimpleNamespace(type=kind))) == taken
    for region, taken in (("UI", True), ("WINDOW", False)):
        place = SimpleNamespace(type=region, active_panel_category="Depth")
        assert CVD_FH_clip.poll_drop(context(region=place)) == taken
