"""How much work the dense stages do: one dataclass, three presets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DepthSettings:
    """Settings of flow, prior and depth.

    Attributes:
        long_side: of the work grid in pixels: sweep, flow and the final depth. The network works at half of it.
        planes: inverse-depth planes of the sweep.
        views: source views of each frame in the sweep.
        fit_steps: training steps on the prior alone, before the pair losses join.
        cvd_steps: training steps with the pair losses.
        pairs_per_step: frame pairs in a batch (CVD trains with four).
    """

    long_side: int
    planes: int
    views: int
    fit_steps: int
    cvd_steps: int
    pairs_per_step: int = 4


PRESETS = {
    "preview": DepthSettings(long_side=224, planes=48, views=4, fit_steps=80, cvd_steps=40),
    "standard": DepthSettings(long_side=320, planes=64, views=6, fit_steps=150, cvd_steps=120),
    "best": DepthSettings(long_side=512, planes=96, views=12, fit_steps=400, cvd_steps=600),
}
