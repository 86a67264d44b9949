"""What a user does in Blender's window, to be played by `driver.py`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from mathutils import Matrix, Vector

from tests.ui.driver import Screen, Story

if TYPE_CHECKING:  # Blender has the add-on under another name
    from cvd_blender_addon.properties import CvdProperties, CvdQueue

MODULE = "bl_ext.user_default.consistent_video_depth"
SOLVE_S = 3000.0
OPS: Any = bpy.ops
FAKE = Path(__file__).parents[1] / "addon" / "fake_engine"


def _scene() -> bpy.types.Scene:
    assert bpy.context.scene is not None
    return bpy.context.scene


def _cvd() -> CvdProperties:
    """What the add-on keeps in the scene."""
    settings: CvdProperties = getattr(_scene(), "cvd")  # noqa: B009 - Blender's types do not know it
    return settings


def _queue() -> CvdQueue:
    shown: CvdQueue = getattr(bpy.context.window_manager, "cvd_queue")  # noqa: B009
    return shown


def _preferences() -> bpy.types.Preferences:
    assert bpy.context.preferences is not None
    return bpy.context.preferences


def _use_python(path: str) -> None:
    """Let the add-on's engine run in another Python."""
    own: Any = _preferences().addons[MODULE].preferences
    own.engine_python = path


def _addon(name: str) -> Any:
    """A module of the add-on."""
    return sys.modules[f"{MODULE}.{name}"]


def _camera() -> bpy.types.Object:
    camera = _scene().camera
    assert camera is not None
    return camera


def _render_with_cycles(samples: int) -> None:
    scene: Any = _scene()
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", samples, False


def _pretend(mode: str) -> None:
    """From now on the engine is the stand-in that behaves as `mode` says."""
    _addon("preferences").engine_root = lambda: FAKE
    _use_python(os.environ["PLAIN_PYTHON"])
    os.environ["FAKE_ENGINE"] = mode


def install(screen: Screen) -> Story:
    """Install Engine in the preferences: grey, asking, at work, cancelled, failed, done."""
    operator = _addon("operators.install")
    yield 0.5
    area = max(screen.window.screen.areas, key=lambda area: area.width * area.height)
    area.type = "PREFERENCES"
    _preferences().active_section = "ADDONS"
    manager: Any = bpy.context.window_manager
    manager.addon_search = "consistent"
    with bpy.context.temp_override(window=screen.window, area=area):
        bpy.ops.preferences.addon_expand(module=MODULE)
    _preferences().system.use_online_access = False
    yield 1.0
    yield from screen.find(area, "cvd.install_engine", 0.4)
    yield 1.5
    yield from screen.picture("offline")
    yield from screen.press("LEFTMOUSE")
    screen.found["offline"] = operator.running()

    _preferences().system.use_online_access = True
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
    screen.found["python"] = _addon("preferences").engine_python(bpy.context)


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


def sections(screen: Screen) -> Story:
    """Every section, opened, in both editors: without a solve, and with one."""
    for kind in ("VIEW_3D", "CLIP_EDITOR"):
        _open(kind, "depth_mesh", "deliver")
    for kind in ("VIEW_3D", "CLIP_EDITOR"):
        area = yield from screen.editor(kind)
        yield from screen.find(area, "cvd.drop_ball")
        yield 1.5  # the tooltip says why the button is grey
        yield from screen.picture(f"{kind.lower()}_without")
    _cvd().clip_path = os.environ["CLIP"]
    OPS.cvd.import_solve("EXEC_DEFAULT", True, directory=os.environ["SOLVE"])
    for kind in ("VIEW_3D", "CLIP_EDITOR"):
        area = yield from screen.editor(kind)
        yield from screen.find(area, "cvd.drop_ball")
        yield 1.5
        yield from screen.picture(f"{kind.lower()}_with")
        with bpy.context.temp_override(window=screen.window, area=area):
            screen.found[kind.lower()] = OPS.cvd.drop_ball.poll()
        yield from screen.move(area.x + 200, area.y + 200)
        yield from screen.picture(f"{kind.lower()}_all")


def settings(screen: Screen) -> Story:
    """Every setting of a solve, as one finds it, and where something is known of the shot."""
    _open("VIEW_3D", "range", "camera", "lens", "size", "masks", "prior")
    cvd = _cvd()
    cvd.clip_path = os.environ["CLIP"]
    area = yield from screen.editor("VIEW_3D")
    yield from screen.find(area, "lens", 0.5)
    yield 1.5
    yield from screen.picture("first")
    cvd.use_range, cvd.stereo, cvd.camera_source, cvd.lens = True, "two_files", "chan", "MM"
    cvd.use_pixel_aspect = cvd.use_principal = cvd.allow_non_commercial = True
    cvd.mask_source, cvd.prior, cvd.segmentation = "BLENDER", "transformers", "some-model"
    area.tag_redraw()
    yield 3.0  # panels grow slowly
    yield from screen.picture("known")


