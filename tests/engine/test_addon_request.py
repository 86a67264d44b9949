"""What the add-on asks for is what the engine reads: the contract between the two, in every combination."""

import itertools
import json
import operator
import re
from pathlib import Path

from cvd_blender_addon import estimate, jobs, solve_request
from engine.depth.settings import PRESETS
from engine.request import BY_DEEPV2D, SOLVED, STAGES, CameraRequest, KnownDistance, WorldRequest, parse_request
from engine.schemas import schema

CLIP, FOLDER = Path("/shots/plate_1001.png"), Path("/shots/plate.solve")


def words(*where):
    entry = schema("request-1")["properties"]
    for name in where[:-1]:
        entry = entry[name]["properties"]
    return entry[where[-1]]["enum"]


def test_every_combination_is_read_as_it_was_meant() -> None:
    choices = {
        "footage/stereo": words("footage", "stereo"),
        "prior/kind": words("prior", "kind"),
        "prior/maps": words("prior", "maps"),
        "method": words("method"),
        "preset": words("preset"),
        "masks/path": [None, Path("/shots/plate.solve/masks")],
        "masks/segmentation": [None, "owner/model"],
        "masks/motion": [True, False],
        "masks/allow_non_commercial": [True, False],
    }
    for values in itertools.product(*choices.values()):
        asked = dict(zip(choices, values, strict=True))
        if asked["preset"] == "cvd-2020" and asked["method"].startswith("deepv2d"):
            continue  # another method than the one published
        asked["footage/right"] = Path("/shots/right_1001.png") if asked["footage/stereo"] == "two_files" else None
        asked["prior/path"] = "/models/a" if asked["prior/kind"] in ("transformers", "maps") else None
        asked["prior/allow_non_commercial"] = asked["masks/allow_non_commercial"]
        request = parse_request(json.loads(json.dumps(solve_request.make(CLIP, FOLDER, asked))), "the add-on")
        assert (request.footage.path, request.output) == (CLIP, FOLDER)
        assert {where: operator.attrgetter(where.replace("/", "."))(request) for where in asked} == asked


def test_both_know_the_same_cameras_as_solved() -> None:
    assert jobs.SOLVED == SOLVED
    assert set(SOLVED) < set(words("camera", "kind"))
    assert set(BY_DEEPV2D) < set(words("method"))


def test_numbers_and_what_is_not_said() -> None:
    def read(settings):
        return parse_request(json.loads(json.dumps(solve_request.make(CLIP, FOLDER, settings))), "the add-on")

    request = read(
        {
            "footage/first": 1002, "footage/last": 1040, "footage/step": 3, "lens/focal_px": 1500.5,
            "footage/stereo": "side_by_side", "footage/baseline": 0.065,
        }
    )  # fmt: skip
    footage = request.footage
    assert (footage.first, footage.last, footage.step, footage.baseline) == (1002, 1040, 3, 0.065)
    assert request.lens.focal_px == 1500.5
    sized = read(
        {
            "lens/pixel_aspect": 2.0, "lens/principal_px": (900.0, 550.0), "world/camera_height": 1.6,
            "world/distance": {"metres": 0.5, "a": [1001, 10.0, 20.0], "b": [1009, 30.0, 40.5]},
        }
    )  # fmt: skip
    assert (sized.lens.pixel_aspect, sized.lens.principal_px) == (2.0, (900.0, 550.0))
    assert sized.world == WorldRequest(1.6, KnownDistance(0.5, (1001, 10.0, 20.0), (1009, 30.0, 40.5)))
    given = read(
        {
            "lens/focal_mm": 35.0, "lens/camera": "Sony FX3", "camera/kind": "chan", "camera/path": "/shots/a.chan",
            "camera/metric": True, "camera/film_back_mm": (24.0, 18.0), "camera/rotation_order": "XYZ",
            "tracks": FOLDER / "tracks.json",
        }
    )  # fmt: skip
    assert given.camera == CameraRequest("chan", Path("/shots/a.chan"), (24.0, 18.0), "XYZ", True)
    assert (given.lens.focal_mm, given.lens.sensor_mm, given.lens.camera) == (35.0, None, "Sony FX3")
    assert given.tracks == FOLDER / "tracks.json"
    bare = {"schema": "cvd.request/1", "footage": {"path": str(CLIP)}, "output": str(FOLDER)}
    assert read({}) == parse_request(bare, "the command line")


def test_the_estimate_knows_what_the_presets_do() -> None:
    assert set(estimate.PRESETS) == set(PRESETS) == set(words("preset"))
    for name, ours in estimate.PRESETS.items():
        engines = PRESETS[name]
        steps = (engines.photometric_steps, engines.fit_steps, engines.pair_steps, engines.min_steps)
        assert (ours.photometric_steps, ours.fit_steps, ours.pair_steps, ours.min_steps) == steps
        sizes = (engines.long_side, engines.measured_side, engines.views)
        assert (ours.long_side, ours.measured_side, ours.views) == sizes
        assert ours.epochs == engines.published_epochs


def test_the_panel_has_a_name_for_every_stage() -> None:
    source = (Path(jobs.__file__).parent / "panels.py").read_text()
    table = re.search(r"^STAGES = \{\n(.*?)^\}", source, re.S | re.M)
    assert table
    names = table.group(1)
    assert re.findall(r'^    "(\w+)":', names, re.M) == list(STAGES)
