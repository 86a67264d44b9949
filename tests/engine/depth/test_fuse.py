"""Fusion of network and evidence."""

import torch

from engine.depth.data import SPARSE_CONFIDENCE
from engine.depth.fuse import fuse as fuse_all

HALF = (24, 32)
GREY = torch.full((3, 48, 64), 0.5)


def fuse(network, evidence, confidence, image):
    """Of one frame, alone."""
    return fuse_all(network[None], wide(evidence), wide(confidence), image[None])[0]


def wide(values):
    """(1, H, W) of (h, w) or of (B, h, w): each pixel as four."""
    return values.repeat_interleave(2, -1).repeat_interleave(2, -2).reshape(-1, *GREY.shape[1:])


def test_without_evidence_the_network_stands() -> None:
    network = torch.linspace(0, 1, 24 * 32).reshape(HALF)
    fused = fuse(network, torch.zeros(HALF), torch.zeros(HALF), GREY)
    enlarged = torch.nn.functional.interpolate(network[None, None], scale_factor=2, mode="bilinear")[0, 0]
    assert torch.allclose(fused, enlarged)


def test_a_plane_goes_on_straight_where_nothing_is_known() -> None:
    column, line = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(24) + 0.5, indexing="xy")
    depth = 1.0 / (0.5 + 0.02 * column + 0.01 * line)
    confidence = torch.zeros(HALF)
    confidence[:14, :20] = 1.0
    fused = fuse(torch.zeros(HALF), depth.log(), confidence, GREY)
    enlarged = torch.nn.functional.interpolate(depth.log()[None, None], scale_factor=2, mode="bilinear")[0, 0]
    assert (fused - enlarged).abs().max() < 0.04


def test_an_offset_of_the_network_is_taken_out_everywhere() -> None:
    confidence = torch.zeros(HALF)
    confidence[4:20:2, 4:28:2] = 1.0
    fused = fuse(torch.zeros(HALF), torch.full(HALF, 0.2), confidence, GREY)
    assert (fused - 0.2).abs().max() < 0.03


def test_an_outline_in_the_evidence_survives_a_blurred_network() -> None:
    step = (torch.arange(32) >= 16).float().expand(HALF)
    blurred = torch.sigmoid((torch.arange(32) - 15.5) / 3.0).expand(HALF)
    image = (torch.arange(64) >= 32).float().expand(3, 48, 64)
    fused = fuse(blurred, step, torch.ones(HALF), image)
    truth = (torch.arange(64) >= 32).float().expand(48, 64)
    assert (fused - truth).abs().max() < 0.05


def test_a_surface_stops_at_an_edge_of_the_picture() -> None:
    confidence = torch.zeros(HALF)
    confidence[:, :12] = 1.0
    confidence[10:14, 28:] = 1.0
    evidence = torch.where(torch.arange(32) < 16, 0.3, 0.0).expand(HALF)
    image = (torch.arange(64) >= 32).float().expand(3, 48, 64)
    fused = fuse(torch.zeros(HALF), evidence, confidence, image)
    assert (fused[:, :30] - 0.3).abs().max() < 0.05
    assert fused[:, 34:].abs().max() < 0.05


def test_a_lone_wrong_point_leaves_no_spot() -> None:
    evidence, confidence = torch.zeros(HALF), torch.zeros(HALF)
    confidence[:, :8] = 1.0
    evidence[12, 20], confidence[12, 20] = 1.5, SPARSE_CONFIDENCE
    assert fuse(torch.zeros(HALF), evidence, confidence, GREY).abs().max() < 0.1


def test_frames_have_no_part_in_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    network, evidence = 0.2 * torch.randn((2, 3, *HALF), generator=generator)
    confidence = (torch.rand((3, *HALF), generator=generator) > 0.5).float()
    confidence[1] = 0.0  # a frame without any evidence among others
    image = torch.rand((3, 3, 48, 64), generator=generator)
    together = fuse_all(network, wide(evidence), wide(confidence), image)
    for k in range(3):
        assert torch.allclose(together[k], fuse(network[k], evidence[k], confidence[k], image[k]), atol=1e-3)