def _open(space: str, *names: str) -> None:
    """Panels that are closed at first, open."""
    for name in names:
        panel = getattr(bpy.types, f"CVD_PT_{space.lower()}_{name}")
        bpy.utils.unregister_class(panel)
        panel.bl_options = set()
        bpy.utils.register_class(panel)


def _states(screen: Screen, area: bpy.types.Area, name: str) -> Story:
    cvd = _cvd()
    cvd.clip_path = ""
    _use_python("")
    yield from screen.find(area, "cvd.solve_depth")
    yield 1.5  # the tooltip says why the button is grey
    yield from screen.picture(f"{name}_no_clip")
    yield from screen.press("LEFTMOUSE")
    seen: dict[str, Any] = {"no clip": cvd.job_running}

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
    seen["camera"] = _camera().name
    screen.found[name] = seen


def whole_flow(screen: Screen) -> Story:
    """From a new file and a clip to a rendered composite."""
    _use_python(os.environ["ENGINE_PYTHON"])
    _preferences().view.render_display_type = "AREA"
    cvd = _cvd()
    area = yield from screen.editor("VIEW_3D")
    yield from screen.fill(area, "clip_path", os.environ["CLIP"])
    yield from screen.click(area, "preset", 0.2)
    yield 5.0  # the estimate looks at the clip
    yield from screen.picture("ready")
    screen.found["preset"] = cvd.preset
    yield from screen.click(area, "cvd.solve_depth")
    yield from screen.wait("depth is made", lambda: cvd.job_fraction > 0.5 or not cvd.job_running, SOLVE_S)
    yield from screen.picture("solving")
    yield from screen.wait("the solve is done", lambda: not cvd.job_running, SOLVE_S)
    screen.found |= {"state": cvd.job_state, "error": cvd.job_error, "result": cvd.result}
    yield from screen.picture("solved")
    if cvd.job_state != "done":
        return

    yield from _composite(screen, area)


def _composite(screen: Screen, area: bpy.types.Area) -> Story:
    """Put the cube into the scene that was built, and render it."""
    scene = _scene()
    # What an artist does with the tools of Blender: an object in the middle of the room, and a fast Cycles.
    _render_with_cycles(16)
    cube = bpy.data.objects["Cube"]
    yield from _place(scene, cube)
    yield from screen.picture("placed")
    yield from _render(screen, area)
    screen.found["frame"] = scene.frame_current


def first_minute(screen: Screen) -> Story:
    """The bundled clip, solved: a ball is dropped on the rug, falls, and is rendered where it lies."""
    area = yield from _solve_in_view(screen, os.environ["SOLVE"])
    scene = _scene()
    _render_with_cycles(32)
    yield from screen.click(area, "cvd.drop_ball")
    lens: Any = _camera().data
    right_top, _, left_bottom, left_top = lens.view_frame(scene=scene)
    x, y = json.loads(os.environ["PLACE"])
    place = left_top + (right_top - left_top) * x + (left_bottom - left_top) * y
    yield from screen.point_at(screen.view(area), _camera().matrix_world @ place)
    yield from screen.picture("asks")
    yield from screen.press("LEFTMOUSE")
    yield from screen.picture("hangs")
    ball, heights = _found("test_ball"), []
    for number in range(scene.frame_start, scene.frame_start + 36):
        scene.frame_set(number)
        heights.append(ball.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world.translation.z)
    screen.found["heights"] = [height / ball.matrix_world.median_scale for height in heights]
    yield from screen.picture("lies")
    yield from _render(screen, area)


def _render(screen: Screen, area: bpy.types.Area) -> Story:
    """Press F12, and keep the composite."""
    screen.mouse = area.x + area.width // 3, area.y + area.height // 2
    yield from screen.move(*screen.mouse)
    rendered: list[bool] = []
    bpy.app.handlers.render_complete.append(lambda *_: rendered.append(True))
    yield from screen.press("F12")
    yield from screen.wait("the frame is rendered", lambda: bool(rendered), SOLVE_S)
    yield from screen.picture("rendered")
    scene = _scene()
    scene.render.image_settings.file_format = "PNG"
    bpy.data.images["Render Result"].save_render(str(screen.out / "composite.png"), scene=scene)


