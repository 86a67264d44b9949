"""Install Engine, from Blender: when it may be pressed, what it makes, and what the panel says of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import pytest

from cvd_blender_addon import jobs, panels, preferences
from cvd_blender_addon.operators import install
from tests.addon.test_every_operator import difference, file_data, flags
from tests.addon.test_installer import engine_root, folder, slow  # noqa: F401 - fixtures
from tests.addon.test_panels import Layout
from tests.addon.typed import ops, the

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for uv is a script")


@pytest.fixture
def online() -> Iterator[None]:
    system = the(bpy.context.preferences).system
    system.use_online_access = True
    yield
    system.use_online_access = False


@pytest.fixture
def at_home(folder: Path, engine_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """The add-on's own folder is a temporary one, its engine the stand-in."""
    monkeypatch.setattr(preferences, "engine_folder", lambda: folder)
    monkeypatch.setattr(preferences, "engine_root", lambda: engine_root)
    folder.mkdir(parents=True)
    return folder


def drawn(scene: bpy.types.Scene) -> str:
    lines: list[str] = []
    draw_engine: Any = panels.draw_engine  # it is given stand-ins
    draw_engine(Layout(lines), SimpleNamespace(preferences=the(bpy.context.preferences), scene=scene))
    return " ".join(lines)


def test_nothing_is_fetched_unless_blender_may_go_online(scene: bpy.types.Scene, addon: None, at_home: Path) -> None:
    assert not bpy.app.online_access
    assert not ops.cvd.install_engine.poll()
    with pytest.raises(RuntimeError, match="Allow Online Access"):
        ops.cvd.install_engine()
    assert list(at_home.iterdir()) == []


def test_the_installed_engine_is_the_one_to_use(
    scene: bpy.types.Scene, addon: None, at_home: Path, online: None
) -> None:
    assert preferences.engine_python(bpy.context) is None
    assert "not installed yet" in drawn(scene) and "cvd.check_engine" not in drawn(scene)
    assert not ops.cvd.check_engine.poll() and not ops.cvd.cancel_install.poll()
    assert ops.cvd.install_engine() == {"FINISHED"}
    assert preferences.engine_python(bpy.context) == at_home / "environment/bin/python"
    text = drawn(scene)
    assert "PyTorch 2.13.0+cpu" in text and "Install libGL.so.1." in text
    assert ops.cvd.check_engine() == {"FINISHED"}


def test_a_chosen_interpreter_goes_before_the_installed_one(
    scene: bpy.types.Scene, addon: None, at_home: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops.cvd.install_engine()
    assert "Empty it" not in drawn(scene)
    monkeypatch.setattr(preferences, "_stored", lambda _: SimpleNamespace(engine_python=sys.executable))
    assert preferences.engine_python(bpy.context) == Path(sys.executable)
    assert "Empty it" in drawn(scene)


def test_the_file_stays_as_it_is(scene: bpy.types.Scene, addon: None, at_home: Path, online: None) -> None:
    before = file_data()
    assert ops.cvd.install_engine("EXEC_DEFAULT", True) == {"FINISHED"}
    assert ops.cvd.check_engine("EXEC_DEFAULT", True) == {"FINISHED"}
    assert not difference(before, file_data()), "there is nothing for undo to take back"
    assert not any("UNDO" in flags(name) for name in ("install_engine", "check_engine", "cancel_install"))


def test_an_installation_at_work_is_cancelled_and_what_is_grey_says_why(
    scene: bpy.types.Scene,
    addon: None,
    folder: Path,  # noqa: F811
    at_home: Path,
    engine_root: Path,  # noqa: F811
    online: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RuntimeError, match="Nothing is being installed"):
        ops.cvd.cancel_install()
    before = file_data()
    job = slow(folder, engine_root, monkeypatch)
    install._Work.job = job  # without a window the operator itself would wait to the end
    for name in ("install_engine", "check_engine"):
        with pytest.raises(RuntimeError, match="being installed or checked"):
            getattr(ops.cvd, name)()
    assert ops.cvd.cancel_install("EXEC_DEFAULT", True) == {"FINISHED"}
    assert jobs.wait(job, lambda _: None, 0.05).state == "cancelled"
    install.tick()
    assert not install.running() and not ops.cvd.cancel_install.poll() and ops.cvd.install_engine.poll()
    assert preferences.engine_python(bpy.context) is None, "what is half made is not used"
    assert not difference(before, file_data())


def test_a_failure_is_told_with_its_cure(
    scene: bpy.types.Scene, addon: None, at_home: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_UV", "registry")
    with pytest.raises(RuntimeError, match="could not be reached"):
        ops.cvd.install_engine()
    assert "Check the network" in drawn(scene) and "cvd.install_engine" in drawn(scene)
    assert install.status() is not None and not install.running()
