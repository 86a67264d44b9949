"""Solves cameras without what costs most and is the same every time: a process of its own, and features found before.

Both are tested where nothing of this is used: `walk_track` and what ends, dies or is resumed in test_poses_solver.py
and test_poses_robust.py, and every solve by the engine's command.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pycolmap
import pytest

from engine.errors import CvdError
from engine.poses import cameras, child
from engine.poses import place as given_cameras
from engine.poses.job import Job
from engine.poses.place_job import PlaceJob
from engine.poses.speech import say
from engine.progress import Progress

_JOBS: dict[str, tuple[type[Job] | type[PlaceJob], str]] = {
    "engine.poses.worker": (Job, "solve"),
    "engine.poses.place_worker": (PlaceJob, "place"),
}
_extract = pycolmap.extract_features
_found: dict[str, tuple[np.ndarray, pycolmap.FeatureDescriptors]] = {}
"""Features by the hash of all that decides about them."""


@contextmanager
def quick_solver() -> Iterator[None]:
    """Solve in this process, and find the features of equal pictures once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cameras, "run_worker", run_here)
        patch.setattr(given_cameras, "run_worker", run_here)
        patch.setattr(pycolmap, "extract_features", extract_once)
        yield


def run_here(job: Path, _log: Path, progress: Progress, module: str = "engine.poses.worker") -> None:
    """Stands in for `child.run_worker`; what the solver says is heard when it is done."""
    kind, name = _JOBS[module]
    said = io.StringIO()
    with redirect_stdout(said):
        try:
            getattr(import_module(module), name)(kind.load(job))
        except CvdError as error:
            say("error", error.as_dict())
    done = SimpleNamespace(stdout=io.BytesIO(said.getvalue().encode()), wait=lambda: 0)
    child._follow(cast("Popen[bytes]", done), progress)


def extract_once(
    database: Path,
    images: Path,
    *,
    image_names: list[str],
    extraction_options: pycolmap.FeatureExtractionOptions,
    reader_options: pycolmap.ImageReaderOptions,
    **options: Any,
) -> None:
    """Stands in for `pycolmap.extract_features`."""
    keys = {name: _key(Path(images) / name, extraction_options, reader_options) for name in image_names}
    new = [name for name in image_names if keys[name] not in _found]
    if new:
        _extract(
            database, images, image_names=new, extraction_options=extraction_options, reader_options=reader_options,
            **options,
        )  # fmt: skip
    with pycolmap.Database.open(database) as data:
        for image in data.read_all_images():
            key, number = keys.get(image.name), image.image_id
            if key is None:
                continue
            if image.name in new:
                _found[key] = data.read_keypoints(number), data.read_descriptors(number)
            elif not data.exists_keypoints(number):
                data.write_keypoints(number, _found[key][0])
                data.write_descriptors(number, _found[key][1])


def _key(picture: Path, extraction: pycolmap.FeatureExtractionOptions, reader: pycolmap.ImageReaderOptions) -> str:
    digest = hashlib.sha256(picture.read_bytes() + repr(extraction.todict()).encode())
    mask = Path(reader.mask_path) / f"{picture.name}.png"
    if str(reader.mask_path) not in ("", ".") and mask.is_file():
        digest.update(mask.read_bytes())
    return digest.hexdigest()
