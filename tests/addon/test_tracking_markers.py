"""Blender's tracking markers, from its own tracker to the file that the engine reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from cvd_blender_addon import cameras, masks
from cvd_blender_addon.present import tracks_of
from tests.addon import marks
from tests.addon.rendering import clip_editor, make_movie
from tests.addon.synthetic import Synthetic, write_png

pytestmark = pytest.mark.every_blender

SIZE = (marks.WIDTH, marks.HEIGHT)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marks")
    for number in marks.NUMBERS:
        write_png(folder / f"plate_{number}.png", marks.picture(number))
    return folder


@pytest.fixture(scope="module")
def movie(sequence: Path) -> Path:
    """Frames 1 to 5 are plate frames 1001 to 1005."""
    truth = Synthetic(folder=sequence / "x.solve", first=1001, last=1005, width=marks.WIDTH, height=marks.HEIGHT)
    return make_movie(truth, sequence / "movie" / "marks.mp4")


def put(clip: bpy.types.MovieClip, mark: int, number: int, number_of: int = 0) -> bpy.types.MovieTrackingTrack:
    """A track with a marker on the middle of a mark, where the clip shows that plate frame."""
    track = tracks_of(clip).new(name=marks.NAMES[mark], frame=masks.scene_frame(clip, number) - clip.frame_start + 1)
    x, y = marks.place(mark, number + number_of) / SIZE
    track.markers[0].co = (x, 1.0 - y)
    return track


def follow(scene: bpy.types.Scene, clip: bpy.types.MovieClip, first: int, last: int, number_of: int = 0) -> None:
    """Put tracks onto the marks of a frame and let Blender follow them; `number_of` is added for the truth."""
    for mark in range(len(marks.NAMES)):
        track = put(clip, mark, first, number_of)
        track.motion_model, track.pattern_match, track.select = "LocRot", "PREV_FRAME", True
        marker = track.markers[0]
        half = 17.0 / np.array(SIZE)
        marker.pattern_corners = [(half * corner).tolist() for corner in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        marker.search_min, marker.search_max = tuple(-2.2 * half), tuple(2.2 * half)
    scene.frame_start, scene.frame_end = masks.scene_frame(clip, first), masks.scene_frame(clip, last)
    with clip_editor(clip):
        scene.frame_set(scene.frame_start)
        space: Any = bpy.context.space_data
        space.clip_user.frame_current = scene.frame_current  # a window does that by itself
        assert bpy.ops.clip.track_markers("EXEC_DEFAULT", backwards=False, sequence=True) == {"FINISHED"}


def check(path: Path, first: int, last: int, number_of: int = 0) -> None:
    tracks = json.loads(path.read_text())["tracks"]
    assert [track["name"] for track in tracks] == list(marks.NAMES)
    for mark, track in enumerate(tracks):
        assert [row[0] for row in track["markers"]] == list(range(first, last + 1))
        for number, x, y in track["markers"]:
            assert np.hypot(*(marks.place(mark, number + number_of) - (x, y))) < 0.25, (track["name"], number)


@pytest.mark.parametrize(("own", "start", "offset"), [(1001, 1, 0), (1002, 40, 0), (1001, 7, 2), (1003, 9, -2)])
def test_what_blender_tracks_is_written_where_it_is(
    sequence: Path, scene: bpy.types.Scene, tmp_path: Path, own: int, start: int, offset: int
) -> None:
    """The tracker sees the pictures themselves: frame numbers, y and half pixels have to be those of the plate."""
    clip = bpy.data.movieclips.load(str(sequence / f"plate_{own}.png"))
    clip.frame_start, clip.frame_offset = start, offset
    first = own + offset
    follow(scene, clip, first, 1005)
    cameras.write_tracks(clip, marks.NUMBERS, SIZE, tmp_path / "tracks.json")
    check(tmp_path / "tracks.json", first, 1005)


@pytest.mark.parametrize(("start", "offset"), [(1, 0), (30, 1)])
def test_what_blender_tracks_in_a_movie_counts_from_one(
    movie: Path, scene: bpy.types.Scene, tmp_path: Path, start: int, offset: int
) -> None:
    clip = bpy.data.movieclips.load(str(movie))
    clip.frame_start, clip.frame_offset = start, offset
    follow(scene, clip, 1 + offset, 5, 1000)
    cameras.write_tracks(clip, range(1, 6), SIZE, tmp_path / "tracks.json")
    check(tmp_path / "tracks.json", 1 + offset, 5, 1000)


def test_markers_become_the_document_that_the_engine_is_tested_with(
    sequence: Path, scene: bpy.types.Scene, tmp_path: Path
) -> None:
    """See tests/engine/cameras/test_blender_tracks.py. The engine gets no marker that is disabled or has no picture."""
    clip = bpy.data.movieclips.load(str(sequence / "plate_1001.png"))
    clip.frame_start, clip.frame_offset = 12, 1
    for mark in range(len(marks.NAMES)):
        track = put(clip, mark, marks.NUMBERS[1])
        track.offset = (0.0625, -0.125)  # an offset track: the point lies beside what is followed
        for number in range(1001, 1009):
            at = masks.scene_frame(clip, number) - clip.frame_start + 1
            x, y = marks.place(mark, number) / SIZE
            track.markers.insert_frame(at, co=(x - 0.0625, 1.0 - y + 0.125))
    tracks = tracks_of(clip)
    tracks["Lamp"].markers.find_frame(masks.scene_frame(clip, 1003) - 11).mute = True
    tracks["Table"].markers.delete_frame(masks.scene_frame(clip, 1001) - 11)
    cameras.write_tracks(clip, marks.NUMBERS, SIZE, tmp_path / "tracks.json")
    written, wanted = json.loads((tmp_path / "tracks.json").read_text()), marks.document()
    for found, track in zip(written.pop("tracks"), wanted.pop("tracks"), strict=True):
        assert found["name"] == track["name"]
        assert np.array(found["markers"]) == pytest.approx(np.array(track["markers"]), abs=1e-3)
    assert written == wanted


def test_markers_of_a_picture_with_two_eyes_are_those_of_the_left_one(
    sequence: Path, scene: bpy.types.Scene, tmp_path: Path
) -> None:
    clip = bpy.data.movieclips.load(str(sequence / "plate_1001.png"))
    for mark in range(len(marks.NAMES)):
        put(clip, mark, 1001)
        put(clip, mark, 1002)
        track = tracks_of(clip)[-2]
        x, y = marks.place(mark, 1002) / SIZE
        track.markers.insert_frame(2, co=(x, 1.0 - y))
    cameras.write_tracks(clip, marks.NUMBERS, (marks.WIDTH // 2, marks.HEIGHT), tmp_path / "tracks.json")
    document = json.loads((tmp_path / "tracks.json").read_text())
    assert (document["width"], document["height"]) == (160, 180)
    assert [track["name"] for track in document["tracks"]] == ["Door", "Lamp"]
    assert document["tracks"][0]["markers"][0] == pytest.approx([1001, *marks.place(0, 1001)], abs=1e-3)
