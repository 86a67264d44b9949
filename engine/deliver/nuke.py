"""A Nuke script with the plate, the depth, the camera, the lens, and a place for CG that the depth cuts out.

Only nodes of Nuke's reference guide: Read, ReadGeo2, Crop, STMap, Camera2, Sphere, ScanlineRender, Copy, Expression,
Merge2, Constant, ColorMatrix, StickyNote. Files are found beside the script.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path, PureWindowsPath

from engine.cameras.chan import nuke_track
from engine.deliver.solved import Solved
from engine.files import write_text
from engine.footage.sequence import around_number

FILM_BACK_MM = 36.0
"""Width; any would do, since focal lengths in mm go by it."""
_HERE = "\\[file dirname \\[value root.name]]"
_Y_UP = "{{1 0 0} {0 0 1} {0 -1 0}}"
"""From the delivered world, z up, to Nuke's, y up."""


def write_script(path: Path, solved: Solved, folders: Collection[str]) -> None:
    """Write the script.

    Args:
        path: of the script, in the delivered folder.
        solved: the solve.
        folders: names of the passes that lie beside it; "inverse_depth" has to, and of a distorted plate "stmaps".

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    parts = [_root(solved), "add_layer {cvd cvd.plate}\n", _note(solved), *_plate(solved)]
    parts.append(_data_read("inverse_depth", solved, "plate_inverse_depth", 300))
    if solved.distorted:
        for way, xpos in (("undistort", 400), ("redistort", 500)):
            parts.append(_data_read("stmaps", solved, way, xpos))
        parts.append(_stmap("plate", "undistort", "Cubic", "plate_undistorted", -100, 200))
        # Nearest: the depths of two surfaces have no mean.
        parts.append(_stmap("plate_inverse_depth", "undistort", "Impulse", "depth_undistorted", 300, 400))
    else:
        parts.append("push $plate_inverse_depth\n")
    parts += ["set flat_depth [stack 0]\n", _camera(solved), _test_object(solved), _compare()]
    if solved.distorted:
        parts.append("set flat_cg [stack 0]\n" + _stmap("flat_cg", "redistort", "Cubic", "CG_distorted", 0, 900))
    # Off the stack come what is under and what is over.
    parts.append("push $plate\n" + _node("Merge2", inputs=2, operation="over", name="comp", xpos=0, ypos=1000))
    for name, xpos in (("position", 700), ("normals", 800)):
        if name in folders:
            parts.append(_data_read(name, solved, name, xpos))
            parts.append(_node("ColorMatrix", matrix=_Y_UP, name=f"{name}_y_up", xpos=xpos, ypos=200))
    if "mesh.obj" in folders:
        knobs = {"file": f'"{_HERE}/mesh.obj"', "name": "fused_mesh", "xpos": 900, "ypos": 0}
        parts.append(_node("ReadGeo2", inputs=0, **knobs))
    write_text(path, "".join(parts))


def _node(kind: str, **knobs: object) -> str:
    lines = "".join(f" {name} {value}\n" for name, value in knobs.items())
    return f"{kind} {{\n{lines}}}\n"


def _quoted(text: str) -> str:
    r"""A string of a script: what Tcl would take for its own is escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("[", "\\[").replace("$", "\\$")
    return f'"{escaped.replace("{", chr(92) + "{").replace("}", chr(92) + "}")}"'


def _root(solved: Solved) -> str:
    source = solved.document["source"]
    numerator, denominator = source["fps"]
    return _node(
        "Root",
        inputs=0,
        first_frame=source["first"],
        last_frame=source["last"],
        fps=f"{numerator / denominator:.6g}",
        format=_format(solved),
    )


def _format(solved: Solved) -> str:
    size = f"{solved.lens.width} {solved.lens.height}"
    return f'"{size} 0 0 {size} {solved.lens.fy / solved.lens.fx:.9g} cvd_plate"'


def _note(solved: Solved) -> str:
    unit = solved.unit
    lines = [
        f"{solved.name}: camera and depth by Consistent Video Depth.",
        f"Unit: {unit}. World: y up. Depth of the plate: 1/Z, planar.",
        "Put your CG in the place of ScanlineRender. Its depth.Z has to be 1/Z as well: where your renderer gives Z,",
        "switch on the node CG_depth_is_Z. Compare happens without distortion, and only the CG is distorted.",
        "See README.txt.",
    ]
    label = _quoted("\n".join(lines)).replace("\n", "\\n")
    return _node("StickyNote", inputs=0, name="read_me", label=label, xpos=-400, ypos=0)


def _plate(solved: Solved) -> Iterable[str]:
    source = solved.document["source"]
    file = Path(source["path"]).as_posix()
    pattern = source.get("pattern")
    if pattern:
        name = PureWindowsPath(file).name
        head, digits, tail = around_number(name, pattern)
        file = f"{file[: -len(name)]}{head}%0{digits}d{tail}"
    yield _read(solved, _quoted(file)[1:-1], "plate", 0)
    if source.get("stereo") == "side_by_side":
        box = f"{{0 0 {solved.lens.width} {solved.lens.height}}}"
        yield _node("Crop", box=box, reformat="true", name="left_eye", xpos=0, ypos=100)
    yield "set plate [stack 0]\n"


