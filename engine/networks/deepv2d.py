"""The networks of DeepV2D, reduced: features, motion module and depth module, 0.8 million weights.

What differs from the publication, and why: one encoder for both modules, so that a frame is encoded once; correlation
in groups instead of stacked features, an eighth of the work, and it learns from far fewer pictures; inverse-depth
planes between bounds of the clip's own; one hourglass; depth enlarged by learnt convex weights (Teed & Deng 2020, RAFT,
section 3.3) instead of enlarged logits, which blur outlines. No network guesses the first pose: it would be tied to one
size of pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.networks.cost_volume import certainty, pooled_volume, soft_argmax
from engine.networks.loading import with_weights

ARCHITECTURE = "deepv2d one-encoder group-correlation 32-16-8"
MATCH, CONTEXT, GROUPS = 32, 32, 8
VOLUME = (16, 24, 32)  # channels of the hourglass, each at half the size of the one before
RADIUS, LEVELS = 4, 3  # of the search in the motion module: 4 pixels of the 1/4, 1/8 and 1/16 grid
PATCH = 2  # pixels of the feature grid around each that are compared with it
CELL = 4  # pixels of the picture for one of the feature grid
WEIGHTS = Path(__file__).parent / "weights" / "deepv2d.safetensors"
_SLOPE = 0.1


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, channels)


class _Residual(nn.Module):
    """Two convolutions added to their input, at first nothing."""

    def __init__(self, channels: int, dimensions: int = 2) -> None:
        super().__init__()
        conv = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.first = conv(channels, channels, 3, 1, 1, padding_mode="replicate", bias=False)
        self.first_norm = _norm(channels)
        self.second = conv(channels, channels, 3, 1, 1, padding_mode="replicate", bias=False)
        self.second_norm = _norm(channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.leaky_relu(self.first_norm(self.first(x)), _SLOPE)
        return F.leaky_relu(x + self.second_norm(self.second(y)), _SLOPE)


@dataclass(frozen=True)
class Features:
    """What the encoder makes of pictures, on the 1/4 grid.

    Attributes:
        match: (B, MATCH, h, w), of length sqrt(GROUPS): a group's product is about a correlation.
        context: (B, CONTEXT, h, w).
    """

    match: torch.Tensor
    context: torch.Tensor

    def of(self, rows: torch.Tensor) -> Features:
        """Those of some pictures, in that order."""
        return Features(self.match[rows], self.context[rows])


class Encoder(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1], sides multiples of 4, to features.

    Kernels of even size, so that a feature lies in the middle of its 4 x 4 pixels and the lens of the feature grid is
    that of the picture divided by four, in the project's pixel coordinates.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv2d(3, 16, 6, 2, 2, padding_mode="replicate", bias=False)
        self.start_norm = _norm(16)
        self.near = _Residual(16)
        self.down = nn.Conv2d(16, 32, 4, 2, 1, padding_mode="replicate", bias=False)
        self.down_norm = _norm(32)
        self.quarter = nn.Sequential(_Residual(32), _Residual(32))
        self.wide = nn.Sequential(nn.Conv2d(32, 48, 3, 1, 1, padding_mode="replicate"), _Residual(48), _Residual(48))
        self.out = nn.Conv2d(80, MATCH + CONTEXT, 1)

    def forward(self, images: torch.Tensor) -> Features:
        """(B, 3, H, W) to features on the 1/4 grid."""
        x = self.near(F.leaky_relu(self.start_norm(self.start(images * 2.0 - 1.0)), _SLOPE))
        x = self.quarter(F.leaky_relu(self.down_norm(self.down(x)), _SLOPE))
        wide = self.wide(F.avg_pool2d(x, 2, ceil_mode=True))
        wide = F.interpolate(wide, size=x.shape[-2:], mode="bilinear", align_corners=False)
        match, context = torch.split(self.out(torch.cat([x, wide], 1)), [MATCH, CONTEXT], 1)
        # without the picture's mean and spread, what remains tells places apart: matching works before training
        match = F.normalize(F.instance_norm(match.float()), dim=1) * GROUPS**0.5
        return Features(match, F.leaky_relu(context, _SLOPE))


class MotionModule(nn.Module):
    """Where pixels of the key really are in the view, seen from where depth and pose put them.

    The view's features, warped by depth and pose, are compared with the key's within `RADIUS` at `LEVELS` sizes. Where
    the best of them lies is a flow already; the network chooses between the sizes, corrects, and says how sure it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.full((LEVELS,), 3.7))  # log
        self.start = nn.Conv2d(CONTEXT + 1, 48, 1)
        self.compared = nn.ModuleList(nn.Conv2d((2 * RADIUS + 1) ** 2 + 3, 48, 1, bias=False) for _ in range(LEVELS))
        self.fine = _Residual(48)
        self.down = nn.ModuleList([nn.Conv2d(48, 64, 3, 1, 1), nn.Conv2d(64, 64, 3, 1, 1)])
        self.coarse = nn.ModuleList([_Residual(64), _Residual(64)])
        self.up = nn.ModuleList([nn.Conv2d(128, 64, 3, 1, 1), nn.Conv2d(112, 48, 3, 1, 1)])
        self.head = nn.Conv2d(48, 4 + LEVELS, 3, 1, 1)  # flow, how sure, and which level to believe
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, key: Features, warped: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Residual flow and how sure it is.

        Args:
            key: features of the key (B, .., h, w).
            warped: (B, MATCH, h, w) the view's, where depth and pose say that the key's pixels are.
            seen: (B, 1, h, w) bool, that is inside of the view.

        Returns:
            (B, h, w, 2) pixels of the feature grid to add, and weights (B, h, w, 2) in 0..1, 0 where not `seen`.
        """
        x = self.start(torch.cat([key.context, seen.to(key.context.dtype)], 1))
        means = []
        for level, compared in enumerate(self.compared):
            mine, theirs = (F.avg_pool2d(f, 2**level, ceil_mode=True) for f in (key.match, warped))
            alike = window_correlation(mine, theirs, RADIUS) / GROUPS
            there = (box_mean(alike, PATCH) * self.sharpness[level].exp()).softmax(1)
            mean = torch.einsum("bkhw,kc->bchw", there, window_offsets(RADIUS, there)) * (2.0**level / RADIUS)
            found = compared(torch.cat([alike, mean, there.amax(1, keepdim=True)], 1))
            if level > 0:
                mean, found = (
                    F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False) for y in (mean, found)
                )
            means.append(mean)
            x = x + found
        x = self.fine(F.leaky_relu(x, _SLOPE))
        skips = [x]
        for down, block in zip(self.down, self.coarse, strict=True):
            x = block(F.leaky_relu(down(F.avg_pool2d(x, 2, ceil_mode=True)), _SLOPE))
            skips.append(x)
        x = skips.pop()
        for up in self.up:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = F.leaky_relu(up(torch.cat([skip, x], 1)), _SLOPE)
        flow, sure, level_logits = self.head(x).float().split([2, 2, LEVELS], 1)
        believed = level_logits.softmax(1)[:, :, None]
        flow = flow + (believed * torch.stack(means, 1)).sum(1)
        return RADIUS * flow.permute(0, 2, 3, 1), (sure.sigmoid() * seen).permute(0, 2, 3, 1)


def box_mean(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over (2 radius + 1)^2 pixels of (B, C, H, W), the border repeated."""
    return F.avg_pool2d(F.pad(x, (radius, radius, radius, radius), mode="replicate"), 2 * radius + 1, 1)


