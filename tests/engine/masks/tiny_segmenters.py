"""Segmentation networks of every kind with random weights, small enough to be made by a test."""

import json
from typing import Any

import torch
import transformers as t

LABELS = {0: "wall", 1: "person", 2: "floor"}
STEPS: dict[str, Any] = {
    "do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255, "resample": 2,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {
    "segformer": {"size": {"height": 64, "width": 64}},
    "mask2former": {"size": {"shortest_edge": 48, "longest_edge": 96}, "size_divisor": 32},
    "maskformer": {"size": 48, "max_size": 96, "size_divisibility": 32},
    "detr": {"size": {"shortest_edge": 48, "longest_edge": 96}},
    "rf_detr": {"size": {"height": 56, "width": 56}},
}
_STAGES = ["stage1", "stage2", "stage3", "stage4"]


def _swin():
    return t.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2, image_size=64, out_features=_STAGES
    )


def _detr(width, **more):
    return t.DetrConfig(
        d_model=width,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        num_queries=4,
        **more,
    )


def _segformer():
    sizes = {"hidden_sizes": [4, 8, 8, 8], "depths": [1] * 4, "num_attention_heads": [1] * 4, "decoder_hidden_size": 8}
    return t.SegformerForSemanticSegmentation(t.SegformerConfig(**sizes, id2label=LABELS))


def _mask2former():
    config = t.Mask2FormerConfig(
        backbone_config=_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=8,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=8,
        num_queries=4,
        id2label=LABELS,
    )
    return t.Mask2FormerForUniversalSegmentation(config)


def _maskformer():
    config = t.MaskFormerConfig(
        backbone_config=_swin(),
        decoder_config=_detr(32),
        fpn_feature_size=32,
        mask_feature_size=32,
        id2label=LABELS,
    )
    return t.MaskFormerForInstanceSegmentation(config)


def _detr_panoptic():
    backbone = t.ResNetConfig(embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, out_features=_STAGES)
    config = _detr(
        64, backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False, id2label=LABELS
    )
    return t.DetrForSegmentation(config)


def _rf_detr():
    backbone = {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "image_size": 56,
        "patch_size": 14,
        "num_windows": 2,
        "out_features": _STAGES,
        "window_block_indexes": [0, 1, 2],
    }
    config = t.RfDetrConfig(
        backbone_config=backbone,
        d_model=32,
        decoder_layers=1,
        decoder_ffn_dim=16,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        decoder_n_points=2,
        num_queries=4,
        group_detr=1,
        intermediate_size=32,
        c2f_num_blocks=1,
        id2label=LABELS,
    )
    return t.RfDetrForInstanceSegmentation(config)


MAKERS = {
    "segformer": _segformer,
    "mask2former": _mask2former,
    "maskformer": _maskformer,
    "detr": _detr_panoptic,
    "rf_detr": _rf_detr,
}


def save(kind, folder, **settings):
    """A model folder as `hf download` makes it; returns the network."""
    torch.manual_seed(0)
    model = MAKERS[kind]().eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(STEPS | SIZES[kind] | settings))
    return model
