"""Networks of transformers: loaded from a folder or the user's cache, fed and read as their publishers do it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import transformers

from engine.errors import PriorError
from engine.networks import pretrained as models
from engine.networks.licences import is_non_commercial, licence_of
from engine.priors import Source, choose_prior, huggingface, pictures, solve_prior
from engine.progress import Silent
from engine.request import PriorRequest
from tests.engine.depth.scene import plane_clip
from tests.engine.priors.tiny_models import MAKERS, PREPROCESSORS, put_into_cache, save

CPU = torch.device("cpu")
NOISE = np.random.default_rng(3).integers(0, 256, (96, 160, 3), np.uint8)
PICTURE = cv2.GaussianBlur(NOISE, (0, 0), 3)


def load_prior(folder, number):
    return np.load(folder / "depth" / f"{number:06d}.npy", allow_pickle=False)


def of(path, **more):
    return PriorRequest(kind="transformers", path=str(path), **more)


def prior(request: PriorRequest) -> Source:
    """The prior that is chosen; there is one."""
    source = choose_prior(request)
    assert source is not None
    return source


def code_of(request):
    with pytest.raises(PriorError) as failure:
        choose_prior(request)
    return failure.value.code


def tensor(picture):
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("kind", MAKERS)
def test_every_family_gives_positive_depth_of_the_right_size(tmp_path: Path, kind) -> None:
    clip, _ = plane_clip(2)
    source = prior(of(save(tmp_path / kind, kind, "mit")))
    solve_prior_of_any_sign(clip, source, tmp_path / "out")
    depth = load_prior(tmp_path / "out", 101)
    assert depth.shape == (48, 64)
    assert depth.dtype == np.float32
    assert (depth > 0).all()
    assert depth.std() > 0
    document = json.loads((tmp_path / "out" / "prior.json").read_text())
    assert document == {"name": kind, "licence": "mit", "metric": kind in ("zoedepth", "depth_pro")}


def solve_prior_of_any_sign(clip, source, folder):
    """Random weights may put the near far away: then the clip is one in which that is so."""
    try:
        solve_prior(clip, clip.lens, source, folder, CPU, Silent())
    except PriorError as error:
        assert error.code == "prior.inverted"
        for _, depth in clip.sparse:
            depth[:] = 10.0 - depth
        solve_prior(clip, clip.lens, source, folder, CPU, Silent())


def test_a_metric_depth_anything_stays_in_metres(tmp_path: Path) -> None:
    clip, _ = plane_clip(2)
    folder = save(tmp_path / "metric", "depth_anything", "mit", depth_estimation_type="metric", max_depth=20)
    source = prior(of(folder))
    assert source.metric
    solve_prior(clip, clip.lens, source, tmp_path / "out", CPU, Silent())
    model = transformers.AutoModelForDepthEstimation.from_pretrained(folder)
    values = reference_values("depth_anything", clip.images[0])
    with torch.no_grad():
        raw = model(pixel_values=values).predicted_depth[None]
    expected = torch.nn.functional.interpolate(raw, (48, 64), mode="bilinear", antialias=True)[0, 0].numpy()
    assert expected.std() > 0.05 * expected.mean()
    # The reference rounds its input to 8 bits, which random weights amplify.
    assert np.abs(load_prior(tmp_path / "out", 101) / expected - 1).mean() < 0.005


def reference_values(kind, picture):
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
    from transformers.models.zoedepth.image_processing_pil_zoedepth import ZoeDepthImageProcessorPil

    settings = {k: v for k, v in PREPROCESSORS[kind].items() if v is not None}
    if isinstance(settings["size"], int):
        settings["size"] = {"height": settings["size"], "width": settings["size"]}
    processor = (ZoeDepthImageProcessorPil if kind == "zoedepth" else DPTImageProcessorPil)(**settings)
    return processor(images=picture, return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("kind", ["depth_anything", "dpt", "zoedepth"])
@pytest.mark.parametrize("size", [(96, 160), (160, 96), (48, 64), (224, 384)])
def test_pictures_are_prepared_as_transformers_does(kind, size) -> None:
    picture = cv2.resize(PICTURE, size[::-1], interpolation=cv2.INTER_AREA)
    asked = pictures.Preprocessing.of(PREPROCESSORS[kind])
    mine, theirs = huggingface.FAMILIES[kind].prepare(tensor(picture), asked), reference_values(kind, picture)
    assert mine.shape == theirs.shape
    one_step = 1 / 255 / min(asked.std)  # PIL rounds to 8 bits after each of the two axes
    assert (mine - theirs).abs().max() < (1e-4 if kind == "zoedepth" else 1.5 * one_step)


def test_depth_pro_sees_the_whole_picture_as_a_square() -> None:
    ramp = np.repeat(np.linspace(0, 252, 64).astype(np.uint8)[None, :, None], 16, 0).repeat(3, 2)
    values = pictures.normalised_then_resized(
        tensor(ramp), pictures.Preprocessing.of(PREPROCESSORS["depth_pro"] | {"size": {"height": 32, "width": 128}})
    )
    assert values.shape == (1, 3, 32, 128)
    # The centre of column k of 128 lies at k/2 - 0.25 in columns of 64, which are 4 grey levels apart.
    columns = (torch.arange(1, 127) / 2 - 0.25) * 4
    assert torch.allclose(values[0, 0, 7, 1:-1], columns / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize("back", [pictures.plainly_back, pictures.unpadded_back])
def test_predictions_come_back_to_the_pixels_they_belong_to(back) -> None:
    """A network that predicts the horizontal position of what it sees, in work pixels."""
    work, half = (96, 160), (48, 80)
    asked = pictures.Preprocessing.of(PREPROCESSORS["zoedepth"])
    x = torch.arange(160.0) + 0.5
    picture = x.expand(1, 3, 96, 160)
    if back is pictures.unpadded_back:
        pad = int(np.sqrt(160 / 2) * 3)
        extended = torch.arange(-pad, 160.0 + pad) + 0.5
        seen = torch.nn.functional.interpolate(
            extended.expand(1, 1, 120, -1), (64, 96), mode="bilinear", align_corners=True
        )
    else:
        seen = torch.nn.functional.interpolate(picture[:, :1], (70, 112), mode="bilinear", antialias=True)
    there = back(seen, asked, work, half)[0, 0]
    assert there.shape == half
    assert torch.allclose(there[:, 3:-3], (torch.arange(80.0) * 2 + 1.0).expand(48, 80)[:, 3:-3], atol=0.1)


def test_depth_pro_uses_the_solved_focal_length() -> None:
    clip, _ = plane_clip(2)
    inverse = torch.tensor([0.5, 0.0, 1e9])
    metres = huggingface.depth_from_canonical(inverse, clip.lens)
    assert metres[0] == pytest.approx(clip.lens.fx / clip.lens.width / 0.5)
    assert metres[1:].tolist() == pytest.approx([1e4, 1e-4])


def test_depth_pro_does_not_load_its_own_guess_of_the_focal_length(tmp_path: Path) -> None:
    folder = save(tmp_path / "pro", "depth_pro", "mit")
    loaded = models.load_model("AutoModelForDepthEstimation", folder, CPU, huggingface._failure, use_fov_model=False)
    assert loaded.fov_model is None
    assert json.loads((folder / "config.json").read_text())["use_fov_model"]


def test_a_model_of_the_cache_is_found_by_its_name(tmp_path: Path, cache) -> None:
    name = "depth-anything/Depth-Anything-V2-Small-hf"
    snapshot = put_into_cache(cache, name, save(tmp_path / "m", "depth_anything"))
    source = prior(of(name))
    assert (source.name, source.licence, source.output) == (name, "Apache-2.0", "disparity")
    assert huggingface.ready_models() == [name]
    assert prior(of(snapshot)).identity == source.identity
    clip, _ = plane_clip(2)
    solve_prior_of_any_sign(clip, source, tmp_path / "out")
    assert (load_prior(tmp_path / "out", 102) > 0).all()


def test_other_weights_are_another_identity(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "dpt", "mit")
    before = prior(of(folder)).identity
    assert prior(of(folder)).identity == before
    state = transformers.AutoModelForDepthEstimation.from_pretrained(folder)
    with torch.no_grad():
        next(state.parameters()).add_(1e-3)
    state.save_pretrained(folder)
    assert prior(of(folder)).identity != before


def test_a_name_that_is_nowhere(cache) -> None:
    assert code_of(of("nobody/nothing")) == "prior.not_found"
    assert code_of(of("/not/a/folder/at all")) == "prior.not_found"


def test_pickles_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "dpt", "mit")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert code_of(of(folder)) == "prior.pickle"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_model_that_is_not_complete(tmp_path: Path, name) -> None:
    folder = save(tmp_path / "m", "dpt", "mit")
    (folder / name).unlink()
    assert code_of(of(folder)) == "prior.incomplete"


def test_a_half_downloaded_model_is_not_ready(tmp_path: Path, cache) -> None:
    name = "Intel/dpt-large"
    snapshot = put_into_cache(cache, name, save(tmp_path / "m", "dpt"))
    assert huggingface.is_ready(name)
    (snapshot / "model.safetensors").resolve().unlink()  # a link that leads nowhere
    assert not huggingface.is_ready(name)
    assert code_of(of(name)) == "prior.incomplete"


def test_missing_weights_are_not_replaced_by_random_ones(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save(tmp_path / "m", "dpt", "mit")
    weights = load_file(folder / "model.safetensors")
    del weights["head.head.0.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    clip, _ = plane_clip(2)
    with pytest.raises(PriorError, match=r"head\.head\.0\.weight") as failure:
        prior(of(folder)).open(clip, clip.lens, CPU)
    assert failure.value.code == "prior.damaged"


def test_weights_that_a_publisher_leaves_out_since_they_do_nothing(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save(tmp_path / "m", "dpt", "mit")
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "fusion_stage.layers.0.residual_layer1" not in key}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    clip, _ = plane_clip(2)
    first = prior(of(folder)).open(clip, clip.lens, CPU)(0)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert (prior(of(folder)).open(clip, clip.lens, CPU)(0) == first).all()


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("text", ["{", "[]", "3", "[" * 100_000, '{"a": NaN}', '{"a": ' + "[" * 300 + "]" * 300 + "}"])
def test_damaged_settings(tmp_path: Path, name, text) -> None:
    folder = save(tmp_path / "m", "dpt", "mit")
    (folder / name).write_text(text)
    assert code_of(of(folder)) == "prior.damaged"


@pytest.mark.parametrize(
    "text", ["[]", "{", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../b"}}']
)
def test_an_index_that_names_no_files(tmp_path: Path, text) -> None:
    folder = save(tmp_path / "m", "dpt", "mit")
    (folder / "model.safetensors.index.json").write_text(text)
    assert code_of(of(folder)) == "prior.incomplete"


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "many"},
        {"hidden_size": -4},
        {"backbone_config": "resnet50"},
        {"backbone_config": [1]},
        {"neck_hidden_sizes": None},
    ],
)
def test_a_configuration_that_no_network_can_have(tmp_path: Path, change) -> None:
    folder = save(tmp_path / "m", "dpt", "mit")
    document = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(document))
    clip, _ = plane_clip(2)
    with pytest.raises(PriorError) as failure:
        prior(of(folder)).open(clip, clip.lens, CPU)
    assert failure.value.code == "prior.damaged"


def test_damaged_weights(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "dpt", "mit")
    (folder / "model.safetensors").write_bytes(b"not at all" * 10)
    clip, _ = plane_clip(2)
    with pytest.raises(PriorError) as failure:
        prior(of(folder)).open(clip, clip.lens, CPU)
    assert failure.value.code == "prior.damaged"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"model_type": "bert"}),
        ("config.json", {"backbone_config": {"model_type": "dinov2"}}),
        ("preprocessor_config.json", {"do_normalize": False}),
        ("preprocessor_config.json", {"size": {"shortest_edge": 384}}),
        ("preprocessor_config.json", {"size": {"height": -1, "width": 384}}),
        ("preprocessor_config.json", {"size": {"height": "384", "width": 10**9}}),
        ("preprocessor_config.json", {"ensure_multiple_of": "many"}),
        ("preprocessor_config.json", {"resample": [3]}),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5]}),
        ("preprocessor_config.json", {"image_std": "half"}),
        ("preprocessor_config.json", {"rescale_factor": {}}),
    ],
)
def test_what_the_engine_cannot_read_is_refused_before_any_work(tmp_path: Path, file, change) -> None:
    folder = save(tmp_path / "m", "dpt", "mit")
    document = json.loads((folder / file).read_text()) | change
    (folder / file).write_text(json.dumps(document))
    assert code_of(of(folder)) == "prior.unsupported"


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path / "m", "dpt", "mit")
    monkeypatch.setattr(models, "is_installed", lambda: False)
    assert code_of(of(folder)) == "prior.no_transformers"
    assert not huggingface.is_ready(huggingface.DEFAULT)


@pytest.mark.parametrize(
    ("licence", "allowed"), [("apache-2.0", True), ("cc-by-nc-4.0", False), ("apple-amlr", False), (None, False)]
)
def test_non_commercial_weights_need_the_switch(tmp_path: Path, licence, allowed) -> None:
    folder = save(tmp_path / "m", "dpt", licence)
    if allowed:
        assert prior(of(folder)).licence == licence
        return
    with pytest.raises(PriorError, match=licence or "unknown") as failure:
        choose_prior(of(folder))
    assert failure.value.code == "prior.non_commercial"
    source = prior(of(folder, allow_non_commercial=True))
    assert source.non_commercial
    assert source.licence == (licence or "unknown")


@pytest.mark.parametrize(
    ("repository", "config", "licence"),
    [
        ("depth-anything/Depth-Anything-V2-Large-hf", {}, "CC-BY-NC-4.0"),
        ("apple/DepthPro-hf", {}, "apple-amlr"),
        ("Intel/zoedepth-nyu-kitti", {}, "MIT"),
        (None, {"_name_or_path": "Intel/dpt-large"}, "Apache-2.0"),
        (None, {"model_type": "depth_anything", "reassemble_hidden_size": 384}, "Apache-2.0"),
        (None, {"model_type": "depth_anything", "reassemble_hidden_size": 1024}, "CC-BY-NC-4.0"),
        (None, {"model_type": "depth_pro"}, "apple-amlr"),
        (None, {"model_type": "dpt"}, "unknown"),
    ],
)
def test_licences_without_a_model_card(tmp_path: Path, repository, config, licence) -> None:
    assert licence_of(tmp_path, repository, config) == licence
    assert is_non_commercial(licence) == (licence not in ("Apache-2.0", "MIT"))


def test_the_model_card_decides(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text('---\ntags: [a]\nlicense: "other"\nlicense_name: my-own\n---\nlicense: mit\n')
    assert licence_of(tmp_path, "Intel/dpt-large", {}) == "my-own"
    (tmp_path / "README.md").write_text("# No front matter\nlicense: mit\n")
    assert licence_of(tmp_path, "Intel/dpt-large", {}) == "Apache-2.0"
