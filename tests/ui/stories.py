"""What a user does in Blender's window, to be played by `driver.py`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy
from driver import Screen, Story

MODULE = "bl_ext.user_default.consistent_video_depth"
FAKE = Path(__file__).parents[1] / "addon" / "fake_engine"


def _pretend(mode: str) -> None:
    """From now on the engine is the stand-in that behaves as `mode` says."""
    sys.modules[f"{MODULE}.preferences"].engine_root = lambda: FAKE
    bpy.context.preferences.addons[MODULE].preferences.engine_python = os.environ["PLAIN_PYTHON"]
    os.environ["FAKE_ENGINE"] = mode


def install(screen: Screen) -> Story:
    """Install Engine in the preferences: grey, asking, at work, cancelled, failed, done."""
    operator = sys.modules[f"{MODULE}.operators.install"]
    yield 0.5
    area = max(screen.window.screen.areas, key=lambda area: area.width * area.height)
    area.type = "PREFERENCES"
    bpy.context.preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "consistent"
    with bpy.context.temp_override(window=screen.window, area=area):
        bpy.ops.preferences.addon_expand(module=MODULE)
    bpy.context.preferences.system.use_online_access = False
    yield 1.0
    yield from screen.find(area, "cvd.install_engine", 0.4)
    yield 1.5
    yield from screen.picture("offline")
    yield from screen.press("LEFTMOUSE")
    screen.found["offline"] = operator.running()

    bpy.context.preferences.system.use_online_access = True
    os.environ["FAKE_UV"] = "slow"
    yield from _install(screen, area, "asks")
    yield from screen.wait("it downloads", lambda: "downloading" in operator.status().message)
    yield from screen.picture("running")
    yield from screen.click(area, "cvd.cancel_install", 0.4)
    yield from screen.wait("it has stopped", lambda: not operator.running())
    yield from screen.picture("cancelled")
    screen.found["cancelled"] = operator.status().state

    os.environ["FAKE_UV"] = "network"
    yield from _install(screen, area)
    yield from screen.wait("it has failed", lambda: not operator.running())
    yield from screen.picture("failed")
    screen.found["failed"] = operator.error_text()

    os.environ["FAKE_UV"] = "ok"
    yield from _install(screen, area)
    yield from screen.wait("it is done", lambda: not operator.running())
    yield from screen.picture("done")
    screen.found["done"] = operator.status().state
    screen.found["python"] = sys.modules[f"{MODULE}.preferences"].engine_python(bpy.context)


def _install(screen: Screen, area: bpy.types.Area, picture: str = "") -> Story:
    """Press the button, and agree to what it says."""
    yield from screen.click(area, "cvd.install_engine", 0.4)
    yield 0.5
    if picture:
        yield from screen.picture(picture)
    yield from screen.press("RET")


def panels(screen: Screen) -> Story:
    """Each state of the panels, in both editors."""
    for kind in ("VIEW_3D", "CLIP_EDITOR"):
        area = yield from screen.editor(kind)
        yield from _states(screen, area, kind.lower())


def _states(screen: Screen, area: bpy.types.Area, name: str) -> Story:
    cvd = bpy.context.scene.cvd
    cvd.clip_path = ""
    bpy.context.preferences.addons[MODULE].preferences.engine_python = ""
    yield from screen.find(area, "cvd.solve_depth")
    yield 1.5  # the tooltip says why the button is grey
    yield from screen.picture(f"{name}_no_clip")
    yield from screen.press("LEFTMOUSE")
    seen = {"no clip": cvd.job_running}

    cvd.clip_path = os.environ["CLIP"]
    cvd.solve_folder = str(screen.out / f"{name}.solve")
    yield from screen.picture(f"{name}_idle")

    _pretend("obedient")
    yield from screen.click(area, "cvd.solve_depth")
    yield from screen.wait("the engine runs", lambda: cvd.job_state == "running")
    yield from screen.picture(f"{name}_running")
    seen["running"] = cvd.job_message
    yield from screen.click(area, "cvd.cancel_solve")
    yield from screen.wait("the engine has stopped", lambda: not cvd.job_running)
    yield from screen.picture(f"{name}_cancelled")
    seen["cancelled"] = cvd.job_state

    _pretend("fail")
    yield from screen.click(area, "cvd.solve_depth")
    yield from screen.wait("the engine has failed", lambda: not cvd.job_running)
    yield from screen.picture(f"{name}_failed")
    seen["failed"] = cvd.job_error

    _pretend("succeed")
    yield from screen.click(area, "cvd.solve_depth")
    yield from screen.wait("the engine has finished", lambda: not cvd.job_running)
    yield from screen.picture(f"{name}_done")
    seen["done"] = cvd.result
    seen["camera"] = bpy.context.scene.camera.name
    screen.found[name] = seen
