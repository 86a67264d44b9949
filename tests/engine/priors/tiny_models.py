"""Networks of every supported family with random weights, small enough to be made by a test."""

import json
import shutil
from typing import Any

import torch
import transformers as t

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
STEPS = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 0.00392156862745098}

# As published, at smaller sizes: Depth Anything V2, DPT-Large (an old file: one number), ZoeDepth, Depth Pro.
PREPROCESSORS: dict[str, dict[str, Any]] = {
    "depth_anything": STEPS
    | IMAGENET
    | {
        "size": {"height": 70, "width": 70},
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 14,
        "resample": 3,
        "do_pad": False,
        "size_divisor": None,
    },
    "dpt": {"do_resize": True, "do_normalize": True, "size": 32, "resample": 2} | HALVES,
    "zoedepth": STEPS
    | HALVES
    | {
        "size": {"height": 64, "width": 96},
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 32,
        "resample": 2,
        "do_pad": True,
    },
    "depth_pro": STEPS | HALVES | {"size": {"height": 32, "width": 32}, "resample": 2},
}


def _dino(**sizes):
    return t.Dinov2Config(hidden_size=16, num_attention_heads=2, mlp_ratio=2, **sizes)


def _depth_anything(**more):
    backbone = _dino(
        num_hidden_layers=4, image_size=28, patch_size=14, out_indices=[1, 2, 3, 4], reshape_hidden_states=False
    )
    return t.DepthAnythingForDepthEstimation(
        t.DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=16,
            neck_hidden_sizes=[4, 4, 8, 8],
            fusion_hidden_size=4,
            head_hidden_size=4,
            **more,
        )
    )


def _dpt():
    return t.DPTForDepthEstimation(
        t.DPTConfig(
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=32,
            patch_size=16,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[4, 4, 8, 8],
            fusion_hidden_size=4,
            is_hybrid=False,
        )
    )


def _zoedepth():
    backbone = t.BeitConfig(
        image_size=32,
        patch_size=16,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        use_relative_position_bias=True,
    )
    return t.ZoeDepthForDepthEstimation(
        t.ZoeDepthConfig(
            backbone_config=backbone,
            backbone_hidden_size=16,
            neck_hidden_sizes=[4, 4, 8, 8],
            fusion_hidden_size=4,
            bottleneck_features=4,
            num_relative_features=4,
            bin_embedding_dim=8,
            num_attractors=[4, 2, 2, 1],
            bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
        )
    )


def _depth_pro():
    part = {"num_hidden_layers": 2, "image_size": 16, "patch_size": 8}
    return t.DepthProForDepthEstimation(
        t.DepthProConfig(
            patch_size=16,
            fusion_hidden_size=8,
            intermediate_hook_ids=[1, 0],
            intermediate_feature_dims=[8, 8],
            scaled_images_ratios=[0.5, 1.0],
            scaled_images_overlap_ratios=[0.0, 0.25],
            scaled_images_feature_dims=[8, 8],
            merge_padding_value=1,
            use_fov_model=True,
            num_fov_head_layers=0,
            image_model_config=_dino(**part),
            patch_model_config=_dino(**part),
            fov_model_config=_dino(**part),
        )
    )


MAKERS = {"depth_anything": _depth_anything, "dpt": _dpt, "zoedepth": _zoedepth, "depth_pro": _depth_pro}


def save(folder, kind, licence=None, **more):
    """Save a network of `kind` into `folder`, as its publisher would; `licence` goes into a model card."""
    torch.manual_seed(0)
    model = MAKERS[kind](**more)
    with torch.no_grad():  # as initialised, the predictions would be almost constant
        for values in model.parameters():
            values.normal_(0.0, 0.3)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSORS[kind]))
    if licence is not None:
        (folder / "README.md").write_text(f"---\nlanguage: en\nlicense: {licence}\n---\n# A model\n")
    return folder


def put_into_cache(cache, repository, folder):
    """Move a saved model into a Hugging Face cache, laid out as their client does: snapshots of links to blobs."""
    home = cache / f"models--{repository.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    for path in list(folder.iterdir()):
        shutil.move(path, home / "blobs" / path.name)
        (snapshot / path.name).symlink_to(home / "blobs" / path.name)
    return snapshot
