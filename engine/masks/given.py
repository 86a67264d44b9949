"""The masks stage: what is known to move before anything is solved, by the artist or by a segmentation network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import MaskError
from engine.files import write_atomically, write_json
from engine.flow.dense import Mask
from engine.footage import Footage, FrameFiles, read_proxy
from engine.masks import segmentation
from engine.masks.artist import ArtistMasks
from engine.networks.licences import is_non_commercial
from engine.progress import Progress
from engine.request import MaskRequest

EVERYTHING = 0.9  # share of the picture, mean over the masked frames, that leaves too little to solve from


def solve_given_masks(
    footage: Footage, proxies: Path, request: MaskRequest, folder: Path, device: torch.device, progress: Progress
) -> None:
    """Write `000101.png`, 8 bit, 255 = moves by itself, of the proxies' size, for the frames that have a mask.

    Masks of artist and network are united. `masks.json` is last: {"frames": count, "segmentation": model or null,
    "licence": of the model or null}. Nothing but it is written when the request names neither.

    Args:
        footage: the clip; its frame numbers find the masks.
        proxies: folder with `000101.png` of every frame.
        request: where masks come from.
        folder: written to.
        device: where a network computes.
        progress: receives progress; may cancel.

    Raises:
        MaskError: `mask.missing`, `.size`, `.unreadable`, `.everything`, or what `segmentation.network` raises.
        Cancelled: the user stopped it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    artist = None if request.path is None else ArtistMasks.find(request.path, footage.width, footage.height)
    masked = set() if artist is None else set(artist.numbers(footage.numbers))
    network = None if request.segmentation is None else segmentation.network(request.segmentation)
    segment: Callable[[NDArray[np.uint8]], Mask] | None = None if network is None else network.open(device)
    shares: dict[int, float] = {}
    for done, number in enumerate(footage.numbers):
        progress.step(done, len(footage.numbers), f"masking frame {number}")
        if segment is None and number not in masked:
            continue
        picture = read_proxy(proxies, number)
        mask = np.zeros(picture.shape[:2], bool) if segment is None else segment(picture)
        if artist is not None and number in masked:
            matte = artist.matte(number)
            if matte is not None:
                size = picture.shape[1::-1]
                smaller = matte.shape[1] > size[0]
                mask |= cv2.resize(matte, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR) > 0.5
        shares[number] = float(mask.mean())
        data = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1]
        write_atomically(FrameFiles(folder, ".png").path(number), data.tofile)
    _check(shares, len(footage.numbers), progress)
    about: dict[str, object] = {"frames": len(shares), "segmentation": None, "licence": None}
    if network is not None:
        about |= {"segmentation": network.name, "licence": network.licence}
    write_json(folder / "masks.json", about)


def content_of(request: MaskRequest, footage: Footage) -> dict[str, str | None]:
    """What decides the result of the stage besides the clip: goes into its cache key.

    Raises:
        MaskError: as `solve_given_masks`, where masks or model cannot be found; `mask.non_commercial`, the model's
            licence needs the user's switch.
    """
    artist = None if request.path is None else ArtistMasks.find(request.path, footage.width, footage.height)
    network = None if request.segmentation is None else segmentation.network(request.segmentation)
    if network is not None and is_non_commercial(network.licence) and not request.allow_non_commercial:
        raise MaskError(
            "mask.non_commercial",
            f"{network.name} may not be used without your say.",
            f"The licence of its weights is {network.licence}, which is not known to allow commercial work.",
            "Allow non-commercial weights if that fits your work, or choose another segmentation model.",
        )
    return {
        "artist": None if artist is None else artist.content(),
        "segmentation": None if network is None else network.content,
    }


def _check(shares: dict[int, float], frames: int, progress: Progress) -> None:
    if not shares:
        return
    mean = float(np.mean(list(shares.values())))
    progress.metric("given_mask_share", sum(shares.values()) / frames)
    if mean > EVERYTHING and len(shares) > frames / 2:
        raise MaskError(
            "mask.everything",
            f"The masks hide {mean:.0%} of the picture.",
            "White means that something moves by itself and is kept out of the solve; too little is left to see.",
            "Invert the masks if they show the background in white, or mask less.",
        )
    hidden = sorted(number for number, share in shares.items() if share > EVERYTHING)
    if hidden:
        progress.warning("Nearly everything is masked: these frames may not be placed.", hidden)
