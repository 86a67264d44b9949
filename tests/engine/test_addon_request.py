"""What the add-on asks for is what the engine reads: the contract between the two, in every combination."""

import itertools
import json
import re
from pathlib import Path

from cvd_blender_addon import estimate, jobs
from engine.depth.settings import PRESETS
from engine.request import BY_DEEPV2D, SOLVED, STAGES, CameraRequest, KnownDistance, WorldRequest, parse_request, schema

CLIP, FOLDER = Path("/shots/plate_1001.png"), Path("/shots/plate.solve")


def words(*where):
    entry = schema("request-1")["properties"]
    for name in where[:-1]:
        entry = entry[name]["properties"]
    return entry[where[-1]]["enum"]


def paths_for(stereo, prior):
    right = Path("/shots/right_1001.png") if stereo == "two_files" else None
    return {"right": right, "prior_path": "/models/a" if prior in ("transformers", "maps") else None}


def test_every_combination_is_read_as_it_was_meant():
    choices = {
        "stereo": words("footage", "stereo"),
        "prior": words("prior", "kind"),
        "maps": words("prior", "maps"),
        "method": words("method"),
        "preset": words("preset"),
        "masks": [None, Path("/shots/plate.solve/masks")],
        "segmentation": [None, "owner/model"],
        "motion": [True, False],
        "allow_non_commercial": [True, False],
    }
    for values in itertools.product(*choices.values()):
        asked = dict(zip(choices, values, strict=True))
        if asked["preset"] == "cvd-2020" and asked["method"].startswith("deepv2d"):
            continue  # another method than the one published
        asked |= paths_for(asked["stereo"], asked["prior"])
        request = parse_request(json.loads(json.dumps(jobs.make_request(CLIP, FOLDER, **asked))), "the add-on")
        assert (request.footage.path, request.output) == (CLIP, FOLDER)
        read = {
            "stereo": request.footage.stereo,
            "right": request.footage.right,
            "prior": request.prior.kind,
            "prior_path": request.prior.path,
            "maps": request.prior.maps,
            "allow_non_commercial": request.prior.allow_non_commercial,
            "method": request.method,
            "preset": request.preset,
            "masks": request.masks.path,
            "segmentation": request.masks.segmentation,
            "motion": request.masks.motion,
        }
        assert read == asked


def test_both_know_the_same_cameras_as_solved():
    assert jobs.SOLVED == SOLVED
    assert set(SOLVED) < set(words("camera", "kind"))
    assert set(BY_DEEPV2D) < set(words("method"))


def test_numbers_and_what_is_not_said():
    request = parse_request(
        jobs.make_request(
            CLIP, FOLDER, first=1002, last=1040, step=3, focal_px=1500.5, stereo="side_by_side", baseline=0.065
        ),
        "the add-on",
    )
    footage = request.footage
    assert (footage.first, footage.last, footage.step, footage.baseline) == (1002, 1040, 3, 0.065)
    assert request.lens.focal_px == 1500.5
    sized = parse_request(
        json.loads(
            json.dumps(
                jobs.make_request(
                    CLIP, FOLDER, pixel_aspect=2.0, principal_px=(900.0, 550.0), camera_height=1.6,
                    distance={"metres": 0.5, "a": [1001, 10.0, 20.0], "b": [1009, 30.0, 40.5]},
                )
            )
        ),
        "the add-on",
    )  # fmt: skip
    assert (sized.lens.pixel_aspect, sized.lens.principal_px) == (2.0, (900.0, 550.0))
    assert sized.world == WorldRequest(1.6, KnownDistance(0.5, (1001, 10.0, 20.0), (1009, 30.0, 40.5)))
    given = parse_request(
        jobs.make_request(
            CLIP, FOLDER, focal_mm=35.0, body="Sony FX3", camera="chan", camera_path=Path("/shots/a.chan"),
            camera_metric=True, film_back_mm=(24.0, 18.0), rotation_order="XYZ", tracks=FOLDER / "tracks.json",
        ),
        "the add-on",
    )  # fmt: skip
    assert given.camera == CameraRequest("chan", Path("/shots/a.chan"), (24.0, 18.0), "XYZ", True)
    assert (given.lens.focal_mm, given.lens.sensor_mm, given.lens.camera) == (35.0, None, "Sony FX3")
    assert given.tracks == FOLDER / "tracks.json"
    plain = parse_request(jobs.make_request(CLIP, FOLDER), "the add-on")
    bare = parse_request(
        {"schema": "cvd.request/1", "footage": {"path": str(CLIP)}, "output": str(FOLDER)}, "the command line"
    )
    assert plain == bare


def test_the_estimate_knows_what_the_presets_do():
    assert set(estimate.PRESETS) == set(PRESETS) == set(words("preset"))
    for name, ours in estimate.PRESETS.items():
        engines = PRESETS[name]
        steps = (engines.photometric_steps, engines.fit_steps, engines.pair_steps, engines.min_steps)
        assert (ours.photometric_steps, ours.fit_steps, ours.pair_steps, ours.min_steps) == steps
        assert (ours.long_side, ours.planes_views) == (engines.long_side, engines.planes * engines.views)
        assert ours.epochs == engines.published_epochs


def test_the_panel_has_a_name_for_every_stage():
    source = (Path(jobs.__file__).parent / "panels.py").read_text()
    names = re.search(r"^STAGES = \{\n(.*?)^\}", source, re.S | re.M).group(1)
    assert re.findall(r'^    "(\w+)":', names, re.M) == list(STAGES)
