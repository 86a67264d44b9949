"""The losses of self-supervised training with solved cameras: method `selfsup` (Zeng, after Dai et al. 2020).

All are functions of tensors, without state. Pictures are RGB in [0, 1], depth is planar; log depth, depth and camera
translations share one unit of length.
"""

from __future__ import annotations

import torch

from engine.depth.losses import MIN_DEPTH, bounded
from engine.geometry.shapes import check_shapes
from engine.geometry.tensors import project, sample, transform, unproject

ALPHA = 0.85  # share of SSIM in the photometric error
C1, C2 = 0.01**2, 0.03**2
TIE_BREAK = 1e-5  # Godard et al. 2019, their published code
ROBUST_LOG = 0.5  # at this difference of log depth a sparse point has lost three quarters of its pull
UNSEEN = 2.0  # above every photometric error


def ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Structural dissimilarity (1 - SSIM) / 2 in [0, 1] over 3x3 boxes, per pixel and channel (Wang et al. 2004).

    A uniform box, not a Gaussian, as Godard et al. 2017 use it; borders are mirrored.

    Args:
        a: (B, C, H, W) in [0, 1].
        b: (B, C, H, W) in [0, 1].

    Returns:
        (B, C, H, W), 0 where the windows are alike.
    """
    check_shapes("a B C H W, b B C H W", a, b)
    a, b = (torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect") for x in (a, b))
    mean_a, mean_b, square_a, square_b, product = (
        torch.nn.functional.avg_pool2d(x, 3, stride=1) for x in (a, b, a * a, b * b, a * b)
    )
    variance_a, variance_b, covariance = square_a - mean_a**2, square_b - mean_b**2, product - mean_a * mean_b
    alike = (2.0 * mean_a * mean_b + C1) * (2.0 * covariance + C2)
    total = (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    return ((1.0 - alike / total) / 2.0).clamp(0.0, 1.0)


def photometric_error(warped: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How much two pictures (B, 3, H, W) differ, (B, 1, H, W): Zeng eq. 1, mean over the channels."""
    error = ALPHA * ssim(warped, target) + (1.0 - ALPHA) * (warped - target).abs()
    return error.mean(dim=1, keepdim=True)


def photometric_loss(
    target: torch.Tensor,
    sources: torch.Tensor,
    depth: torch.Tensor,
    lens_matrix: torch.Tensor,
    source_from_target: torch.Tensor,
    still: torch.Tensor,
    source_still: torch.Tensor | None = None,
) -> torch.Tensor:
    """Photometric error of `target` against the sources brought into its view by `depth` and the solved cameras.

    Per pixel the smallest error over the sources counts, so a surface hidden in one is judged by another; and where a
    source as it is fits better than any source brought into view, the pixel gives no gradient (Godard et al. 2019,
    section 3.2: what stands still in the picture tells nothing of depth). A source does not count for a pixel if
    something of the pixel's 3x3 window leaves its picture, lies behind its camera, or moves by itself.

    Args:
        target: (B, 3, h, w).
        sources: (S, B, 3, h, w), taken through the same lens. The right eye of a stereo clip is one more.
        depth: (B, 1, h, w) of `target`.
        lens_matrix: (B, 3, 3) for the h x w grid.
        source_from_target: (S, B, 4, 4) camera to camera.
        still: (B, 1, h, w), 1 = stands still in the world, so it counts.
        source_still: (S, B, 1, h, w), the same for the sources; None = everything.

    Returns:
        (B,) mean over the pixels that are still and seen by at least one source; 0 where there are none.
    """
    check_shapes(
        "target B 3 H W, sources S B 3 H W, depth B 1 H W, lens_matrix B 3 3, source_from_target S B 4 4, "
        "still B 1 H W",
        target,
        sources,
        depth,
        lens_matrix,
        source_from_target,
        still,
    )
    views, batch, _, height, width = sources.shape
    flat = sources.flatten(0, 1)
    matrix = lens_matrix.repeat(views, 1, 1)
    points = transform(source_from_target.flatten(0, 1), unproject(depth, lens_matrix).repeat(views, 1, 1, 1))
    pixels = project(points, matrix, MIN_DEPTH)
    with torch.no_grad():
        visible = _inside(points, pixels, height, width) * still.repeat(views, 1, 1, 1)
        if source_still is not None:
            visible = visible * (sample(source_still.flatten(0, 1), pixels) > 0.999)
        visible = -torch.nn.functional.max_pool2d(-visible, 3, stride=1, padding=1)
        seen = visible.view(views, batch, 1, height, width) > 0
        # The tie-break decides where nothing moves and nothing has texture: one seed, so that runs can be repeated.
        noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0), dtype=depth.dtype).to(depth.device)
        unwarped = photometric_error(flat, target.repeat(views, 1, 1, 1)).view_as(seen) + TIE_BREAK * noise
    error = photometric_error(sample(flat, pixels), target.repeat(views, 1, 1, 1)).view_as(seen)
    best = torch.minimum(torch.where(seen, error, UNSEEN).amin(dim=0), unwarped.amin(dim=0))
    counts = seen.any(dim=0)
    return torch.where(counts, best, 0.0).sum(dim=(1, 2, 3)) / counts.sum(dim=(1, 2, 3)).clamp_min(1)


