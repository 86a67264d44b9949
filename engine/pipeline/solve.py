"""What a solve is made from, and what its finished stages have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine import footage
from engine.cameras.knowledge import LensKnowledge, what_is_known
from engine.clip.depth_map import DepthFrames, Unit
from engine.clip.track import CameraTrack
from engine.clip.work import WorkClip, work_images
from engine.depth.hints import Hint, read_hints
from engine.depth.scale import read_scale, units_per_prior
from engine.depth.settings import DepthSettings, settings_of
from engine.depth.stereo import StereoRig, estimate_rig
from engine.footage import Footage
from engine.masks.given import content_of
from engine.pipeline.cameras import identity
from engine.priors import Source, choose_prior
from engine.request import BY_DEEPV2D, Request
from engine.workspace import Stage, Workspace


@dataclass(frozen=True)
class Inputs:
    """What a solve is made from, all of it known before its first stage.

    Attributes:
        request: what is asked.
        clip: the footage, as it was found.
        settings: what the dense stages do.
        prior: where a first guess of depth comes from; None = nowhere.
        masks: what the given masks are, for cache keys.
        known: what is known of the lens.
        camera: what the cameras depend on besides the pictures, for cache keys.
        hints: what the artist knows of depth.
    """

    request: Request
    clip: Footage
    settings: DepthSettings
    prior: Source | None
    masks: Mapping[str, str | None]
    known: LensKnowledge
    camera: Mapping[str, Any]
    hints: Sequence[Hint] = ()

    @classmethod
    def find(cls, request: Request, settings: DepthSettings | None = None) -> Inputs:
        """Look at all that a request names.

        Args:
            request: what to solve.
            settings: what the dense stages do; None = what the request comes to.

        Raises:
            CvdError: something cannot be found, read or used.
        """
        wanted = request.footage
        clip = footage.probe(
            wanted.path, wanted.first, wanted.last, wanted.step, wanted.colourspace, wanted.stereo, wanted.right
        )
        prior = choose_prior(request.prior)
        masks = content_of(request.masks, clip)
        known = what_is_known(request.lens, clip)
        hints = read_hints(request.hints, clip.numbers, clip.width, clip.height)
        settings = settings or settings_of(request)
        return cls(request, clip, settings, prior, masks, known, identity(request, known), hints)


@dataclass(frozen=True)
class Solve:
    """A solve at work. What its stages have found is read from their folders when it is first asked for.

    Attributes:
        inputs: what it is made from.
        stages: those that it needs, by name, in order.
        workspace: the solve folder.
        device: where it computes.
    """

    inputs: Inputs
    stages: Mapping[str, Stage]
    workspace: Workspace
    device: torch.device

    def folder(self, name: str) -> Path:
        """Of a stage that this solve needs."""
        return self.stages[name].folder

    @property
    def proxies(self) -> Path:
        """Pictures of every frame, of one size."""
        return self.folder("footage") / "proxy"

    @property
    def masks(self) -> Path:
        """What the artist or a network has masked; frames may be absent."""
        return self.folder("masks")

    @cached_property
    def solved_track(self) -> CameraTrack:
        """The cameras as the stage `poses` has left them."""
        return CameraTrack.load(self.folder("poses"))

    @cached_property
    def unscaled_clip(self) -> WorkClip:
        """The frames on the work grid, with the cameras of `solved_track`."""
        return WorkClip.load(self.proxies, self.solved_track, self.inputs.settings.long_side, self.workspace)

    @property
    def prior(self) -> DepthFrames | None:
        """The prior's depth, on the half grid; None where none is asked for."""
        if self.inputs.prior is None:
            return None
        unit: Unit = "metres" if self.inputs.prior.metric else "solved"
        return DepthFrames(self.folder("prior"), self.unscaled_clip.half_lens, unit)

    @cached_property
    def right_images(self) -> NDArray[np.uint8] | None:
        """The right eye's pictures on the work grid (N, H, W, 3); None of a clip with one eye."""
        if not self.inputs.clip.right:
            return None
        lens = self.unscaled_clip.lens
        proxies = self.folder("footage") / "proxy_right"
        return work_images(proxies, self.solved_track, lens.width, lens.height, self.workspace)

    @cached_property
    def unscaled_rig(self) -> StereoRig | None:
        """How the two eyes stand, in the unit of `solved_track`; None of a clip with one eye."""
        return None if self.right_images is None else estimate_rig(self.unscaled_clip, self.right_images)

    @property
    def metres_per_unit(self) -> float | None:
        """Of `solved_track`, where something else than the prior tells it; 1 for cameras whose unit is to stay."""
        if self.solved_track.scale != "free":
            return 1.0
        baseline, rig = self.inputs.request.footage.baseline, self.unscaled_rig
        return rig.metres_per_unit(baseline) if rig is not None and baseline is not None else None

    @property
    def scale(self) -> float:
        """Which the stage `scale` has found."""
        return read_scale(self.folder("scale"))

    @cached_property
    def track(self) -> CameraTrack:
        """The cameras, scaled."""
        return self.solved_track.scaled(self.scale)

    @cached_property
    def clip(self) -> WorkClip:
        """The frames on the work grid, scaled."""
        return self.unscaled_clip.scaled(self.scale)

    @cached_property
    def fine_clip(self) -> WorkClip | None:
        """The frames, scaled, on the grid that depth is measured on; None where the plane sweep measures nothing."""
        by_sweep = "evidence" in self.stages and self.inputs.request.method not in BY_DEEPV2D
        if not by_sweep or not self.track.measurable:
            return None
        return WorkClip.load(self.proxies, self.track, self.inputs.settings.measured_side, self.workspace)

    @property
    def evidence(self) -> DepthFrames | None:
        """What was measured; None where nothing is."""
        if "evidence" not in self.stages:
            return None
        lens = self.clip.half_lens if self.fine_clip is None else self.fine_clip.lens
        return DepthFrames(self.folder("evidence"), lens, "clip")

    @property
    def depth_clip(self) -> WorkClip:
        """The frames, scaled, on the grid that depth comes out at."""
        return self.fine_clip or self.clip

    @property
    def depth_without_hints(self) -> DepthFrames:
        """What the stage `depth` has made, on the grid of `depth_clip`."""
        return DepthFrames(self.folder("depth"), self.depth_clip.lens, "clip")

    @property
    def depth(self) -> DepthFrames:
        """The same with the artist's hints, if there are any."""
        folder = self.folder("hints" if "hints" in self.stages else "depth")
        return DepthFrames(folder, self.depth_clip.lens, "clip")

    @property
    def rig(self) -> StereoRig | None:
        """How the two eyes stand, scaled."""
        rig = self.unscaled_rig
        return None if rig is None else replace(rig, baseline=rig.baseline * self.scale)

    @property
    def units_per_prior(self) -> float:
        """What the prior's depth is multiplied by to be in the unit of `track`."""
        prior = self.inputs.prior
        if prior is None:
            return 1.0
        if prior.metric:
            return 1.0 if self.track.scale == "free" else units_per_prior(self.folder("scale"))
        # A known baseline goes before the prior; one that is not in metres itself follows the cameras.
        return 1.0 if self.metres_per_unit is None else self.scale

    @property
    def metric(self) -> bool:
        """The unit of `track` is a metre."""
        if self.track.scale != "free":
            return self.track.scale == "metric"
        return self.metres_per_unit is not None or (self.inputs.prior is not None and self.inputs.prior.metric)
