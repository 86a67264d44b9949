"""Pictures into depth networks and predictions out of them, as `transformers` does it but without torchvision and PIL.

Resizing runs in torch: with `antialias` its kernels are those of PIL, which the networks' own processors use. Pixel
conventions: without aligned corners the picture spans [0, W] (centre of the first pixel 0.5) in every size; ZoeDepth's
processor alone aligns the centres of the corner pixels, so its prediction is brought back in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from engine.networks.pretrained import factors, whole

Size = tuple[int, int]  # (height, width)
_MODES = {2: "bilinear", 3: "bicubic"}  # PIL's numbers, which the processors' files use


@dataclass(frozen=True)
class Preprocessing:
    """What a `preprocessor_config.json` asks for.

    Attributes:
        size: (height, width) to resize to.
        keep_aspect: one factor for both axes, the one that changes the size less.
        multiple: both sides of the result are multiples of it.
        mode: of interpolation.
        rescale: factor on 8-bit values.
        mean: per channel, after rescaling.
        std: per channel.
        pad: ZoeDepth: mirror the borders, so that the prediction has none.
    """

    size: Size
    keep_aspect: bool
    multiple: int
    mode: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pad: bool

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Preprocessing:
        """Read a processor's settings.

        Raises:
            ValueError: it asks for something that no known depth network does.
        """
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not settings.get(step, True):
                raise ValueError(f"{step} is off")
        size = settings.get("size")
        if isinstance(size, int):
            size = {"height": size, "width": size}
        if not isinstance(size, dict) or not {"height", "width"} <= size.keys():
            raise ValueError(f"size is {str(size)[:80]}")
        resample = settings.get("resample", 3)
        if resample not in list(_MODES):  # a list, since what is no number may not be hashable
            raise ValueError(f"resample is {str(resample)[:80]}")
        if settings.get("size_divisor"):
            raise ValueError("size_divisor is set")
        return cls(
            (whole(size, "height", 0), whole(size, "width", 0)),
            bool(settings.get("keep_aspect_ratio", False)),
            whole(settings, "ensure_multiple_of", 1),
            _MODES[resample],
            factors(settings, "rescale_factor", 1 / 255, 1)[0],
            _three(settings, "image_mean"),
            _three(settings, "image_std"),
            bool(settings.get("do_pad", False)),
        )

    def target(self, source: Size) -> Size:
        """Size that a picture of size `source` is resized to."""
        factors = [wanted / have for wanted, have in zip(self.size, source, strict=True)]
        if self.keep_aspect:
            factors = [factors[1] if abs(1 - factors[1]) < abs(1 - factors[0]) else factors[0]] * 2
        height, width = (
            max(1, round(factor * side / self.multiple)) * self.multiple
            for factor, side in zip(factors, source, strict=True)
        )
        return height, width

    def normalise(self, picture: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in 0..255 to what the network is used to."""
        mean, std = (picture.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (picture * self.rescale - mean) / std


def resized(picture: torch.Tensor, asked: Preprocessing) -> torch.Tensor:
    """DPT, Depth Anything: (1, 3, H, W) RGB in 0..255 to the network's input."""
    size = asked.target(_size(picture))
    small = F.interpolate(picture, size, mode=asked.mode, align_corners=False, antialias=True)
    return asked.normalise(small.clamp(0, 255))


def normalised_then_resized(picture: torch.Tensor, asked: Preprocessing) -> torch.Tensor:
    """Depth Pro: (1, 3, H, W) RGB in 0..255 to the network's square input, whatever the picture's shape."""
    return F.interpolate(asked.normalise(picture), asked.size, mode=asked.mode, align_corners=False)


def padded_and_resized(picture: torch.Tensor, asked: Preprocessing) -> torch.Tensor:
    """ZoeDepth: (1, 3, H, W) RGB in 0..255, its borders mirrored, to the network's input."""
    if asked.pad:
        y, x = _padding(_size(picture))
        picture = F.pad(picture, (x, x, y, y), mode="reflect")
    size = asked.target(_size(picture))
    return asked.normalise(F.interpolate(picture, size, mode=asked.mode, align_corners=True))


def plainly_back(prediction: torch.Tensor, _asked: Preprocessing, _picture: Size, half: Size) -> torch.Tensor:
    """A prediction (1, 1, h', w') of the whole picture to half the work grid; means, so nothing overshoots at edges."""
    return F.interpolate(prediction, half, mode="bilinear", align_corners=False, antialias=True)


def unpadded_back(prediction: torch.Tensor, asked: Preprocessing, picture: Size, half: Size) -> torch.Tensor:
    """ZoeDepth's prediction (1, 1, h', w') to half the work grid, without the mirrored borders."""
    y, x = _padding(picture) if asked.pad else (0, 0)
    whole = F.interpolate(prediction, (picture[0] + 2 * y, picture[1] + 2 * x), mode="bilinear", align_corners=True)
    return plainly_back(whole[..., y : y + picture[0], x : x + picture[1]], asked, picture, half)


def _padding(size: Size) -> Size:
    """Rows and columns that ZoeDepth mirrors on each side."""
    return int(3 * math.sqrt(size[0] / 2)), int(3 * math.sqrt(size[1] / 2))


def _size(picture: torch.Tensor) -> Size:
    return picture.shape[-2], picture.shape[-1]


def _three(settings: dict[str, Any], name: str) -> tuple[float, float, float]:
    a, b, c = factors(settings, name, 0.5, 3)
    return a, b, c
