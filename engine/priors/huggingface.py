"""Single-image depth networks of Hugging Face `transformers`: DPT/MiDaS, Depth Anything, ZoeDepth, Depth Pro."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.work import WorkClip
from engine.errors import PriorError
from engine.geometry.arrays import Lens
from engine.networks.licences import KNOWN_MODELS, is_non_commercial, licence_of
from engine.networks.pretrained import (
    CONFIG,
    PREPROCESSOR,
    content_of,
    find_model,
    in_cache,
    load_model,
    missing_files,
    read_settings,
    repository_of,
)
from engine.priors import pictures
from engine.priors.source import Output, Predict, Source, half_size

DEFAULT = "depth-anything/Depth-Anything-V2-Small-hf"
LEAST_INVERSE, MOST_INVERSE = 1e-4, 1e4  # 1/m: Depth Pro's own limits


@dataclass(frozen=True)
class Family:
    """How one architecture is fed and read.

    Attributes:
        prepare: pictures in, see `pictures`.
        bring_back: prediction (1, 1, h', w') to half the work grid, given the picture's and the half grid's sizes.
        settings: override the network's configuration.
    """

    prepare: Callable[[torch.Tensor, pictures.Preprocessing], torch.Tensor]
    bring_back: Callable[[torch.Tensor, pictures.Preprocessing, pictures.Size, pictures.Size], torch.Tensor]
    settings: dict[str, Any]


_PLAIN = Family(pictures.resized, pictures.plainly_back, {})
FAMILIES = {
    "dpt": _PLAIN,
    "depth_anything": _PLAIN,
    "zoedepth": Family(pictures.padded_and_resized, pictures.unpadded_back, {}),
    # Its second network guesses the field of view, which the solved cameras know better: not even loaded.
    "depth_pro": Family(pictures.normalised_then_resized, pictures.plainly_back, {"use_fov_model": False}),
}


def network(name: str) -> Source:
    """The network in a model folder, or of a name in the user's cache.

    Raises:
        PriorError: `prior.no_transformers`, `.not_found`, `.incomplete`, `.pickle` or `.unsupported`.
    """
    folder = find_model(name, _failure)
    config, settings = read_settings(folder / CONFIG, _failure), read_settings(folder / PREPROCESSOR, _failure)
    kind = str(config.get("model_type"))
    output = _output(config, name)
    try:
        preprocessing = pictures.Preprocessing.of(settings)
    except ValueError as error:
        raise _unsupported(name, f"Its {PREPROCESSOR} says: {error}.") from error
    repository = repository_of(folder)
    licence = licence_of(folder, repository, config)

    def open_network(clip: WorkClip, _plate: Lens, device: torch.device) -> Predict:
        family = FAMILIES[kind]
        model = load_model("AutoModelForDepthEstimation", folder, device, _failure, **family.settings)
        work, half = (clip.images.shape[1], clip.images.shape[2]), half_size(clip)

        @torch.inference_mode()
        def predict(row: int) -> NDArray[np.float32]:
            picture = torch.from_numpy(clip.images[row]).to(device).permute(2, 0, 1)[None].float()
            raw = model(pixel_values=family.prepare(picture, preprocessing)).predicted_depth[:, None]
            values = family.bring_back(raw, preprocessing, work, half)[0, 0]
            if kind == "depth_pro":
                values = depth_from_canonical(values, clip.lens)
            result: NDArray[np.float32] = values.cpu().numpy()
            return result

        return predict

    shown = repository or folder.resolve().name
    return Source(shown, licence, is_non_commercial(licence), output, f"network {content_of(folder)}", open_network)


def is_ready(repository: str) -> bool:
    """A model is complete in the user's cache, and `transformers` is there to run it."""
    folder = in_cache(repository)
    return folder is not None and not missing_files(folder)


def ready_models() -> list[str]:
    """Names of the known depth models that are complete in the user's cache."""
    return [name for name in KNOWN_MODELS if is_ready(name)]


def depth_from_canonical(inverse: torch.Tensor, lens: Lens) -> torch.Tensor:
    """Metres from Depth Pro's canonical inverse depth C (Bochkovskii et al. 2024, eq. 1: D = f / (w C)).

    Args:
        inverse: C of any shape.
        lens: the solved pinhole; f and w are its focal length and width. The network's own guess of f is not used.
    """
    return 1.0 / (inverse * (lens.width / lens.fx)).clamp(LEAST_INVERSE, MOST_INVERSE)


def _output(config: dict[str, Any], name: str) -> Output:
    kind = config.get("model_type")
    if kind == "depth_anything":
        return "metric" if config.get("depth_estimation_type", "relative") == "metric" else "disparity"
    if kind == "dpt":
        # DPT on DINOv2 was trained on depth of single data sets, and nothing in its files says in which unit.
        backbone = config.get("backbone_config")
        if isinstance(backbone, dict) and backbone.get("model_type") == "dinov2":
            raise _unsupported(name, "It is a DPT network on DINOv2, whose files do not say what its values mean.")
        return "disparity"
    if kind in ("zoedepth", "depth_pro"):
        return "metric"
    raise _unsupported(name, f"Its {CONFIG} says model_type {kind!r}.")


def _failure(reason: str, what: str, why: str, fix: str) -> PriorError:
    return PriorError(f"prior.{reason}", what, why, fix)


def _unsupported(name: str, why: str) -> PriorError:
    return _failure(
        "unsupported",
        f"{name} is not a depth network that the engine can use.",
        why,
        f"Use one of the kinds {', '.join(FAMILIES)}; docs/priors.md lists models.",
    )
