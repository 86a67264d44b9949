"""Masks that the artist brings: any format and size, by the plate's frame numbers."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.errors import MaskError
from engine.files import write_exr
from engine.footage import probe
from engine.masks.artist import ArtistMasks, read_matte
from engine.masks.given import content_of, solve_given_masks
from engine.progress import Silent
from engine.request import MaskRequest

WIDTH, HEIGHT = 160, 96
CPU = torch.device("cpu")


class Listening(Silent):
    def __init__(self):
        self.warned = []

    def warning(self, message, frames=()):
        self.warned += list(frames)


@pytest.fixture
def shot(tmp_path: Path):
    """Footage 7..11 of 160x96 and its proxies of half the size."""
    rng = np.random.default_rng(0)
    for name in ("plate", "proxy"):
        (tmp_path / name).mkdir()
    for number in range(7, 12):
        picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "plate" / f"shot_{number:04d}.png"), picture)
        half = cv2.resize(picture, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / "proxy" / f"{number:06d}.png"), half)
    return probe(tmp_path / "plate"), tmp_path / "proxy"


def square(height=HEIGHT, width=WIDTH, dtype=np.uint8):
    """White in the left half of the lower half."""
    mask = np.zeros((height, width), dtype)
    mask[height // 2 :, : width // 2] = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    return mask


def put(folder, name, mask):
    folder.mkdir(exist_ok=True)
    if name.endswith(".exr"):
        write_exr(folder / name, mask)
    else:
        assert cv2.imwrite(str(folder / name), mask)
    return folder


def solved(shot, folder, out, progress=None, **more):
    footage, proxies = shot
    solve_given_masks(footage, proxies, MaskRequest(path=folder, **more), out, CPU, progress or Silent())
    return {int(p.stem): cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted(out.glob("*.png"))}


def code(shot, folder, out):
    with pytest.raises(MaskError) as failure:
        solved(shot, folder, out)
    assert failure.value.what
    assert failure.value.why
    assert failure.value.fix
    return failure.value.code


EXPECTED = square(HEIGHT // 2, WIDTH // 2)


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("m_0008.png", square()),
        ("m_0008.png", square(dtype=np.uint16)),
        ("m_0008.png", np.repeat(square()[..., None], 3, axis=2)),
        ("m_0008.png", np.dstack([np.full((HEIGHT, WIDTH, 3), 255, np.uint8), square()])),
        ("m_0008.jpg", square()),
        ("m_0008.tif", square(dtype=np.uint16)),
        ("m_0008.exr", square(dtype=np.float32)),
        ("m_0008.exr", square(dtype=np.float16)),
        ("m_0008.png", square(HEIGHT * 2, WIDTH * 2)),
        ("m_0008.png", square(HEIGHT // 4, WIDTH // 4)),
        ("m_0008.png", square(HEIGHT + 1, WIDTH)),
    ],
    ids=["8", "16", "rgb", "rgba", "jpg", "tif", "float", "half", "double", "small", "rounded"],
)
def test_masks_of_every_format_and_size_come_to_the_proxies_size(tmp_path: Path, shot, name, mask) -> None:
    masks = solved(shot, put(tmp_path / "masks", name, mask), tmp_path / "out")
    assert list(masks) == [8], "frames without a mask get none"
    assert masks[8].dtype == np.uint8
    assert set(np.unique(masks[8])) <= {0, 255}
    edge = np.zeros_like(EXPECTED, bool)
    edge[HEIGHT // 4 - 1 : HEIGHT // 4 + 1] = edge[:, WIDTH // 4 - 1 : WIDTH // 4 + 1] = True
    assert (masks[8] == EXPECTED)[~edge | (mask.shape[:2] == (HEIGHT, WIDTH) and "jpg" not in name)].all()


def test_frames_are_found_by_number_not_by_place(tmp_path: Path, shot) -> None:
    for number in (3, 9, 11, 40):
        put(tmp_path / "masks", f"roto.{number}.png", np.full((HEIGHT, WIDTH), 200 if number == 9 else 100, np.uint8))
    masks = solved(shot, tmp_path / "masks" / "roto.9.png", tmp_path / "out")
    assert {number: mask.max() for number, mask in masks.items()} == {9: 255, 11: 0}
    assert json.loads((tmp_path / "out" / "masks.json").read_text())["frames"] == 2


def test_no_request_gives_no_masks(tmp_path: Path, shot) -> None:
    assert solved(shot, None, tmp_path / "out") == {}
    assert json.loads((tmp_path / "out" / "masks.json").read_text())["frames"] == 0


def test_masks_that_cannot_be_used_are_refused(tmp_path: Path, shot) -> None:
    assert code(shot, tmp_path / "nowhere", tmp_path / "out") == "mask.missing"
    (tmp_path / "empty").mkdir()
    assert code(shot, tmp_path / "empty", tmp_path / "out") == "mask.missing"
    assert code(shot, put(tmp_path / "other", "m_0100.png", square()), tmp_path / "out") == "mask.missing"
    assert code(shot, put(tmp_path / "tall", "m_0008.png", square(WIDTH, HEIGHT)), tmp_path / "out") == "mask.size"
    two = put(put(tmp_path / "two", "a_0008.png", square()), "b_0008.png", square())
    assert code(shot, two, tmp_path / "out") == "mask.missing"
    for text in (b"", b"no picture"):
        put(tmp_path / "bad", "m_0008.png", square())
        (tmp_path / "bad" / "m_0008.png").write_bytes(text)
        assert code(shot, tmp_path / "bad", tmp_path / "out") == "mask.unreadable"
    assert not (tmp_path / "out" / "masks.json").exists()


def test_inverted_masks_are_told_apart_from_one_full_frame(tmp_path: Path, shot) -> None:
    for number in range(7, 12):
        put(tmp_path / "inverted", f"m_{number:04d}.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    assert code(shot, tmp_path / "inverted", tmp_path / "out") == "mask.everything"
    progress = Listening()
    put(tmp_path / "passing", "m_0009.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    solved(shot, tmp_path / "passing", tmp_path / "passed", progress)
    assert progress.warned == [9]


def test_the_cache_key_follows_the_contents(tmp_path: Path, shot) -> None:
    folder = put(tmp_path / "masks", "m_0008.png", square())
    request = MaskRequest(path=folder)
    before = content_of(request, shot[0])
    assert content_of(request, shot[0]) == before
    put(folder, "m_0008.png", 255 - square())
    assert content_of(request, shot[0]) != before
    assert content_of(MaskRequest(), shot[0]) == {"artist": None, "segmentation": None}


def test_mattes_keep_their_own_size_and_soft_edges(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16), (HEIGHT, 1))
    masks = ArtistMasks.find(put(tmp_path / "soft", "m_0008.png", ramp), WIDTH, HEIGHT)
    matte = masks.matte(8)
    assert matte is not None
    assert np.abs(matte - ramp / 65535).max() < 1e-6
    assert masks.matte(9) is None


def test_colours_are_read_in_the_right_order_and_not_a_number_is_nothing(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((4, 4, 3), (255, 0, 0), np.uint8))
    assert (read_matte(tmp_path / "blue.png") == 1).all()
    write_exr(tmp_path / "broken.exr", np.array([[np.nan, 2.0], [-1.0, 0.25]], np.float32))
    assert read_matte(tmp_path / "broken.exr").tolist() == [[0.0, 1.0], [0.0, 0.25]]