def _place(scene: bpy.types.Scene, thing: bpy.types.Object) -> Story:
    """Put a thing in front of the camera, as far as what is seen in the middle, less its own size."""
    scene.frame_set((scene.frame_start + scene.frame_end) // 2)
    yield 1.0
    camera = _camera()
    points = next(ob for ob in scene.objects if ob.name.startswith("CVD Points"))
    cloud: Any = points.data
    seen = [camera.matrix_world.inverted() @ points.matrix_world @ v.co for v in cloud.vertices]
    depth = sorted(-point.z for point in seen)[len(seen) // 2]
    thing.parent = None
    thing.scale = [0.06 * depth] * 3
    thing.location = camera.matrix_world @ Vector((0.0, 0.0, -0.9 * depth))


def _solve_in_view(screen: Screen, folder: str) -> Story:
    """Import a solve into a new file and look through its camera. Returns the viewport."""
    area = yield from screen.editor("VIEW_3D")
    for name in ("Cube", "Light", "Camera"):
        bpy.data.objects.remove(bpy.data.objects[name])
    OPS.cvd.import_solve("EXEC_DEFAULT", True, directory=folder)
    yield 2.0
    return area


def dropped(screen: Screen) -> Story:
    """A clip is dropped on the panels, a solve folder on the viewport."""
    area = yield from screen.editor("VIEW_3D")
    panels = screen.sidebar(area)
    yield from screen.drag(os.environ["CLIP"], panels.x + panels.width // 2, panels.y + panels.height // 2)
    yield from screen.picture("clip")
    yield from screen.press("RET")  # Blender itself has a use for pictures, and asks
    screen.found["clip"] = _cvd().clip_path
    yield from screen.drag(os.environ["SOLVE"], area.x + area.width // 3, area.y + area.height // 2)
    yield from screen.picture("solve")
    screen.found["solve"] = _cvd().built_folder
    screen.found["camera"] = _camera().name


def lost_plate(screen: Screen) -> Story:
    """The plate goes away, and comes back."""
    area = yield from _solve_in_view(screen, os.environ["SOLVE"])
    watch, plate = _addon("plate_watch"), Path(_cvd().plate)
    yield from screen.picture("there")
    screen.found["there"] = watch.words(_scene())
    plate.rename(plate.with_suffix(".away"))
    yield from screen.wait("it is missed", lambda: bool(watch.words(_scene())))
    yield from screen.picture("away")
    screen.found["away"] = watch.words(_scene())
    plate.with_suffix(".away").rename(plate)
    yield from screen.wait("it is found", lambda: not watch.words(_scene()))
    area.tag_redraw()
    yield from screen.picture("back")


def _find(role: str) -> bpy.types.Object | None:
    """What the solve of the scene owns, however often undo has made it anew."""
    owned = _addon("scene.owned")
    found: bpy.types.Object | None = owned.find(_scene().objects, _cvd().solve_key, role)
    return found


def _found(role: str) -> bpy.types.Object:
    """The same, which is there."""
    found = _find(role)
    assert found is not None, role
    return found


def _sphere() -> list[float]:
    """Middle and radius of the ball."""
    matrix = _found("test_ball").matrix_world
    return [*matrix.translation[:], matrix.median_scale]


def drop(screen: Screen) -> Story:
    """A ball is dropped and points are picked by clicks on the surface; Esc cancels, Ctrl Z takes back."""
    area = yield from _solve_in_view(screen, os.environ["SOLVE"])
    table = Vector(json.loads(os.environ["ON_TABLE"]))
    yield from screen.click(area, "cvd.drop_ball")
    screen.found["waits"] = screen.working()
    yield from screen.point_at(screen.view(area), table)
    yield from screen.picture("drop_asks")
    yield from screen.press("ESC")
    screen.found["after esc"] = [screen.working(), _find("test_ball")]

    yield from screen.click(area, "cvd.drop_ball")
    yield from screen.point_at(screen.view(area), table)
    yield from screen.press("LEFTMOUSE")
    yield from screen.picture("dropped")
    screen.found["ball"] = _sphere()
    screen.found["after click"] = screen.working()
    yield from screen.press("Z", ctrl=True)
    yield 0.5
    screen.found["after undo"] = _find("test_ball")

    yield from screen.click(area, "cvd.drop_ball")
    yield from screen.click(area, "cvd.pick_point", 0.2)  # another button: the ball gives way
    screen.found["only"] = [screen.working(), _find("test_ball")]
    yield from screen.press("RIGHTMOUSE")
    screen.found["after right"] = [screen.working(), _find("pick_1")]

    yield from screen.point_at(screen.view(area), table)
    yield from screen.press("Q", ctrl=True, alt=True)  # four views, three of them without perspective
    yield 1.0
    screen.found["views"] = len([region for region in area.regions if region.type == "WINDOW"])
    yield from screen.click(area, "cvd.drop_ball")
    from_above = min((r for r in area.regions if r.type == "WINDOW"), key=lambda region: region.x - region.y)
    yield from screen.point_at(from_above, table)
    yield from screen.press("LEFTMOUSE")
    yield from screen.picture("from_above")
    screen.found["quad"] = _sphere()


def orientation(screen: Screen) -> Story:
    """A scene that stands crooked is put straight by points that are clicked at."""
    area = yield from _solve_in_view(screen, os.environ["SOLVE"])
    root = _found("root")
    root.matrix_world = Matrix.Translation((3.0, -2.0, 1.0)) @ Matrix.Rotation(0.3, 4, Vector((2.0, 1.0, 0.5)))
    _update()
    bpy.ops.ed.undo_push(message="Crooked")
    screen.found["crooked"] = _matrix()
    for number, place in enumerate(json.loads(os.environ["POINTS"]), 1):
        yield from _pick(screen, area, number, _found("root").matrix_world @ Vector(place))
    yield from screen.picture("picked")
    screen.found["picks"] = [list(_found(f"pick_{number}").location[:]) for number in (1, 2, 3)]
    for name, column in (("set_ground", 0.2), ("set_origin", 0.5), ("set_axis", 0.2)):
        yield from screen.click(area, f"cvd.{name}", column)
        yield 0.5
        screen.found[name] = _matrix()
    yield from screen.click(area, "cvd.set_size")
    yield 0.5
    yield from screen.picture("size")
    yield from screen.press("RET")
    yield 0.5
    screen.found["set_size"] = _matrix()
    yield from screen.picture("straight")
    screen.mouse = area.x + area.width // 3, area.y + area.height // 2
    yield from screen.move(*screen.mouse)
    for name in ("set_size", "set_axis", "set_origin", "set_ground"):
        yield from screen.press("Z", ctrl=True)
        yield 0.5
        screen.found[f"before {name}"] = _matrix()
    yield from screen.press("Z", ctrl=True)
    yield 0.5
    screen.found["one pick less"] = [_find(f"pick_{number}") is not None for number in (1, 2, 3)]


def _matrix() -> list[list[float]]:
    """Where the solve stands in the world."""
    _update()
    return [list(row[:]) for row in _found("root").matrix_world[:]]


def _update() -> None:
    assert bpy.context.view_layer is not None
    bpy.context.view_layer.update()


def _pick(screen: Screen, area: bpy.types.Area, number: int, point: Vector) -> Story:
    yield from screen.click(area, "cvd.pick_point", (0.2, 0.5, 0.8)[number - 1])
    yield from screen.point_at(screen.view(area), point)
    yield from screen.press("LEFTMOUSE")
    yield 0.3


def queue(screen: Screen) -> Story:
    """Two shots are queued and solved, and what the engine finds is seen meanwhile."""
    area = yield from screen.editor("VIEW_3D")
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    shown = _queue()
    _pretend("obedient")
    for name in ("first", "second"):
        _cvd().clip_path = os.environ["CLIP"]
        _cvd().solve_folder = str(screen.out / f"{name}.solve")
        yield from screen.click(area, "cvd.queue_add")
    yield from screen.picture("waiting")
    screen.found["waiting"] = [shot.state for shot in shown.shots]
    _cvd().solve_folder = shown.shots[0].folder  # the panel shows the shot that its scene is about
    yield from screen.click(area, "cvd.queue_start")
    yield from screen.wait("the first shot runs", lambda: _cvd().job_state == "running")
    _find_something(Path(_cvd().solve_folder) / "preview")
    yield from screen.wait("the preview is there", lambda: "CVD Preview Cameras" in bpy.data.objects)
    yield from screen.picture("running")
    screen.found["running"] = [shot.state for shot in shown.shots]
    yield from screen.click(area, "cvd.queue_stop")
    yield from screen.wait("the queue has stopped", lambda: not _cvd().job_running)
    yield 1.0
    yield from screen.picture("stopped")
    screen.found["stopped"] = [shot.state for shot in shown.shots]
    screen.found["left"] = [name for name in bpy.data.objects.keys() if "Preview" in name]  # noqa: SIM118


def _find_something(folder: Path) -> None:
    """What an engine writes while it works: a camera that walks along a floor, and some depth."""
    folder.mkdir(exist_ok=True)
    poses = {str(n): [[1, 0, 0, 0.2 * n - 2], [0, 0, 1, -4], [0, -1, 0, 1.5], [0, 0, 0, 1]] for n in range(20)}
    points = [[0.2 * x - 3, 0.2 * y - 2, 0.3 * (x * y % 3), 255, 8 * x, 8 * y] for x in range(30) for y in range(30)]
    picture: Any = bpy.data.images.new("depth", 160, 90)
    picture.pixels.foreach_set([v for i in range(160 * 90) for v in (i / 14400, 0.3 * (i % 160) / 160, 0.4, 1.0)])
    picture.filepath_raw, picture.file_format = str(folder / "depth.png"), "PNG"
    picture.save()
    bpy.data.images.remove(picture)
    (folder / "new.json").write_text(json.dumps({"schema": "cvd.preview/1", "cameras": poses, "points": points}))
    (folder / "new.json").rename(folder / "track.json")


def leave_it(screen: Screen) -> Story:
    """A clip is opened, the file saved, and a copy of it; Blender is quit while Solve Depth is at work."""
    area = yield from screen.editor("VIEW_3D")
    yield from screen.fill(area, "clip_path", os.environ["CLIP"])
    bpy.ops.wm.save_as_mainfile(filepath=str(screen.out / "shot.blend"))
    bpy.ops.wm.save_as_mainfile(filepath=str(screen.out / "copy.blend"), copy=True)
    _pretend("steady")
    yield from screen.click(area, "cvd.solve_depth")
    yield from screen.wait("the engine runs", lambda: _cvd().job_state == "running")
    yield from screen.picture("solving")
    screen.found["folder"] = str(_addon("paths").absolute(_cvd().solve_folder))


def come_back(screen: Screen) -> Story:
    """The file is opened again, then its copy, in which Solve Depth meets the solve that is at work."""
    left = Path(os.environ["LEFT"])
    _pretend("steady")
    yield from _open_file(screen, left / "shot.blend")
    yield from screen.wait("the solve is found", lambda: _cvd().job_state == "running")
    area = yield from screen.editor("VIEW_3D")
    yield from screen.find(area, "cvd.cancel_solve")
    yield from screen.picture("found")
    screen.found["found"] = str(_addon("paths").absolute(_cvd().solve_folder))

    yield from _open_file(screen, left / "copy.blend")
    area = yield from screen.editor("VIEW_3D")
    screen.found["copy"] = [_cvd().job_running, _cvd().solve_folder]
    yield from screen.click(area, "cvd.solve_depth")
    yield from screen.wait("it is at work", lambda: bool(_cvd().job_in_the_way))
    screen.found["error"] = _cvd().job_error
    yield from screen.picture("said")
    yield from screen.press("ESC")  # what Blender itself shows of an error lies over the panel
    yield from screen.picture("in_the_way")


def attach(screen: Screen) -> Story:
    """Attach follows the solve to its end, and builds the scene."""
    yield from come_back(screen)
    area = yield from screen.editor("VIEW_3D")
    yield from screen.click(area, "cvd.attach_solve", 0.25)
    yield from screen.wait("it is followed", lambda: _cvd().job_running and _cvd().job_state == "running")
    yield from screen.picture("attached")
    screen.found["attached"] = [_cvd().solve_folder, _cvd().job_message, _cvd().job_error]
    (Path(screen.found["found"]) / "finish").touch()
    yield from screen.wait("it is done", lambda: not _cvd().job_running)
    yield from screen.wait("the scene is built", lambda: _camera().name.startswith("CVD"))
    yield from screen.picture("built")
    screen.found["state"] = _cvd().job_state


def cancel_it(screen: Screen) -> Story:
    """Cancel It ends the solve, and the panel is ready for the next one."""
    yield from come_back(screen)
    area = yield from screen.editor("VIEW_3D")
    yield from screen.click(area, "cvd.attach_solve", 0.75)
    yield from screen.wait("it has ended", lambda: not _cvd().job_running and _cvd().job_state == "cancelled")
    yield from screen.find(area, "cvd.solve_depth")
    yield 1.5
    yield from screen.picture("cancelled")
    with bpy.context.temp_override(window=screen.window, area=area):
        screen.found["ready"] = [OPS.cvd.solve_depth.poll(), _cvd().job_error, _cvd().job_in_the_way]


def _open_file(screen: Screen, path: Path) -> Story:
    with bpy.context.temp_override(window=screen.window):
        bpy.ops.wm.open_mainfile(filepath=str(path))
    yield 1.0
