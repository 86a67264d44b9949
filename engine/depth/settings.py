"""How much work the dense stages do, and which: one dataclass, four presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.request import Request

PAIRS_PER_FRAME = 2.7  # that flow is kept of, in most clips


@dataclass(frozen=True)
class DepthSettings:
    """Settings of flow, evidence and depth.

    Steps are optimiser steps for each frame of the clip.

    Attributes:
        long_side: work size in pixels: flow and network live at half of it.
        measured_side: size in pixels that depth is measured and comes out at; without measuring it comes out at the
            work size.
        views: neighbours that each plane of a frame's sweep is compared with.
        photometric_steps: of the photometric phase, which method `selfsup` and a solve without a prior begin with.
        fit_steps: on the evidence alone.
        pair_steps: with the losses over pairs of frames.
        min_steps: lower limit of each phase that is there at all, for short clips.
        batch_pairs: pairs of frames per step of the published recipe.
        pretrained: the network starts with the weights that ship with the engine, not with random ones.
        measured: what the plane sweep found goes into the network and into the result.
        published_epochs: passes over all pairs as CVD was published: its losses unbounded and alone, one learning rate,
            the picture as only input. 0 = not that way.
        consecutive: only pairs of neighbours. To measure what the long ones are good for.
    """

    long_side: int
    measured_side: int
    views: int
    photometric_steps: float
    fit_steps: float
    pair_steps: float
    min_steps: int
    batch_pairs: int = 4
    pretrained: bool = True
    measured: bool = True
    published_epochs: int = 0
    consecutive: bool = False

    @property
    def steps_per_frame(self) -> float:
        """Of all phases, about."""
        if self.published_epochs:
            return self.published_epochs * PAIRS_PER_FRAME / self.batch_pairs
        return self.photometric_steps + self.fit_steps + self.pair_steps


PRESETS = {
    "preview": DepthSettings(256, 512, 4, photometric_steps=2.0, fit_steps=0.2, pair_steps=0.3, min_steps=10),
    "standard": DepthSettings(384, 768, 6, photometric_steps=4.0, fit_steps=0.3, pair_steps=0.5, min_steps=20),
    "best": DepthSettings(512, 1280, 8, photometric_steps=8.0, fit_steps=2.0, pair_steps=3.0, min_steps=120),
    "cvd-2020": DepthSettings(384, 0, 0, 0.0, 0.0, 0.0, min_steps=0, measured=False, published_epochs=20),
}


def settings_of(request: Request) -> DepthSettings:
    """What a request's preset, method and prior come to."""
    settings = PRESETS[request.preset]
    if settings.published_epochs:
        return settings
    if request.prior.kind == "none":
        settings = replace(settings, pretrained=False, fit_steps=settings.fit_steps + 0.3)
    elif request.method != "selfsup":
        settings = replace(settings, photometric_steps=0.0)
        if request.method == "cvd":
            # Trained weights see what the plane sweep measured: training on the clip moves no figure any further.
            settings = replace(settings, fit_steps=0.0, pair_steps=0.0)
    if request.method == "selfsup":
        settings = replace(settings, measured=False, fit_steps=0.0)
    return settings
