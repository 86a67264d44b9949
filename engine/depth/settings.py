"""How much work the dense stages do: one dataclass, three presets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DepthSettings:
    """Settings of flow, prior and depth.

    Attributes:
        long_side: work size in pixels. Depth comes out at this size; sweep, flow and network live at half of it.
        planes: inverse-depth planes of the sweep.
        views: neighbours a frame is swept against.
        fit_steps: training steps on the sweep's evidence alone, per frame.
        cvd_steps: training steps with the pair losses, per frame.
        min_steps: lower limit of fit and cvd steps each, for short clips.
        batch_pairs: pairs of frames per step.
    """

    long_side: int
    planes: int
    views: int
    fit_steps: float
    cvd_steps: float
    min_steps: int
    batch_pairs: int


PRESETS = {
    "preview": DepthSettings(
        long_side=256, planes=48, views=4, fit_steps=0.6, cvd_steps=0.4, min_steps=30, batch_pairs=4
    ),
    "standard": DepthSettings(
        long_side=384, planes=64, views=8, fit_steps=1.0, cvd_steps=1.0, min_steps=50, batch_pairs=4
    ),
    "best": DepthSettings(
        long_side=512, planes=96, views=12, fit_steps=3.0, cvd_steps=3.0, min_steps=150, batch_pairs=4
    ),
}
