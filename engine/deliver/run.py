"""`deliver`: a finished solve into a folder for other programs, product by product, each whole or not there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import engine
from engine import files, footage
from engine.cameras.chan import write_chan
from engine.deliver import nuke
from engine.deliver.kinds import KINDS, name_of
from engine.deliver.passes import PASSES, rays
from engine.deliver.readme import write_readme
from engine.deliver.solved import Solved, read_solved
from engine.errors import DeliverError
from engine.export.lens import write_maps, write_plate
from engine.export.ply import write_vertices
from engine.solve_folder import is_passing
from engine.workspace import Listener, Stage, Workspace, open_workspace

WORK = ".deliver"
"""Folder in the delivery for status, log, lock, and what is being made."""
README, PUBLISHED = "README.txt", "published"
_NUMBERED = re.compile(r"(\w+\.)?-?\d{6,}\.(exr|png)")
"""Files of an earlier delivery of another range."""
_FOR_NUKE = ("inverse-depth", "stmaps")


@dataclass(frozen=True)
class _Delivery:
    """What is made of which solve, and who is told."""

    solved: Solved
    kinds: Sequence[str]
    workspace: Workspace

    def step(self, done: int, total: int) -> None:
        """Tell how many frames are done."""
        self.workspace.step(done, total, f"{done} of {total} frames")


def deliver(
    solve: Path, out: Path, kinds: Sequence[str] | None, placed: Sequence[float] | None, listener: Listener
) -> Path:
    """Write what is asked for of a finished solve.

    What an earlier run has finished is kept where it is still of this solve, so that a cancelled or killed delivery
    goes on where it stopped.

    Args:
        solve: the solve folder.
        out: the delivery: a new, an empty, or an earlier one's folder.
        kinds: of `KINDS`; None = all that this shot has. "nuke" brings what its script reads.
        placed: 16 numbers, row by row, of the similarity from the solve's world to the one to deliver; both have z up.
        listener: told every event and status as it happens.

    Returns:
        The folder.

    Raises:
        DeliverError: `deliver.no_solve`, `.damaged`, `.placed`, `.folder`, `.foreign`, `.depth`, `.points` or
            `.changed`.
        FootageError: the plate cannot be read.
        WorkspaceError: the disk is full, the folder cannot be written, or another delivery is at work in it.
        Cancelled: the user stopped it; delivering again goes on from there.
    """
    _refuse_foreign_folder(out)
    with open_workspace(out / WORK, listener) as workspace:
        files.remove_temporaries_in(out)
        solved = read_solved(solve, placed)
        wanted, left_out = _choose(solved, kinds)
        delivery = _Delivery(solved, wanted, workspace)
        stages = [_stage(delivery, kind) for kind in wanted]
        for stage in stages:
            if not (out / name_of(stage.name)).exists():
                (stage.folder / "stage.json").unlink(missing_ok=True)
        workspace.plan(stages)
        for stage in stages:
            if stage.is_done:
                workspace.reuse(stage)
                continue
            target = out / name_of(stage.name)
            earlier = list(stage.folder.parent.glob(f"{stage.name}@*"))
            ours = workspace.root / "ours" / stage.name  # outlasts the folders of earlier solves
            if target.exists() and not (ours.exists() or any((folder / PUBLISHED).exists() for folder in earlier)):
                raise _foreign(target, "no delivery has made it")
            ours.parent.mkdir(exist_ok=True)
            ours.touch()
            for other in earlier:
                if other != stage.folder:  # of another solve, or placed elsewhere
                    shutil.rmtree(other)
            with workspace.stage(stage):
                _make(delivery, stage, target)
        write_readme(out / README, solved, wanted, left_out)
    return out


def _refuse_foreign_folder(out: Path) -> None:
    try:
        others = [path.name for path in out.iterdir()] if out.exists() else []
    except OSError as error:
        others, why = [str(out)], f"{error}."
    else:
        why = "It is not empty, and is not an earlier delivery, whose files may be replaced."
    if others and WORK not in others:
        raise DeliverError(
            "deliver.folder", f"Nothing can be delivered into {out}.", why, "Choose a new or empty folder."
        )


def _choose(solved: Solved, kinds: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The kinds to deliver, in order, and sentences about those that are left out."""
    if kinds is not None:
        wanted = {*kinds, *((_FOR_NUKE if solved.distorted else _FOR_NUKE[:1]) if "nuke" in kinds else ())}
        return [kind for kind in KINDS if kind in wanted], []
    left_out: dict[str, str] = {}
    if not solved.distorted:
        left_out |= dict.fromkeys(
            ("stmaps", "plate"), "No ST-maps and no undistorted plate: the lens does not distort."
        )
    elif not Path(solved.document["source"]["path"]).exists():
        left_out["plate"] = "No undistorted plate: the plate is not where it was when it was solved."
    if len(solved.points()) == 0:
        left_out["points"] = "No sparse points: this solve has none."
    if not solved.document.get("fused"):
        left_out["mesh"] = (
            "No mesh: this solve has none. `python -m engine fuse SOLVE` makes one if the camera travels."
        )
    return [kind for kind in KINDS if kind not in left_out], sorted(set(left_out.values()))


