"""Inside Blender: plays one story of `stories.py` with a mouse and a keyboard.

`blender --enable-event-simulate --python driver.py -- STORY FOLDER` writes `FOLDER/*.png` (the screen) and
`FOLDER/result.json`: what the story found, or how it failed.

A story is a generator: it yields the seconds after which it wants to go on, so that Blender lives in between.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import bpy
from bpy_extras import view3d_utils
from mathutils import Vector

Story = Generator[float, None, Any]
ROW = 8  # pixels between two places that are looked at; a button is about 20 high
TAB = "Depth"


def manager() -> bpy.types.WindowManager:
    """Blender's windows and its clipboard."""
    assert bpy.context.window_manager is not None
    return bpy.context.window_manager


class Screen:
    """The first window, with hands."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.found: dict[str, Any] = {}

    @property
    def window(self) -> bpy.types.Window:
        """The main window."""
        return manager().windows[0]

    def picture(self, name: str) -> Story:
        """Save what the screen shows as `name`.png, once it has been drawn."""
        for area in self.window.screen.areas:
            area.tag_redraw()
        yield 1.0
        subprocess.run(["import", "-window", "root", str(self.out / f"{name}.png")], check=True)

    def editor(self, kind: str) -> Story:
        """Make the largest editor one of `kind` with its sidebar open at our tab. Returns the editor."""
        area = max(self.window.screen.areas, key=lambda area: area.width * area.height)
        self._turn(area, kind)
        yield 1.0
        region: Any = self.sidebar(area)
        region.active_panel_category = TAB
        region.tag_redraw()
        yield 0.5
        return area

    @staticmethod
    def _turn(area: Any, kind: str) -> None:
        area.type = kind
        area.spaces.active.show_region_ui = True  # of the new kind

    @staticmethod
    def sidebar(area: bpy.types.Area) -> bpy.types.Region:
        """Its sidebar, or the main part of the preferences."""
        kind = "WINDOW" if area.type == "PREFERENCES" else "UI"
        return next(region for region in area.regions if region.type == kind)

    def move(self, x: int, y: int) -> Story:
        """Move the mouse; twice, since buttons come to life when it moves over them."""
        for step in (1, 0):
            self.window.event_simulate(type="MOUSEMOVE", value="NOTHING", x=x + step, y=y)
            yield 0.03

    def press(self, key: str, **modifiers: bool) -> Story:
        """Press and release a key or a mouse button where the mouse is."""
        window: Any = self.window
        mouse = {"x": self.mouse[0], "y": self.mouse[1]}
        window.event_simulate(type=key, value="PRESS", **mouse, **modifiers)
        yield 0.1
        window.event_simulate(type=key, value="RELEASE", **mouse, **modifiers)
        yield 0.3

    def fill(self, area: bpy.types.Area, name: str, text: str) -> Story:
        """Click a text field, and paste text over what it holds."""
        yield from self.click(area, name)
        manager().clipboard = text
        yield from self.press("A", ctrl=True)
        yield from self.press("V", ctrl=True)
        yield from self.press("RET")

    mouse = (0, 0)

    def under_mouse(self, area: bpy.types.Area, region: bpy.types.Region) -> str:
        """What the button under the mouse is for: `cvd.solve_depth`, or a property such as `clip_path`; else empty."""
        with bpy.context.temp_override(window=self.window, area=area, region=region):
            copy: Any = bpy.ops.ui.copy_python_command_button
            if copy.poll():
                manager().clipboard = ""
                copy()
                return manager().clipboard.removeprefix("bpy.ops.").split("(")[0]
            prop = bpy.context.property
            return prop[1].split(".")[-1] if prop else ""

    def find(self, area: bpy.types.Area, name: str, column: float = 0.67) -> Story:
        """Move the mouse down the sidebar (in the preferences: the main part) until it is on the button `name`.

        `column` is the share of the width at which it moves; at the end it scrolls.

        Raises:
            LookupError: there is no such button.
        """
        region = self.sidebar(area)
        x = region.x + int(region.width * column)
        seen: set[str] = set()
        for _page in range(6):
            for y in range(region.y + region.height - 6, region.y, -ROW):
                yield from self.move(x, y)
                here = self.under_mouse(area, region)
                if here == name:
                    self.mouse = x, y
                    yield from self.move(x, y - 2)
                    return
                seen.add(here)
            for _ in range(12):
                self.mouse = x, region.y + region.height // 2
                yield from self.press("WHEELDOWNMOUSE")
        raise LookupError(f"no button {name}; there are {sorted(seen)}")

    def click(self, area: bpy.types.Area, name: str, column: float = 0.67) -> Story:
        """Click the button that `find` finds."""
        yield from self.find(area, name, column)
        yield from self.press("LEFTMOUSE")

    @staticmethod
    def view(area: bpy.types.Area) -> bpy.types.Region:
        """The main part of an editor."""
        return next(region for region in area.regions if region.type == "WINDOW")

    def point_at(self, region: bpy.types.Region, point: Vector) -> Story:
        """Move the mouse to where a 3D view shows a point of the world."""
        seen: Any = region.data
        place = view3d_utils.location_3d_to_region_2d(region, seen, point)
        self.mouse = region.x + round(place.x), region.y + round(place.y)
        yield from self.move(*self.mouse)
        yield 0.2

    def drag(self, path: str, x: int, y: int) -> Story:
        """Drop a file or folder on a place of the window, as from a file manager."""
        program = Path(__file__).with_name("drag.py")
        self.mouse, from_top = (x, y), self.window.height - y
        process = subprocess.Popen(["python3", program, path, str(x), str(from_top)])
        try:
            yield from self.wait(f"{path} is taken", lambda: process.poll() is not None)
        finally:
            process.kill()
        assert process.wait() == 0, f"{path} was not taken"
        yield 1.0

    def working(self) -> list[str]:
        """Operators that wait for a click or a key."""
        return [operator.bl_idname for operator in self.window.modal_operators]

    def wait(self, what: str, until: Callable[[], bool], limit_s: float = 120.0) -> Story:
        """Let Blender live until something is true.

        Raises:
            TimeoutError: it did not become true.
        """
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if until():
                return
            yield 0.25
        raise TimeoutError(what)


def play(story: Callable[[Screen], Story], out: Path) -> None:
    """Play a story from Blender's event loop, write the result, and quit."""
    screen = Screen(out)
    running = story(screen)
    result: dict[str, Any] = {"error": None, "found": screen.found}

    def tick() -> float | None:
        try:
            return next(running)
        except StopIteration:
            pass
        except BaseException:  # whatever it is, the test is to hear of it
            result["error"] = traceback.format_exc()
            subprocess.run(["import", "-window", "root", str(out / "error.png")], check=False)
        (out / "result.json").write_text(json.dumps(result, indent=1, default=str), encoding="utf-8")
        bpy.ops.wm.quit_blender()
        return None

    bpy.app.timers.register(tick, first_interval=1.0, persistent=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.ui import stories

    preferences = bpy.context.preferences
    assert preferences is not None
    preferences.view.show_splash = False
    preferences.view.use_save_prompt = False
    name, folder = sys.argv[sys.argv.index("--") + 1 :]
    play(getattr(stories, name), Path(folder))
