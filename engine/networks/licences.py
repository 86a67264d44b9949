"""Under which licence a model's weights may be used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

UNKNOWN = "unknown"

# Everything that is not here needs the user's switch: an unknown licence allows nothing.
COMMERCIAL = {
    "0bsd",
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc0-1.0",
    "isc",
    "mit",
    "unlicense",
}

# As published on the models' pages. The metric Small networks carry no tag: their authors put all Small weights under
# Apache-2.0 and all larger ones under CC-BY-NC-4.0 (README of DepthAnything/Depth-Anything-V2).
_PUBLISHED = {
    "apple/DepthPro-hf": "apple-amlr",
    "depth-anything/Depth-Anything-V2-Small-hf": "Apache-2.0",
    "depth-anything/Depth-Anything-V2-Base-hf": "CC-BY-NC-4.0",
    "depth-anything/Depth-Anything-V2-Large-hf": "CC-BY-NC-4.0",
    "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf": "Apache-2.0",
    "depth-anything/Depth-Anything-V2-Metric-Indoor-Base-hf": "CC-BY-NC-4.0",
    "depth-anything/Depth-Anything-V2-Metric-Indoor-Large-hf": "CC-BY-NC-4.0",
    "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf": "Apache-2.0",
    "depth-anything/Depth-Anything-V2-Metric-Outdoor-Base-hf": "CC-BY-NC-4.0",
    "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf": "CC-BY-NC-4.0",
    "LiheYoung/depth-anything-small-hf": "Apache-2.0",
    "LiheYoung/depth-anything-base-hf": "Apache-2.0",
    "LiheYoung/depth-anything-large-hf": "Apache-2.0",
    "Intel/dpt-large": "Apache-2.0",
    "Intel/dpt-hybrid-midas": "Apache-2.0",
    "Intel/dpt-beit-base-384": "MIT",
    "Intel/dpt-beit-large-384": "MIT",
    "Intel/dpt-beit-large-512": "MIT",
    "Intel/dpt-swinv2-tiny-256": "MIT",
    "Intel/dpt-swinv2-base-384": "MIT",
    "Intel/dpt-swinv2-large-384": "MIT",
    "Intel/zoedepth-nyu": "MIT",
    "Intel/zoedepth-kitti": "MIT",
    "Intel/zoedepth-nyu-kitti": "MIT",
}
KNOWN_MODELS = tuple(_PUBLISHED)


def licence_of(folder: Path, repository: str | None, config: dict[str, Any]) -> str:
    """Licence of the weights in a model folder.

    The model card says it; without one (a cache that only holds what was loaded) the repository the folder comes from
    does; without that the architecture, where only one publisher has trained it.

    Args:
        folder: a model folder.
        repository: `owner/name` where it is known.
        config: its `config.json`.

    Returns:
        The licence, `UNKNOWN` when nothing says.
    """
    origin = repository or str(config.get("_name_or_path", ""))
    return _of_card(folder / "README.md") or _PUBLISHED.get(origin) or _of_architecture(config)


def is_non_commercial(licence: str) -> bool:
    """The licence excludes commercial work, or is not known to allow it."""
    return licence.lower() not in COMMERCIAL


def _of_card(path: Path) -> str | None:
    """`license` of a model card's front matter; the name behind it where it says "other"."""
    try:
        parts = path.read_text(encoding="utf-8", errors="replace").split("---", 2)
    except OSError:
        return None
    if len(parts) < 3 or parts[0].strip():
        return None
    fields = dict(re.findall(r"^(license|license_name):[ \t]*[\"']?([^\s\"'#]+)", parts[1], re.MULTILINE))
    licence = fields.get("license")
    return fields.get("license_name", licence) if licence == "other" else licence


def _of_architecture(config: dict[str, Any]) -> str:
    kind = config.get("model_type")
    if kind == "depth_anything":
        return "Apache-2.0" if config.get("reassemble_hidden_size", 384) == 384 else "CC-BY-NC-4.0"
    return {"depth_pro": "apple-amlr", "zoedepth": "MIT"}.get(str(kind), UNKNOWN)