def _stage(delivery: _Delivery, kind: str) -> Stage:
    solved = delivery.solved
    reads = [other for other in delivery.kinds if other in ("normals", "position", "mesh")] if kind == "nuke" else []
    parts = [kind, solved.content, solved.delivered_from_solve.tolist(), engine.__version__, reads]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    heavy = len(solved.lenses) if kind in PASSES or kind == "plate" else 1
    return Stage(kind, key, heavy, delivery.workspace.root / "making" / f"{kind}@{key}")


def _make(delivery: _Delivery, stage: Stage, target: Path) -> None:
    """Make a product in its stage's folder and put it in its place."""
    made, marked = stage.folder / "made" / target.name, stage.folder / PUBLISHED
    if not (marked.exists() and target.exists() and not made.exists()):  # killed right after it was put in its place
        made.parent.mkdir(exist_ok=True)
        if stage.name in PASSES:
            _write_pass(delivery, stage.name, made)
        else:
            _WRITERS[stage.name](delivery, made)
        if read_content(delivery.solved.root) != delivery.solved.content:
            raise DeliverError(
                "deliver.changed",
                f"The solve in {delivery.solved.root} has changed while it was delivered.",
                "The clip was solved again, or the folder was taken away.",
                "Deliver again once the solve is done.",
            )
        _refuse_foreign_files(made, target)
        files.write_text(marked, "")
        _replace(made, target, stage.folder / "old")


def _refuse_foreign_files(made: Path, target: Path) -> None:
    """Nothing is deleted with a product's folder that no delivery has put there."""
    if not target.is_dir() or target.is_symlink():
        return
    known = {path.name for path in made.iterdir()} if made.is_dir() else set()
    for path in sorted(target.iterdir()):
        if path.name not in known and not _NUMBERED.fullmatch(path.name) and not is_passing(path.name):
            raise _foreign(target, f"{path.name} in it is of no delivery")


def _foreign(target: Path, why: str) -> DeliverError:
    return DeliverError(
        "deliver.foreign",
        f"{target} would be replaced, and {why}.",
        "A delivery replaces its products as a whole.",
        "Move it elsewhere, or choose another folder.",
    )


def read_content(root: Path) -> str:
    """What tells one solve from another in the same folder; empty where there is none."""
    try:
        return hashlib.sha256((root / "solve.json").read_bytes()).hexdigest()
    except OSError:
        return ""


def _replace(made: Path, target: Path, old: Path) -> None:
    """Put a file or folder in the place of another, which is gone for no longer than two renames take."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(old, ignore_errors=True)
        target.replace(old)
    made.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def _write_pass(delivery: _Delivery, kind: str, folder: Path) -> None:
    solved, numbers = delivery.solved, delivery.solved.depth_frames
    folder.mkdir(exist_ok=True)
    lens, seen = None, np.zeros(0)
    for done, number in enumerate(numbers, 1):
        path = footage.FrameFiles(folder, ".exr").path(number)
        if not path.is_file():
            if lens != solved.lenses[number]:
                lens = solved.lenses[number]
                seen = rays(lens)
            channels = PASSES[kind](solved.depth(number), seen, solved.world_from_camera[number])
            files.write_exr_channels(path, channels)
        delivery.step(done, len(numbers))


def _write_chan(delivery: _Delivery, path: Path) -> None:
    write_chan(path, delivery.solved.world_from_camera, delivery.solved.lenses)


def _write_nuke(delivery: _Delivery, path: Path) -> None:
    nuke.write_script(path, delivery.solved, [name_of(kind) for kind in delivery.kinds])


def _write_points(delivery: _Delivery, path: Path) -> None:
    write_vertices(path, delivery.solved.points())


def _write_mesh(delivery: _Delivery, path: Path) -> None:
    """As Wavefront OBJ, which Nuke reads as well; y up, as there."""
    xyz, normals, faces = delivery.solved.mesh()

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            for word, values in (("v", xyz), ("vn", normals)):
                np.savetxt(file, np.stack([values[:, 0], values[:, 2], -values[:, 1]], -1), f"{word} %.7g %.7g %.7g")
            np.savetxt(file, np.repeat(faces + 1, 2, axis=1), "f %d//%d %d//%d %d//%d")

    files.write_atomically(path, write)


def _write_colmap(delivery: _Delivery, folder: Path) -> None:
    from engine.cameras.colmap import write_colmap  # native code, which nothing else here needs

    solved = delivery.solved
    points = solved.points()
    xyz = np.stack([points[axis] for axis in "xyz"], -1)
    rgb = np.stack([points[part] for part in ("red", "green", "blue")], -1)
    folder.mkdir(exist_ok=True)
    write_colmap(folder, solved.world_from_camera, solved.lenses, solved.picture_names(), xyz, rgb)


def _write_stmaps(delivery: _Delivery, folder: Path) -> None:
    write_maps(folder, sorted(delivery.solved.lenses.items()), 0)


def _write_plate(delivery: _Delivery, folder: Path) -> None:
    write_plate(folder, delivery.solved.document, delivery.solved.lenses, 0, delivery.step)


_WRITERS: dict[str, Callable[[_Delivery, Path], None]] = {
    "chan": _write_chan,
    "colmap": _write_colmap,
    "points": _write_points,
    "mesh": _write_mesh,
    "stmaps": _write_stmaps,
    "plate": _write_plate,
    "nuke": _write_nuke,
}
