"""What solving starts from: pictures, features, matches, and tracks over them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.files import write_atomically, write_text
from engine.poses.holdout import Tracks, build_tracks
from engine.poses.job import Job
from engine.poses.speech import say

TOTAL, FEATURES, MATCHES, MAPPED = 100.0, 40.0, 65.0, 95.0
"""Progress of a solve: the whole, features found, matches found, cameras mapped."""
_UPSAMPLE_BELOW = 640
"""Long side below which pictures are enlarged twice: SIFT then finds three times as many points, placed better."""
_FINE_SIFT_BELOW = 1000
"""Long side up to which SIFT starts at double size (first octave -1); larger pictures have points enough without."""
_MAX_FEATURES = 2048
_MASK_GROWTH = 0.008
"""Of the long side: how much farther than the mask features are left out, since they look at what is around them."""
_EXTRACTION_THREADS = 4
_CHUNK_FRAMES = 4
_CHUNK_PAIRS = 24
PAIR_STEPS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256)
"""Frames are matched with those so many places later: near ones for long tracks, far ones against drift."""

Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """The verified matches of a database.

    Attributes:
        width: of the pictures.
        height: of the pictures.
        images: image ids, in the order of the frames.
        pixels: image id -> (n, 2) pixels of its features.
        pairs: (image id, later image id) -> (m, 2) features of the one and the other.
        principal: point of the lens, pixels of the pictures; None = in their middle.
    """

    width: int
    height: int
    images: list[int]
    pixels: dict[int, Pixels]
    pairs: dict[tuple[int, int], NDArray[np.int64]]
    principal: tuple[float, float] | None = None

    @classmethod
    def load(cls, database: Path) -> Matches:
        """Read a database whose images were written in the order of the frames."""
        with pycolmap.Database.open(database) as data:
            camera = data.read_all_cameras()[0]
            images = sorted(image.image_id for image in data.read_all_images())
            pixels = {i: data.read_keypoints(i)[:, :2].astype(np.float64) for i in images}
        pairs = dict(sorted(verified_matches(database).items()))
        principal = camera.principal_point_x, camera.principal_point_y
        return cls(camera.width, camera.height, images, pixels, pairs, principal)

    def only(self, positions: Sequence[int]) -> Matches:
        """Those of the frames at some positions."""
        images = [self.images[i] for i in positions]
        among = set(images)
        pairs = {pair: found for pair, found in self.pairs.items() if among.issuperset(pair)}
        return replace(self, images=images, pixels={i: self.pixels[i] for i in images}, pairs=pairs)

    @property
    def centre(self) -> Pixels:
        """(2,) the principal point."""
        return np.array(self.principal or (self.width / 2, self.height / 2))

    @property
    def long_side(self) -> int:
        """Of the pictures."""
        return max(self.width, self.height)

    def pixels_of(self, pair: tuple[int, int]) -> tuple[Pixels, Pixels]:
        """(m, 2) and (m, 2): where the matches of a pair are seen in either image."""
        matches = self.pairs[pair]
        return self.pixels[pair[0]][matches[:, 0]], self.pixels[pair[1]][matches[:, 1]]

    def moved(self, pair: tuple[int, int]) -> float:
        """By how many pixels the matches of a pair are apart, median."""
        a, b = self.pixels_of(pair)
        return float(np.median(np.linalg.norm(b - a, axis=1)))


def extract_features(job: Job, database: Path, images: Path, ratio: float, *, zooms: bool = False) -> None:
    """SIFT features of every picture, outside of the masks, into the database; one camera, or one each if it zooms."""
    done = database.with_name("features.done")
    if done.exists():
        return
    mode = pycolmap.CameraMode.PER_IMAGE if zooms else pycolmap.CameraMode.SINGLE
    options = pycolmap.FeatureExtractionOptions()
    options.use_gpu = False
    options.num_threads = min(_EXTRACTION_THREADS, os.cpu_count() or 1)
    options.sift.max_num_features = _MAX_FEATURES
    height, width = picture_size(images / job.names[0])
    options.sift.first_octave = -1 if max(width, height) <= _FINE_SIFT_BELOW else 0
    if not database.exists():
        # All pictures first: threads would otherwise number them in the order in which they happen to finish.
        unfinished = database.with_name(".database.db")
        unfinished.unlink(missing_ok=True)
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = mapping_model(job)
        centre = np.array(job.centre) * (width / job.width, height / job.height)
        if job.focal_px is not None:
            radial = ",0" if reader.camera_model == "SIMPLE_RADIAL" else ""
            reader.camera_params = f"{job.focal_px * ratio},{centre[0]},{centre[1]}{radial}"
        pycolmap.Database.open(unfinished).close()
        pycolmap.import_images(unfinished, images, mode, job.names, reader)
        with pycolmap.Database.open(unfinished) as data:
            for camera in data.read_all_cameras():
                camera.params = np.array([camera.params[0], *centre, *camera.params[3:]])
                data.update_camera(camera)
        unfinished.replace(database)
    outside = pycolmap.ImageReaderOptions()
    if job.masks is not None and any((Path(job.masks) / name).exists() for name in job.names):
        outside.mask_path = _feature_masks(job, Path(job.masks), images)
    for start in range(0, len(job.names), _CHUNK_FRAMES):
        say("step", [FEATURES * start / len(job.names), TOTAL, "finding features"])
        pycolmap.extract_features(
            database,
            images,
            image_names=job.names[start : start + _CHUNK_FRAMES],
            camera_mode=mode,
            reader_options=outside,
            extraction_options=options,
        )
    write_text(done, "")


def mapping_model(job: Job) -> str:
    """The lens model that cameras are placed with; the last adjustment goes over to a richer one where it must."""
    return "SIMPLE_PINHOLE" if job.model == "SIMPLE_PINHOLE" else "SIMPLE_RADIAL"


def match(job: Job, database: Path, exhaustive: bool) -> None:
    """Match and verify pairs of pictures; those in the database already are kept."""
    count = len(job.names)
    steps = range(1, count) if exhaustive else PAIR_STEPS
    pairs = [(i, i + step) for i in range(count) for step in steps if i + step < count]
    match_pairs(job, database, pairs, "matches_exhaustive" if exhaustive else "matches", (FEATURES, MATCHES))


def match_pairs(job: Job, database: Path, pairs: list[tuple[int, int]], name: str, span: tuple[float, float]) -> None:
    """Match and verify those pairs of pictures, by their positions, that are not in the database.

    Args:
        job: what to solve.
        database: with features.
        pairs: positions in the job's names.
        name: of the file that says that this is done.
        span: progress before and after.
    """
    done = database.with_name(f"{name}.done")
    if done.exists():
        return
    options = pycolmap.FeatureMatchingOptions()
    options.use_gpu = False
    options.num_threads = 1
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = job.seed
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = database.with_name("pairs.txt")
    low, high = span
    for start in range(0, len(pairs), _CHUNK_PAIRS):
        chunk = pairs[start : start + _CHUNK_PAIRS]
        write_text(database.with_name("pairs.txt"), "".join(f"{job.names[a]} {job.names[b]}\n" for a, b in chunk))
        pycolmap.match_image_pairs(database, options, pairing, verification)
        say("step", [low + (high - low) * (start + len(chunk)) / len(pairs), TOTAL, "matching frames"])
    write_text(done, "")


def pictures(job: Job) -> tuple[Path, float]:
    """(folder of the pictures to solve from, their width over the plate's); small ones are enlarged, pixels squared."""
    source, aspect = Path(job.images), job.pixel_aspect or 1.0
    height, width = picture_size(source / job.names[0])
    stretch = np.array([max(aspect, 1.0), max(1.0 / aspect, 1.0)])  # enlarging loses nothing
    if (stretch * (width, height)).max() < _UPSAMPLE_BELOW:
        stretch *= 2.0
    if (stretch == 1.0).all():
        return source, width / job.width
    size = np.rint(stretch * (width, height)).astype(int).tolist()
    enlarged = Path(job.work) / "enlarged"
    enlarged.mkdir(exist_ok=True)
    for name in job.names:
        if not (enlarged / name).exists():
            picture = cv2.resize(cv2.imread(str(source / name)), size, interpolation=cv2.INTER_CUBIC)
            write_atomically(enlarged / name, cv2.imencode(".png", picture)[1].tofile)
    return enlarged, size[0] / job.width


def _feature_masks(job: Job, masks: Path, images: Path) -> Path:
    """Folder of masks as COLMAP wants them: of the size of the pictures, 0 = take no feature.

    Every picture gets one: COLMAP takes no feature at all of a picture whose mask is missing.
    """
    folder = Path(job.work) / "kept"
    folder.mkdir(exist_ok=True)
    height, width = picture_size(images / job.names[0])
    reach = max(1, round(_MASK_GROWTH * max(width, height)))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    for name in job.names:
        moves = np.zeros((height, width), np.uint8)
        if (masks / name).exists():
            mask = cv2.imread(str(masks / name), cv2.IMREAD_GRAYSCALE)
            if mask is None:
                raise OSError(f"cannot read {masks / name}")
            moves = (cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST) > 0).astype(np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), (cv2.dilate(moves, around) == 0).astype(np.uint8) * 255)
    return folder


def picture_size(picture: Path) -> tuple[int, int]:
    """(height, width) of a picture; OSError where it cannot be read."""
    bitmap = pycolmap.Bitmap.read(picture, as_rgb=False)
    if bitmap is None:
        raise OSError(f"cannot read {picture}")
    return bitmap.height, bitmap.width


def verified_matches(database: Path) -> dict[tuple[int, int], NDArray[np.int64]]:
    """(image, image) -> (n, 2) features, of all pairs that passed the two-view check."""
    with pycolmap.Database.open(database) as data:
        ids, geometries = data.read_two_view_geometries()
    return {
        tuple(pycolmap.pair_id_to_image_pair(i)): np.asarray(g.inlier_matches, np.int64).reshape(-1, 2)
        for i, g in zip(ids, geometries, strict=True)
        if len(g.inlier_matches)
    }


def tracks_of(database: Path, seed: int) -> Tracks:
    """See `build_tracks`."""
    with pycolmap.Database.open(database) as data:
        counts = {i.image_id: data.num_keypoints_for_image(i.image_id) for i in data.read_all_images()}
    return build_tracks(verified_matches(database), counts, seed)
