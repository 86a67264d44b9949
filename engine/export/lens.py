"""What a finished solve knows of its lens, for other programs: ST-maps and the plate without distortion.

An ST-map says for each of its pixels where in another picture it looks: red is x from the left and green y from the
bottom edge, as shares of that picture's width and height, with pixel centres at halves. That is Nuke's STMap node's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import files, footage
from engine.errors import WorkspaceError
from engine.geometry.arrays import Lens, array_from_pixel, distort, distort_map, pixel_centres

MAPS, PLATE = "lens", "undistorted"
_MAX_OVERSCAN = 100.0
Maps = tuple[NDArray[np.float32], NDArray[np.float32]]


def write_lens_products(
    solve: Path,
    st_maps: bool,
    undistorted: bool,
    overscan_pct: float = 0.0,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Path]:
    """Write what is asked for into a finished solve folder; what is there of it is replaced once all could be made.

    `lens/undistort.exr` has the size of the undistorted picture and looks into the plate, `lens/redistort.exr` the
    other way about: both float32, channels R and G. Of a lens that zooms there is a pair for each frame
    (`undistort.000101.exr`). `undistorted/000101.png` (or `.exr` of float plates, scene-linear as it is stored) is what
    a pinhole camera with the solve's focal length and principal point sees; where the plate has nothing, it is black.

    Args:
        solve: the solve folder.
        st_maps: write the maps.
        undistorted: write the plate.
        overscan_pct: of the width, added to the undistorted picture on each of its four sides. Of a barrel-shaped plate
            the corners lie outside of an undistorted picture of the plate's size.
        tell: told how many frames of how many are done.

    Returns:
        The files or folders written.

    Raises:
        WorkspaceError: `lens.no_solve` or `lens.overscan`.
        FootageError: the plate cannot be read.
        OSError: the disk is full or the folder cannot be written.
    """
    if not 0.0 <= overscan_pct <= _MAX_OVERSCAN:
        raise WorkspaceError(
            "lens.overscan",
            f"An overscan of {overscan_pct:g} % cannot be made.",
            f"It has to be between 0 and {_MAX_OVERSCAN:g} % of the width.",
            "Correct it; 10 % is plenty for most lenses.",
        )
    document = read_solve(solve)
    lenses = lenses_of(document)
    border = round(lenses[0][1].width * overscan_pct / 100.0)
    made = solve / f".{PLATE}"
    shutil.rmtree(made, ignore_errors=True)  # of one that was killed
    try:
        if undistorted:
            write_plate(made, document, dict(lenses), border, tell)
        written = write_maps(solve / MAPS, lenses, border) if st_maps else []
        if undistorted:
            (solve / PLATE).mkdir(exist_ok=True)
            for file in made.iterdir():
                file.replace(solve / PLATE / file.name)
            written.append(solve / PLATE)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return written


def pinhole(lens: Lens, border: int) -> Lens:
    """The undistorted lens with `border` pixels more on each side."""
    width, height = lens.width + 2 * border, lens.height + 2 * border
    return replace(lens.undistorted(), width=width, height=height, cx=lens.cx + border, cy=lens.cy + border)


def undistorting_maps(lens: Lens, seen: Lens) -> Maps:
    """(x, y) in array coordinates of the plate of `lens`, for each pixel of the pinhole `seen`."""
    p = pixel_centres(seen.height, seen.width)
    xd, yd = distort(lens, (p[..., 0] - seen.cx) / seen.fx, (p[..., 1] - seen.cy) / seen.fy)
    return (
        array_from_pixel(xd * lens.fx + lens.cx).astype(np.float32),
        array_from_pixel(yd * lens.fy + lens.cy).astype(np.float32),
    )


def st_map(maps: Maps, width: int, height: int) -> dict[str, NDArray[np.floating]]:
    """Channels of an ST-map that looks into a picture of `width` x `height`, from maps in its array coordinates."""
    x, y = (part.astype(np.float64) + 0.5 for part in maps)
    return {"R": (x / width).astype(np.float32), "G": (1.0 - y / height).astype(np.float32)}


def read_solve(solve: Path) -> dict[str, Any]:
    """The `solve.json` of a finished solve.

    Raises:
        WorkspaceError: `lens.no_solve`.
    """
    try:
        document: dict[str, Any] = files.read_json(solve / "solve.json")
        if not isinstance(document, dict) or not {"source", "lens", "frames"} <= document.keys():
            raise ValueError("it does not say what a solve says")
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            "lens.no_solve",
            f"{solve} is not a finished solve.",
            f"Its solve.json cannot be read: {error}.",
            "Give the folder of a solve that is done.",
        ) from error
    return document


def lenses_of(document: dict[str, Any]) -> list[tuple[int, Lens]]:
    """Plate frame number and lens of every frame with a camera."""
    entry, source = document["lens"], document["source"]
    parts = {name: float(entry[name]) for name in ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")}
    lens = Lens(entry["model"], int(source["width"]), int(source["height"]), **parts)
    zooms = bool(entry["focal_varies"])
    lenses = []
    for frame in document["frames"]:
        if frame["registered"]:
            zoom = float(frame["focal_px"]) / lens.fx if zooms else 1.0
            lenses.append((int(frame["frame"]), replace(lens, fx=lens.fx * zoom, fy=lens.fy * zoom)))
    return lenses


def write_maps(folder: Path, lenses: list[tuple[int, Lens]], border: int) -> list[Path]:
    """Write a pair of ST-maps into a folder, or of a lens that zooms one for each frame.

    Args:
        folder: is made where it is not there.
        lenses: (plate frame number, its lens).
        border: pixels more on each side of the undistorted picture.
    """
    folder.mkdir(exist_ok=True)
    written = []
    zooms = len({lens for _, lens in lenses}) > 1
    for number, lens in lenses if zooms else lenses[:1]:
        seen = pinhole(lens, border)
        infix = f".{footage.frame_name(number)}" if zooms else ""
        for name, maps, into in (
            ("undistort", undistorting_maps(lens, seen), lens),
            ("redistort", distort_map(lens, seen), seen),
        ):
            path = folder / f"{name}{infix}.exr"
            files.write_exr_channels(path, st_map(maps, into.width, into.height))
            written.append(path)
    return written


def write_plate(
    folder: Path, document: dict[str, Any], lenses: dict[int, Lens], border: int, tell: Callable[[int, int], None]
) -> Path:
    """Write the undistorted plate of the frames of `lenses` into a folder; arguments as for `write_maps`.

    Args:
        document: `solve.json`, which says where the plate is.
        tell: told how many frames of how many are done; an exception from it ends the work.

    Raises:
        FootageError: the plate cannot be read.
        OSError: the disk is full or the folder cannot be written.
    """
    source = document["source"]
    clip = footage.probe(Path(source["path"]), int(source["first"]), int(source["last"]))
    whole = clip.width // 2 if source.get("stereo") == "side_by_side" else clip.width
    folder.mkdir(exist_ok=True)
    wanted = [number for number in clip.numbers if number in lenses]
    lens, maps = None, None
    for done, (number, stored) in enumerate(footage.read_stored(clip, wanted), 1):
        if maps is None or lens != lenses[number]:
            lens = lenses[number]
            maps = undistorting_maps(lens, pinhole(lens, border))
        picture = np.ascontiguousarray(stored[:, :whole])
        is_float = np.issubdtype(picture.dtype, np.floating)
        picture = picture.astype(np.float32) if is_float else picture
        flat = cv2.remap(picture, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0))
        path = folder / footage.frame_name(number)
        if is_float:
            channels = {name: flat[..., index].astype(np.float16) for index, name in enumerate("RGB")}
            files.write_exr_channels(path.with_suffix(".exr"), channels)
        else:
            _, encoded = cv2.imencode(".png", flat[..., ::-1])
            files.write_atomically(path.with_suffix(".png"), encoded.tofile)
        tell(done, len(wanted))
    return folder