def window_offsets(radius: int, like: torch.Tensor) -> torch.Tensor:
    """((2 radius + 1)^2, 2) x and y of the window's places, in the order of `window_correlation`."""
    steps = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def window_correlation(mine: torch.Tensor, theirs: torch.Tensor, radius: int) -> torch.Tensor:
    """Products (B, (2 radius + 1)^2, h, w) of features (B, C, h, w) with those around the same place; outside: 0."""
    height, width = mine.shape[-2:]
    side = 2 * radius + 1
    rows = F.pad(theirs, (radius, radius, radius, radius)).transpose(1, 2)  # (B, h + 2 radius, C, w + 2 radius)
    points = mine.permute(0, 2, 3, 1)
    # a row with all of a row at once, of which each pixel keeps what is near it: faster than products one by one
    near = torch.arange(width, device=mine.device)[:, None] + torch.arange(side, device=mine.device)
    near = near.expand(len(mine), height, width, side)
    products = [(points @ rows[:, y : y + height]).gather(3, near) for y in range(side)]
    return torch.cat(products, -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Matched:
    """What the depth module says of key frames.

    Attributes:
        logits: of the planes on the 1/4 grid, (B, D, h, w) each: the intermediate output, then the final one.
        inverse_depth: (B, 1, 2 h, 2 w) on the half grid.
        certainty: (B, 1, h, w) probability around the best plane.
    """

    logits: tuple[torch.Tensor, torch.Tensor]
    inverse_depth: torch.Tensor
    certainty: torch.Tensor


class DepthModule(nn.Module):
    """Depth of key frames from views at known poses: plane sweep, view pooling, 3-D hourglass, soft-argmax."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = VOLUME
        self.start = nn.Conv3d(2 * GROUPS + 2, a, 3, 1, 1, padding_mode="replicate")
        self.context = nn.Conv2d(CONTEXT, a, 1)
        self.first = _Residual(a, 3)
        self.down = nn.ModuleList([nn.Conv3d(a, b, 3, 1, 1), nn.Conv3d(b, c, 3, 1, 1), nn.Conv3d(c, c, 3, 1, 1)])
        self.below = nn.ModuleList([_Residual(b, 3), _Residual(c, 3), _Residual(c, 3)])
        self.up = nn.ModuleList([nn.Conv3d(c, c, 1), nn.Conv3d(c, b, 1), nn.Conv3d(b, a, 1)])
        self.last = _Residual(a, 3)
        self.heads = nn.ModuleList([nn.Conv3d(a, 1, 3, 1, 1, padding_mode="replicate") for _ in range(2)])
        self.gain = nn.Parameter(torch.tensor(24.0))  # of the correlation itself: matching works before training
        self.enlarge = nn.Sequential(nn.Conv2d(CONTEXT + 1, 48, 3, 1, 1), nn.LeakyReLU(_SLOPE), nn.Conv2d(48, 36, 1))
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        key: Features,
        views: torch.Tensor,
        lens_matrix: torch.Tensor,
        view_from_key: torch.Tensor,
        planes: torch.Tensor,
    ) -> Matched:
        """Inverse depth of B key frames.

        Args:
            key: features (B, .., h, w).
            views: (B, V, MATCH, h, w).
            lens_matrix: (B, 3, 3) of the feature grid.
            view_from_key: (B, V, 4, 4).
            planes: (B, D) inverse depths, equally spaced, rising.
        """
        pooled = pooled_volume(key.match, views, lens_matrix, view_from_key, planes, GROUPS)
        matching = box_mean(pooled[:, :GROUPS].mean(1), 1)
        where = planes.clamp_min(0.02).log()[:, None, :, None, None].expand_as(pooled[:, :1])
        x = self.start(torch.cat([pooled, where], 1)) + self.context(key.context)[:, :, None]
        x = self.first(F.leaky_relu(x, _SLOPE))
        early = self.heads[0](x)[:, 0] + self.gain * matching
        skips = [x]
        for down, block in zip(self.down, self.below, strict=True):
            x = block(F.leaky_relu(down(F.avg_pool3d(x, 2, ceil_mode=True)), _SLOPE))
            skips.append(x)
        x = skips.pop()
        for up in self.up:
            skip = skips.pop()
            x = skip + F.interpolate(up(x), size=skip.shape[-3:], mode="trilinear", align_corners=False)
        logits = early + self.heads[1](self.last(x))[:, 0]
        inverse = soft_argmax(logits.float(), planes)
        step = (planes[:, -1] - planes[:, 0])[:, None, None, None]
        relative = (inverse - planes[:, :1, None, None]) / step
        weights = self.enlarge(torch.cat([key.context, relative], 1))
        return Matched((early, logits), enlarged(inverse, weights), certainty(logits.float()))


def enlarged(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Values (B, 1, h, w) at twice the size (B, 1, 2 h, 2 w).

    Each is a mean of the 3 x 3 values around it, by the softmax of `weights` (B, 36, h, w): nine for each of the four
    pixels that one becomes.
    """
    count, _, height, width = values.shape
    around = F.unfold(F.pad(values, (1, 1, 1, 1), mode="replicate"), 3).reshape(count, 9, 1, height, width)
    mixed = (weights.reshape(count, 9, 4, height, width).softmax(1) * around).sum(1)
    return F.pixel_shuffle(mixed, 2)


class DeepV2D(nn.Module):
    """Both modules and the encoder they share."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.motion = MotionModule()
        self.depth = DepthModule()


def padded(images: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, H, W) with sides that are multiples of `CELL`, continued to the right and below."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % CELL, 0, -height % CELL), mode="replicate")


def load_deepv2d(device: torch.device, path: Path = WEIGHTS) -> DeepV2D:
    """The networks with the weights of a safetensors file, in float32 on `device`, for inference.

    Raises:
        DepthError: `depth.weights`, the file is missing, damaged, or of another architecture.
    """
    return with_weights(DeepV2D(), ARCHITECTURE, path, device).eval()
