"""README.txt of a delivery: every convention, in words, with the numbers of this very shot."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from engine.deliver.solved import Solved
from engine.files import write_text

_LINES = {
    "depth": "depth/%06d.exr           channel R, float: planar depth, along the optical axis. 0 = no value.",
    "inverse-depth": "inverse_depth/%06d.exr   channel R, float: 1/Z of planar depth, as Nuke's own renderer has it.\n"
    "                         0 = no value, infinitely far.",
    "distance": "distance/%06d.exr        channel R, float: length of the ray from the camera. 0 = no value.",
    "normals": "normals/%06d.exr         R G B, half: x y z of the unit normal in the world, towards the camera.\n"
    "                         A: 1 where there is a value.",
    "position": "position/%06d.exr        R G B, float: x y z in the world. A: 1 where there is a value.",
    "chan": "camera.chan              frame tx ty tz rx ry rz vertical-field-of-view; degrees, order ZXY, y up.",
    "nuke": "comp.nk                  Nuke: plate, depth, camera, lens, and a depth compare for your CG.",
    "colmap": "colmap/                  COLMAP model, binary: the distorted plate's lens, points without tracks.",
    "points": "points.ply               sparse points, binary: x y z, colour, number of frames that saw them.",
    "mesh": "mesh.obj                 one mesh of what stands still, for shadows and physics; y up.",
    "stmaps": "stmaps/undistort.exr     ST-maps as Nuke's STMap node takes them: R from the left, G from the bottom,\n"
    "stmaps/redistort.exr     shares of the picture that is looked into, pixel centres at halves.",
    "plate": "undistorted/             the plate as a pinhole camera sees it.",
}


_CAMERAS = {
    "camera.abc": "Alembic: y up.",
    "camera.usda": "USD: y up.",
    "camera.fbx": "FBX: y up, in hundredths of the unit, as FBX has it (centimetres, if that is a metre).",
}
"""By Blender, beside the rest; film back 36 mm wide, the principal point as a film offset."""


def write_readme(path: Path, solved: Solved, kinds: Sequence[str], left_out: Collection[str]) -> None:
    """Write README.txt.

    Args:
        path: the file.
        solved: the solve.
        kinds: what is in the delivery.
        left_out: sentences about what is not.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    cameras = [name for name in _CAMERAS if (path.parent / name).is_file()]
    write_text(path, "\n".join(_text(solved, kinds, cameras, left_out)) + "\n")


def _text(solved: Solved, kinds: Sequence[str], cameras: Sequence[str], left_out: Collection[str]) -> list[str]:
    document, lens = solved.document, solved.lens
    source, depth = document["source"], document["depth"]
    numerator, denominator = source["fps"]
    frames = sorted(solved.world_from_camera)
    blind = sorted(set(frames) - set(solved.depth_frames))
    lines = [
        f"{solved.name}: camera and depth, by Consistent Video Depth {document['engine']['versions']['engine']}",
        "",
        "PLATE",
        f"  {source['path']}",
        f"  {lens.width}x{lens.height}, pixel aspect {lens.fy / lens.fx:.6g}, {numerator / denominator:.6g} frames/s, "
        f"{'scene-linear' if source['colourspace'] == 'linear' else 'sRGB, display-referred'}",
    ]
    if source.get("stereo") == "side_by_side":
        lines.append("  The plate is the left half of the stored pictures.")
    lines += [
        "",
        "WHAT IS HERE",
        *(f"  {line}" for kind in kinds for line in _LINES[kind].split("\n")),
        *(f"  {name:24} {_CAMERAS[name]}" for name in cameras),
        *(f"  {sentence}" for sentence in left_out),
        "",
        "CONVENTIONS",
        "  Frames     are numbered as the plate's own; a movie's first frame is 1.",
        f"  Unit       of all lengths: {solved.unit}.",
        "  World      right-handed, z up: positions, normals, points.ply, colmap/. y up: .chan, .nk and mesh.obj.",
        "             (x, y, z) of the former is (x, z, -y) of the latter.",
        "  Camera     colmap/: x right, y down, z forward. camera.chan and comp.nk: x right, y up, looking along -z.",
        "  Pixels     The picture spans 0..width and 0..height, y down; the centre of the first pixel is (0.5, 0.5).",
        "  Passes     lie on the pixels of the plate as it was filmed, distorted. They hold data, not colours: read",
        "             them raw, without colour management, and never filter them across edges.",
    ]
    lines += ["", "LENS", *(f"  {line}" for line in _lens(solved))]
    lines += ["", "FRAMES", f"  With a camera: {_ranges(frames)}"]
    lines += [
        f"  Without, and in none of the files: {number}: {reason}" for number, reason in sorted(solved.gaps.items())
    ]
    if cameras and solved.gaps:
        lines.append(f"  {', '.join(cameras)}: a sample for every frame; in the gaps a guess between their ends.")
    if blind:
        lines.append(f"  With a camera but without depth: {_ranges(blind)}")
    lines += [
        "",
        "HOW SURE IT IS",
        f"  {document['quality']['verdict']}",
        *(f"  {warning}" for warning in document["quality"]["warnings"]),
        "",
        "LICENCE",
        f"  Depth was made with {depth['prior']}; licence of its weights: {depth['licence']}.",
    ]
    return lines


def _lens(solved: Solved) -> list[str]:
    lens, zooms = solved.lens, solved.zooms
    focals = [part.fx for part in solved.lenses.values()]
    focal = f"{min(focals):.4f} to {max(focals):.4f} (it zooms)" if zooms else f"{lens.fx:.4f}"
    squeeze = f", fy = fx * {lens.fy / lens.fx:.6g}" if lens.fx != lens.fy else ""
    lines = [
        f"fx {focal} px{squeeze}, cx {lens.cx:.4f}, cy {lens.cy:.4f} px from the top left",
        f"{lens.fx / lens.width * 36.0:.4f} mm on a film back 36 mm wide{' (first frame)' if zooms else ''}",
    ]
    if not solved.distorted:
        return [*lines, "no distortion"]
    return [
        *lines,
        f"k1 {lens.k1:.9g}, k2 {lens.k2:.9g}, p1 {lens.p1:.9g}, p2 {lens.p2:.9g} (COLMAP's and OpenCV's model):",
        "x_distorted = x (1 + k1 r2 + k2 r4) + 2 p1 x y + p2 (r2 + 2 x2), y alike with p1 and p2 changed over,",
        "x and y in units of the focal length from the principal point",
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """Such as `5, 8-12`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)