def disparity_smoothness(disparity: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """First differences of disparity over its mean, weighted by exp(-|dI|): Godard et al. 2017 eq. 5, Zeng eq. 2.

    Zeng's formula as printed has exp(+|dI|), which would punish depth edges most where the picture has edges, the
    opposite of what its text says: a typo.

    Args:
        disparity: (B, 1, H, W), 1/z in any unit.
        image: (B, 3, H, W) in [0, 1].

    Returns:
        (B,).
    """
    normalised = disparity / (disparity.mean(dim=(1, 2, 3), keepdim=True) + 1e-7)
    total = torch.zeros(len(disparity), dtype=disparity.dtype, device=disparity.device)
    for axis in (2, 3):
        edge = image.diff(dim=axis).abs().mean(dim=1, keepdim=True)
        total = total + (normalised.diff(dim=axis).abs() * torch.exp(-edge)).mean(dim=(1, 2, 3))
    return total


def sparse_loss(log_depth: torch.Tensor, pixels: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Difference of log depth from the sparse points of each frame, after SfM-TTR (Izquierdo and Civera 2023).

    It ties the network to the scale of the cameras. A few points of every solve are wrong: those far off pull little.

    Args:
        log_depth: (B, 1, H, W).
        pixels: (B, M, 2) pixel coordinates on the H x W grid, filled up to M with any values.
        depth: (B, M) planar depth of the points, 0 where there is none.

    Returns:
        (B,) mean over the points; 0 for a frame without points.
    """
    there = depth > 0
    log_point = torch.where(there, depth, 1.0).log()
    gap = (sample(log_depth, pixels[:, None])[:, 0, 0] - log_point).abs()
    return (bounded(gap, ROBUST_LOG) * there).sum(dim=1) / there.sum(dim=1).clamp_min(1)


def left_right_loss(
    depth_left: torch.Tensor,
    depth_right: torch.Tensor,
    lens_matrix: torch.Tensor,
    right_from_left: torch.Tensor,
) -> torch.Tensor:
    """Left-right consistency (Godard et al. 2017 eq. 6, used by Zeng) of two depth maps, safe where an eye sees less.

    A point of one eye's map that the other eye must see, since it sees something farther away along that ray, proves
    the maps wrong, and costs the difference of disparity. If the other eye sees something nearer, the point may just
    be hidden, and costs nothing; were it not hidden, then the nearer surface is what the first eye looks through, and
    the other direction counts it. So every contradiction counts once, and occlusion never does.

    Args:
        depth_left: (B, 1, H, W).
        depth_right: (B, 1, H, W).
        lens_matrix: (B, 3, 3), the same for both eyes.
        right_from_left: (B, 4, 4) camera to camera.

    Returns:
        (B,) sum of both directions' means, in pixels of stereo disparity.
    """
    left_from_right = torch.linalg.inv(right_from_left)
    unit: torch.Tensor = lens_matrix[:, 0, 0] * right_from_left[:, :3, 3].square().sum(dim=1).sqrt()
    return unit * (
        _seen_through(depth_left, depth_right, lens_matrix, right_from_left)
        + _seen_through(depth_right, depth_left, lens_matrix, left_from_right)
    )


def _seen_through(
    depth: torch.Tensor, other_depth: torch.Tensor, lens_matrix: torch.Tensor, other_from_this: torch.Tensor
) -> torch.Tensor:
    """Mean 1/z (B,) by which the other eye sees through the points of `depth`."""
    points = transform(other_from_this, unproject(depth, lens_matrix))
    pixels = project(points, lens_matrix, MIN_DEPTH)
    counts = _inside(points, pixels, *depth.shape[-2:])
    gap = (1.0 / points[..., 2].clamp_min(MIN_DEPTH))[:, None] - sample(1.0 / other_depth, pixels)
    return (gap.clamp_min(0.0) * counts).sum(dim=(1, 2, 3)) / counts.sum(dim=(1, 2, 3)).clamp_min(1.0)


def _inside(points: torch.Tensor, pixels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B, 1, h, w), 1 where `points` (B, h, w, 3) are in front and bilinear sampling at `pixels` has its neighbours."""
    limit = pixels.new_tensor([width - 0.5, height - 0.5])
    # Half a thousandth of a pixel forgives rounding where a picture is sampled at its own pixel centres.
    inside = ((pixels >= 0.5 - 5e-4) & (pixels <= limit + 5e-4)).all(dim=-1) & (points[..., 2] > MIN_DEPTH)
    return inside[:, None].to(points.dtype)
