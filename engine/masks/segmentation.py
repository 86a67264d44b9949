"""People, animals, vehicles and balls, found by a network of Hugging Face `transformers` that the user has.

Nothing is downloaded; see `engine.networks.pretrained`. Three kinds of answers are understood:
- queries (MaskFormer, Mask2Former, DETR): a class each, with one class more for "nothing", and a mask each;
- queries of RF-DETR: a yes or no for each class, and a mask each;
- classes per pixel (SegFormer and its like).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from engine.errors import MaskError
from engine.flow.dense import Mask
from engine.networks.licences import licence_of
from engine.networks.pretrained import (
    CONFIG,
    PREPROCESSOR,
    content_of,
    factors,
    find_model,
    load_model,
    read_settings,
    repository_of,
    whole,
)

SURE = 0.5  # of a query's class, and of a pixel's mask
AUTO_CLASSES = {
    "mask2former": "AutoModelForUniversalSegmentation",
    "maskformer": "AutoModelForUniversalSegmentation",
    "detr": "AutoModelForUniversalSegmentation",
    "rf_detr": "AutoModelForInstanceSegmentation",
    "segformer": "AutoModelForSemanticSegmentation",
    "upernet": "AutoModelForSemanticSegmentation",
    "beit": "AutoModelForSemanticSegmentation",
    "mobilevit": "AutoModelForSemanticSegmentation",
    "mobilevitv2": "AutoModelForSemanticSegmentation",
}
_PEOPLE = (
    "person",
    "people",
    "man",
    "woman",
    "boy",
    "girl",
    "child",
    "baby",
    "pedestrian",
    "rider",
    "human",
    "individual",
)
_ANIMALS = (
    "animal", "ground animal", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe",
)  # fmt: skip
_VEHICLES = (
    "vehicle", "other vehicle", "bicycle", "bike", "cycle", "minibike", "car", "automobile", "motorcycle", "motorbike",
    "bus", "minibus", "truck", "lorry", "van", "trailer", "caravan", "train", "tram", "boat", "ship", "ferry",
    "airplane", "aeroplane", "plane", "helicopter", "scooter", "wheelchair", "stroller",
)  # fmt: skip
_SPORT = (
    "ball", "sports ball", "frisbee", "kite", "skateboard", "skis", "snowboard", "surfboard", "tennis racket",
    "baseball bat", "baseball glove",
)  # fmt: skip
MOVING = frozenset((*_PEOPLE, *_ANIMALS, *_VEHICLES, *_SPORT))
"""Names that labels of COCO, ADE20K, Cityscapes, Pascal and Mapillary give to what moves by itself or is thrown."""

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Network:
    """A segmentation network that the user has.

    Attributes:
        name: for people.
        licence: of its weights.
        content: hash of everything that decides its answers.
        open: loads it on a device: pictures (H, W, 3) RGB in, what may move (H, W) out.
    """

    name: str
    licence: str
    content: str
    open: Callable[[torch.device], Callable[[Image], Mask]]


@dataclass(frozen=True)
class Preparation:
    """What a `preprocessor_config.json` asks for.

    Attributes:
        size: {"height", "width"}, or {"shortest_edge"} with or without {"longest_edge"}, pixels.
        divisor: both sides are rounded up to multiples of it.
        rescale: factor on 8-bit values.
        mean: per channel, after rescaling.
        std: per channel.
    """

    size: dict[str, int]
    divisor: int
    rescale: float
    mean: list[float]
    std: list[float]

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Preparation:
        """Read a processor's settings.

        Raises:
            ValueError: it gives no size.
        """
        size = settings.get("size")
        if isinstance(size, int):
            size = {"shortest_edge": size}
            if "max_size" in settings:
                size["longest_edge"] = settings["max_size"]
        said = str(size)[:80]
        size = {key: whole(size, key, 0) for key in size if size[key]} if isinstance(size, dict) else {}
        if not ({"height", "width"} <= size.keys() or "shortest_edge" in size):
            raise ValueError(f"size is {said}")
        normalise = settings.get("do_normalize", True)
        return cls(
            size,
            whole(settings, "size_divisor", whole(settings, "size_divisibility", 1)),
            factors(settings, "rescale_factor", 1 / 255, 1)[0] if settings.get("do_rescale", True) else 1.0,
            factors(settings, "image_mean", [0.485, 0.456, 0.406], 3) if normalise else [0.0] * 3,
            factors(settings, "image_std", [0.229, 0.224, 0.225], 3) if normalise else [1.0] * 3,
        )

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture is resized to."""
        if "height" in self.size:
            sides = float(self.size["height"]), float(self.size["width"])
        else:
            factor = self.size["shortest_edge"] / min(height, width)
            if "longest_edge" in self.size:
                factor = min(factor, self.size["longest_edge"] / max(height, width))
            sides = height * factor, width * factor
        rows, columns = (math.ceil(round(side) / self.divisor) * self.divisor for side in sides)
        return rows, columns

    def __call__(self, picture: torch.Tensor) -> torch.Tensor:
        """(1, 3, H, W) RGB in 0..255 to the network's input."""
        size = self.target(picture.shape[-2], picture.shape[-1])
        small = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 255)
        mean, std = (small.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (small * self.rescale - mean) / std


def network(name: str) -> Network:
    """The network in a model folder, or of a name in the user's cache.

    Raises:
        MaskError: `mask.no_transformers`, `.not_found`, `.incomplete`, `.pickle`, `.unsupported` or `.no_classes`.
    """
    folder = find_model(name, _failure)
    config, settings = read_settings(folder / CONFIG, _failure), read_settings(folder / PREPROCESSOR, _failure)
    kind = str(config.get("model_type"))
    if kind not in AUTO_CLASSES:
        raise _unsupported(name, f"Its {CONFIG} says model_type {kind!r}.")
    try:
        prepare = Preparation.of(settings)
    except ValueError as error:
        raise _unsupported(name, f"Its {PREPROCESSOR} says: {error}.") from error
    labels = config.get("id2label") or {}
    if not isinstance(labels, dict) or not all(key.isdecimal() and len(key) < 10 for key in labels):
        raise _unsupported(name, f"The id2label of its {CONFIG} does not name classes by their numbers.")
    moving = moving_classes({int(key): str(label) for key, label in labels.items()})
    if not moving:
        raise _failure(
            "no_classes",
            f"{name} knows nothing that moves by itself.",
            "None of its classes is called a person, an animal, a vehicle or a ball.",
            "Use a network trained on COCO, ADE20K or Cityscapes.",
        )

    def open_network(device: torch.device) -> Callable[[Image], Mask]:
        model = load_model(AUTO_CLASSES[kind], folder, device, _failure)
        classes = torch.tensor(moving, device=device)

        @torch.inference_mode()
        def segment(picture: Image) -> Mask:
            tensor = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float()
            answer = model(pixel_values=prepare(tensor))
            moves = score(answer, classes, picture.shape[:2], each_class_alone=kind == "rf_detr") > SURE
            return moves.cpu().numpy()

        return segment

    repository = repository_of(folder)
    licence = licence_of(folder, repository, config)
    return Network(repository or folder.resolve().name, licence, content_of(folder), open_network)


def moving_classes(labels: dict[int, str]) -> list[int]:
    """The classes whose label names something that may move by itself."""

    def moves(label: str) -> bool:
        names = [part.strip() for part in re.split(r"[,;/]", label.lower().replace("_", " ").replace("-", " "))]
        names = [re.sub(r"( other| merged| stuff)+$", "", name) for name in names]
        return any(name in MOVING for name in names)

    return sorted(number for number, label in labels.items() if moves(label))


def score(answer: Any, moving: torch.Tensor, size: tuple[int, ...], *, each_class_alone: bool) -> torch.Tensor:
    """How sure a network is that each pixel (H, W) shows something that may move, 0..1.

    Args:
        answer: of the network.
        moving: classes that may move.
        size: (H, W).
        each_class_alone: a query's classes are independent of each other, and there is none for "nothing".
    """
    queries = answer.get("class_queries_logits", answer.get("logits"))
    masks = answer.get("masks_queries_logits", answer.get("pred_masks"))
    if masks is None:  # classes per pixel (1, C, h, w)
        share = F.interpolate(queries, size, mode="bilinear", align_corners=False).softmax(dim=1)
        return share[0, moving].sum(dim=0)
    sure = queries.sigmoid()[0] if each_class_alone else queries.softmax(dim=-1)[0, :, :-1]
    best, which = sure.max(dim=-1)
    chosen = (best > SURE) & torch.isin(which, moving)
    # One layer of "nothing" beside the chosen masks: there may be none.
    layers = torch.cat([torch.full_like(masks[:, :1], -30.0), masks[:, chosen]], dim=1)
    enlarged: torch.Tensor = F.interpolate(layers, size, mode="bilinear", align_corners=False)
    return enlarged.sigmoid()[0].amax(dim=0)


def _failure(reason: str, what: str, why: str, fix: str) -> MaskError:
    return MaskError(f"mask.{reason}", what, why, fix)


def _unsupported(name: str, why: str) -> MaskError:
    return _failure(
        "unsupported",
        f"{name} is not a segmentation network that the engine can use.",
        why,
        f"Use one of the kinds {', '.join(AUTO_CLASSES)}.",
    )
