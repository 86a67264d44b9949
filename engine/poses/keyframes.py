"""Long clips: which frames the cameras are mapped by, and which pairs of frames are matched.

Mapping, and telling lenses apart, cost more than in proportion to the number of frames and learn nothing from frames
that hardly differ. Key frames a few percent of the picture apart carry them; the frames between are matched with the
key frames around them and placed by the points that these have.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap

from engine.poses.features import FEATURES, MATCHES, PAIR_STEPS, Matches, match_pairs
from engine.poses.job import Job

LONG = 150
"""Frames from which on a clip has key frames."""
_APART, _FARTHEST = 0.04, 8
"""How far key frames are apart: what moves between neighbouring frames adds up to that share of the long side, or so
many frames have passed."""
_WORDS, _DESCRIPTORS, _ALIKE = 1024, 200, 8
"""For finding places seen before: visual words of the clip's own vocabulary, descriptors of each key frame that it is
made from, and how many frames that look alike are matched with each."""
_REVISIT = 64
"""Key frames between two that count as a place seen again: nearer ones are matched anyway."""


def match_long(job: Job, database: Path) -> None:
    """Match neighbours, frames with the key frames around them, and key frames with near, far and similar ones."""
    if database.with_name("matches.done").exists():
        return
    count, half = len(job.names), (FEATURES + MATCHES) / 2.0
    match_pairs(job, database, [(i, i + 1) for i in range(count - 1)], "neighbours", (FEATURES, half))
    keys = key_frames(Matches.load(database))
    pairs = {(keys[k], keys[k + step]) for step in PAIR_STEPS for k in range(len(keys) - step)}
    pairs |= {(keys[a], keys[b]) for a, b in revisits(database, keys, job.seed)}
    after = np.searchsorted(keys, np.arange(count))
    for frame in sorted(set(range(count)) - set(keys)):
        pairs.add((keys[after[frame] - 1], frame))
        if after[frame] < len(keys):
            pairs.add((frame, keys[after[frame]]))
    pairs -= {(i, i + 1) for i in range(count - 1)}
    match_pairs(job, database, sorted(pairs), "matches", (half, MATCHES))


def key_frames(matches: Matches) -> list[int]:
    """Positions of the key frames, rising, the first and the last frame among them.

    Args:
        matches: with those of neighbouring frames, which alone count. Where neighbours have none, both are keys.
    """
    keys, moved = [0], 0.0
    count = len(matches.images)
    for position, pair in enumerate(zip(matches.images[:-1], matches.images[1:], strict=True)):
        if pair in matches.pairs:
            moved += matches.moved(pair) / matches.long_side
        else:
            keys.append(position)
            moved = _APART
        if moved >= _APART or position + 1 - keys[-1] >= _FARTHEST:
            keys.append(position + 1)
            moved = 0.0
    return sorted({*keys, count - 1})


def revisits(database: Path, keys: list[int], seed: int) -> list[tuple[int, int]]:
    """Pairs of key frames, as rows of `keys`, that are far apart in time and look alike: loops that can be closed.

    By a vocabulary tree (Schoenberger et al., A Vote-and-Verify Strategy for Fast Spatial Verification in Image
    Retrieval, ACCV 2016) made from the clip itself, of which no file need be fetched.
    """
    work = database.with_name("similar")
    work.mkdir(exist_ok=True)
    generator = np.random.default_rng(seed)
    own = work / "keys.db"
    own.unlink(missing_ok=True)
    sample = []
    with pycolmap.Database.open(database) as data, pycolmap.Database.open(own) as copy:
        images = sorted(data.read_all_images(), key=lambda image: image.image_id)
        camera = data.read_camera(images[0].camera_id)
        copy.write_camera(camera, use_camera_id=True)
        for row, position in enumerate(keys):
            image = pycolmap.Image(name=images[position].name, camera_id=camera.camera_id, image_id=row + 1)
            copy.write_image(image, use_image_id=True)
            descriptors = data.read_descriptors(images[position].image_id)
            copy.write_keypoints(row + 1, data.read_keypoints(images[position].image_id))
            copy.write_descriptors(row + 1, descriptors)
            values = np.asarray(descriptors.to_float().data)
            sample.append(values[generator.permutation(len(values))[:_DESCRIPTORS]])
        options = pycolmap.VisualIndex.BuildOptions()
        options.num_visual_words, options.num_iterations, options.num_rounds = _WORDS, 10, 1
        options.num_threads = 1
        index = pycolmap.VisualIndex.create(128, 64)
        kind = pycolmap.FeatureExtractorType.SIFT
        index.build(options, pycolmap.FeatureDescriptorsFloat(kind, np.concatenate(sample)))
        index.write(work / "words.bin")
        pairing = pycolmap.VocabTreePairingOptions()
        pairing.vocab_tree_path = work / "words.bin"
        pairing.num_images, pairing.max_num_features, pairing.num_threads = len(keys), 4 * _DESCRIPTORS, 1
        found: dict[int, list[tuple[int, int]]] = {}
        for a, b in pycolmap.VocabTreePairGenerator(pairing, copy, list(range(1, len(keys) + 1))).all_pairs():
            if abs(a - b) >= _REVISIT and len(found.setdefault(a, [])) < _ALIKE:
                found[a].append((min(a, b) - 1, max(a, b) - 1))
    return sorted({pair for pairs in found.values() for pair in pairs})
