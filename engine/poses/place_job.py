"""What the process that places points is asked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.files import write_json
from engine.poses.job import Job


@dataclass(frozen=True)
class PlaceJob:
    """One run.

    Attributes:
        job: pictures, masks, plate size, work folder, seed; its lens is not used.
        numbers: plate frame number of each of the pictures.
        plate_names: file name of the plate -> frame number; empty for movies.
        plate_folders: how a folder of the plate's pictures may be called.
        camera: a `cvd.camera/1` file, or the folder of a COLMAP model.
        others: `cvd.camera/1` files of the camera read in other ways, by what that takes, for people.
        metric: a COLMAP model is in metres.
        tracks: a `cvd.tracks/1` file, or None.
    """

    job: Job
    numbers: list[int]
    plate_names: dict[str, int]
    plate_folders: list[str]
    camera: str
    others: dict[str, str]
    metric: bool
    tracks: str | None

    def save(self, path: Path) -> None:
        """Write the job as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> PlaceJob:
        """Read what `save` wrote."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**document, "job": Job(**document["job"])})
