"""Networks of Hugging Face `transformers` that the user has: found and loaded, never downloaded.

`transformers` is optional (requirements/priors.txt). Only safetensors are opened: they hold numbers and no code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.errors import CvdError
from engine.files import read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
INSTALL = "Install it into the engine's environment: `python -m pip install -r requirements/priors.txt`."

_MOST_PIXELS = 1 << 14
"""A side of a network's input, beyond which no network sees."""

# The first fusion step of DPT-like networks has one input; what would join the second is in no published file.
_NEVER_USED = ("fusion_stage.layers.0.residual_layer1.",)

Failure = Callable[[str, str, str, str], CvdError]  # (reason, what, why, fix) to the caller's own kind of error


def is_installed() -> bool:
    """`transformers` is in the engine's environment."""
    return all(importlib.util.find_spec(name) is not None for name in ("transformers", "huggingface_hub"))


def in_cache(repository: str) -> Path | None:
    """Folder of `owner/name` in the user's Hugging Face cache, complete or not; None where there is none."""
    if not is_installed():
        return None
    _stay_offline()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, CONFIG)
    except HFValidationError:  # not a name that a repository can have
        return None
    return Path(found).parent if isinstance(found, str) else None


def repository_of(folder: Path) -> str | None:
    """`owner/name` of a folder inside a Hugging Face cache (`models--owner--name/snapshots/<commit>`)."""
    home = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not home.startswith("models--"):
        return None
    return home.removeprefix("models--").replace("--", "/")


def missing_files(folder: Path) -> list[str]:
    """Names of the files that a model folder lacks; a link that leads nowhere counts as missing."""
    wanted = [CONFIG, PREPROCESSOR]
    if (folder / INDEX).is_file():
        wanted += _shards(folder / INDEX)
    else:
        wanted.append(WEIGHTS)
    return [name for name in wanted if not (folder / name).is_file()]


def _shards(index: Path) -> list[str]:
    """The files that an index names; the index itself where it does not say: it counts as missing then."""
    try:
        names = read_json(index)["weight_map"].values()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        names = None
    if names is None or not all(isinstance(name, str) and Path(name).name == name for name in names):
        return [f"{INDEX} with a weight_map of file names"]
    return sorted(set(names))


def find_model(name: str, failure: Failure) -> Path:
    """The complete model folder that `name` means.

    Args:
        name: path of a model folder, or `owner/name` of a model in the user's cache.
        failure: makes the error, from `no_transformers`, `not_found`, `pickle`, `incomplete`.

    Raises:
        CvdError: what `failure` makes.
    """
    if not is_installed():
        raise failure(
            "no_transformers",
            f"{name} cannot be used: the Python package transformers is not installed.",
            "It is optional, since it is only needed for networks of one's own choice.",
            INSTALL,
        )
    folder = Path(name) if Path(name).is_dir() else in_cache(name)
    if folder is None:
        raise failure(
            "not_found",
            f"There is no model {name}.",
            "It is neither a folder on this computer nor in the Hugging Face cache of this user, and nothing is "
            "downloaded during a solve.",
            f"Get it with `hf download {name}`, or give the path of a folder that holds it.",
        )
    missing = missing_files(folder)
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if WEIGHTS in missing and pickled:
        raise failure(
            "pickle",
            f"The model {name} is not opened, because its weights are stored as pickle ({pickled[0]}).",
            "A pickle can run any program when it is opened.",
            "Get the model as safetensors; most publishers have both.",
        )
    if missing:
        raise failure(
            "incomplete",
            f"The model {name} is not complete.",
            f"{', '.join(missing)} is missing in {folder}.",
            f"Get the whole of it, for example with `hf download {name}`.",
        )
    return folder


def content_of(folder: Path) -> str:
    """Hash of everything that decides what the network computes."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted([folder / CONFIG, folder / PREPROCESSOR, *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, hashlib.blake2b).digest())
    return digest.hexdigest()


def read_settings(path: Path, failure: Failure) -> dict[str, Any]:
    """A JSON file of a model folder.

    Raises:
        CvdError: what `failure` makes of the reason `damaged`.
    """
    try:
        document: dict[str, Any] = read_json(path)
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise failure("damaged", f"{path} is damaged.", f"{error}.", "Get the model again.") from error
    return document


def whole(settings: dict[str, Any], name: str, absent: int) -> int:
    """A positive number of pixels of a processor's settings, `absent` where there is none.

    Raises:
        ValueError: it is something else.
    """
    value = settings.get(name) or absent
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_PIXELS:
        raise ValueError(f"{name} is {str(value)[:80]}")
    return value


def factors(settings: dict[str, Any], name: str, absent: float | list[float], count: int) -> list[float]:
    """So many numbers of a processor's settings: a list of them, or one for all.

    Raises:
        ValueError: it is something else.
    """
    value = settings.get(name, absent)
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count or not all(type(each) in (int, float) for each in values):
        raise ValueError(f"{name} is {str(value)[:80]}")
    return [float(each) for each in values]


def load_model(
    auto_class: str, folder: Path, device: torch.device, failure: Failure, **settings: Any
) -> torch.nn.Module:
    """Load a network for inference from a complete model folder, with no code from it and without the network.

    Args:
        auto_class: such as `AutoModelForDepthEstimation`.
        folder: see `find_model`.
        device: where it shall compute.
        failure: makes the error, with the reason `damaged`.
        settings: override its configuration.

    Raises:
        CvdError: what `failure` makes.
    """
    _stay_offline()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    fix = (
        "Get the model again; if it loads in its publisher's own example only, it is not for this transformers version."
    )
    try:
        network, info = getattr(transformers, auto_class).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
            **settings,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # transformers raises whatever comes where a configuration holds what none should
        raise failure(
            "damaged", f"The model in {folder} cannot be loaded.", f"{type(error).__name__}: {str(error)[:500]}", fix
        ) from error
    # transformers fills gaps with random numbers and only warns.
    random = [key for key in info["missing_keys"] if not any(part in key for part in _NEVER_USED)]
    if random:
        some = ", ".join(sorted(random)[:3])
        raise failure("damaged", f"The model in {folder} lacks {len(random)} of its weights.", f"Such as {some}.", fix)
    loaded: torch.nn.Module = network.to(device).eval()
    return loaded


def _stay_offline() -> None:
    """Read before either package is imported; paths are local anyway, this also keeps their update checks quiet."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