def _data_read(folder: str, solved: Solved, name: str, xpos: int) -> str:
    """A sequence, or of a lens that does not zoom the one ST-map, that lies beside the script."""
    number = "%06d" if folder != "stmaps" else f"{name}.%06d" if solved.zooms else name
    read = _read(solved, f"{_HERE}/{folder}/{number}.exr", name, xpos, raw=True)
    return f"{read}set {name} [stack 0]\n"


def _read(solved: Solved, file: str, name: str, xpos: int, raw: bool = False) -> str:
    source = solved.document["source"]
    knobs: dict[str, object] = {"inputs": 0, "file": f'"{file}"'}
    if "%" in file or (source["kind"] == "movie" and not raw):  # a still has one frame, and stays
        knobs |= {"first": source["first"], "last": source["last"]}
        knobs |= {"origfirst": source["first"], "origlast": source["last"]}
    if raw:  # frames without a camera have no file: black is no value, infinitely far
        knobs |= {"on_error": "black", "raw": "true"}
    return _node("Read", **knobs, name=name, xpos=xpos, ypos=0)


def _stmap(source: str, lens: str, filtering: str, name: str, xpos: int, ypos: int) -> str:
    """Off the stack come the picture and the map."""
    knobs = {"channels": "all", "uv": "rgb", "filter": filtering, "name": name, "xpos": xpos, "ypos": ypos}
    return f"push ${lens}\npush ${source}\n{_node('STMap', inputs=2, **knobs)}"


def _camera(solved: Solved) -> str:
    """Film back, window and curves.

    Nuke sees a camera point at `u = 2 focal/haperture x/z - win_translate`, from -1 to 1 across the picture, and with
    the same unit upwards.
    """
    lens = solved.lens
    track = nuke_track(solved.world_from_camera)

    def curve(values: dict[int, float]) -> str:
        return f"{{curve {' '.join(f'x{number} {value:.12g}' for number, value in values.items())}}}"

    def curves(part: int) -> str:
        return f"{{{' '.join(curve({n: float(v[part][axis]) for n, v in track.items()}) for axis in range(3))}}}"

    across = 1.0 - 2.0 * lens.cx / lens.width
    upwards = (2.0 * lens.cy - lens.height) / lens.width * lens.fx / lens.fy
    focals = {n: solved.lenses[n].fx / lens.width * FILM_BACK_MM for n in track}
    depth = solved.document["depth"]
    return _node(
        "Camera2",
        inputs=0,
        rot_order="ZXY",
        translate=curves(0),
        rotate=curves(1),
        focal=f"{{{curve(focals)}}}" if solved.zooms else f"{focals[min(focals)]:.12g}",
        haperture=f"{FILM_BACK_MM:.12g}",
        vaperture=f"{FILM_BACK_MM * lens.height / lens.width * lens.fx / lens.fy:.12g}",
        near=f"{max(depth['near'] * solved.scale * 0.01, 1e-6):.6g}",
        far=f"{max(depth['far'] * solved.scale * 100.0, 1.0):.6g}",
        win_translate=f"{{{across:.12g} {upwards:.12g}}}",
        name="solved_camera",
        xpos=-200,
        ypos=500,
    )


def _test_object(solved: Solved) -> str:
    """A ball in the middle of the first view, half-way between near and far, so that something is there to be cut."""
    depth = solved.document["depth"]
    away = 0.5 * (depth["near"] + depth["far"]) * solved.scale
    pose = solved.world_from_camera[min(solved.world_from_camera)]
    x, y, z = pose[:3, 3] + away * pose[:3, 2]
    ball = _node(
        "Sphere",
        inputs=0,
        translate=f"{{{x:.6g} {z:.6g} {-y:.6g}}}",
        uniform_scale=f"{0.1 * away:.6g}",
        name="test_ball",
        xpos=0,
        ypos=500,
    )
    size = _node("Constant", inputs=0, format=_format(solved), name="size_of_plate", xpos=200, ypos=500)
    # Off the stack come the background, the object and the camera.
    return ball + size + _node("ScanlineRender", inputs=3, name="CG", xpos=0, ypos=600)


def _compare() -> str:
    """CG times how much of it lies before the plate: a ramp over half a percent of the depth, as edges are not hard."""
    invert = _node(
        "Expression",
        channel0="depth",
        expr0=_quoted("depth.Z > 0 ? 1 / depth.Z : 0"),
        name="CG_depth_is_Z",
        disable="true",
        xpos=0,
        ypos=650,
    )
    copy = _node("Copy", inputs=2, from0="rgba.red", to0="cvd.plate", name="depth_of_plate", xpos=0, ypos=700)
    before = "cvd.plate > 0 ? clamp((depth.Z / cvd.plate - 1) / 0.005 + 0.5, 0, 1) : 1"
    cut = _node(
        "Expression",
        temp_name0="before",
        temp_expr0=_quoted(before),
        expr0=_quoted("r * before"),
        expr1=_quoted("g * before"),
        expr2=_quoted("b * before"),
        expr3=_quoted("a * before"),
        name="cut_by_depth",
        xpos=0,
        ypos=800,
    )
    # Copy takes from its second input into its first.
    return invert + "set rendered [stack 0]\npush $flat_depth\npush $rendered\n" + copy + cut
