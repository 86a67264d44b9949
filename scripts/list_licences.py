"""Write docs/licences.md: every package that is installed, every network and the sample, each with its licence.

Run it in the engine's environment after `python3 build.py lock`. What a package says of itself is read where it is
installed (in any environment under `.venvs/`); what is not installed on this computer keeps what the page says already,
or is in `TOLD` below. `tests/build/test_licences.py` fails while anything is missing.
"""

from __future__ import annotations

import importlib.metadata
import io
import re
import sys
from pathlib import Path

from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
sys.path.insert(0, str(ROOT))

import build  # noqa: E402 - the folder above is no package
from engine.networks.licences import _PUBLISHED  # noqa: E402 - as above

NVIDIA = "NVIDIA's own (LicenseRef-NVIDIA-Proprietary)"
# What says nothing of itself in a form that can be read, or is for other systems than this page was made on.
TOLD = {
    "av": "BSD-3-Clause (its FFmpeg: LGPL-3.0-or-later; x264, x265: GPL-2.0-or-later)",
    "colorama": "BSD-3-Clause",
    "grimp": "BSD-2-Clause",
    "import-linter": "BSD-2-Clause",
    "cuda-bindings": "Apache-2.0",
    "cuda-pathfinder": "Apache-2.0",
    "cuda-toolkit": NVIDIA,
    "cython": "Apache-2.0",
    "jinja2": "BSD-3-Clause",
    "nvidia-nccl-cu13": "BSD-3-Clause",
    "nvidia-nvtx": "Apache-2.0",
    "openexr": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "mpmath": "BSD-3-Clause",
    "sympy": "BSD-3-Clause",
    "triton": "MIT",
    "transformers": "Apache-2.0",
    "opencv-python": "Apache-2.0 (its FFmpeg: LGPL-2.1-or-later)",
    "bpy": "GPL-3.0-or-later",
    "uv": "MIT OR Apache-2.0",
}
SAME = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def locked() -> dict[str, tuple[list[str], set[str]]]:
    """Name of each package -> its versions, and which environments have it."""
    found: dict[str, tuple[list[str], set[str]]] = {}
    files = [(environment.name, environment.locked) for environment in (*build.ENVIRONMENTS.values(), build.LOCK)]
    for where, path in [*files, ("engine, with CUDA", build.CUDA), ("engine", build.CPU)]:
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            versions, wheres = found.setdefault(name.lower(), ([], set()))
            wheres.add(where)
            if version not in versions:
                versions.append(version)
    return found


def told_by_packages() -> dict[str, str]:
    """Name of each package that is installed somewhere here -> the licence that its metadata names."""
    folders = [str(path) for path in build.VENVS.glob("*/lib/python*/site-packages")]
    folders += [str(path) for path in build.VENVS.glob("*/Lib/site-packages")]
    found = {}
    for package in importlib.metadata.distributions(path=folders):
        fields = package.metadata
        classes = [c.split("::")[-1].strip() for c in fields.get_all("Classifier") or [] if c.startswith("License")]
        words = (fields.get_all("License-Expression") or classes or fields.get_all("License") or [""])[0]
        if words:
            found[fields["Name"].lower().replace("_", "-")] = SAME.get(words.strip(), words.strip())
    return found


def told_by_page() -> dict[str, str]:
    """What the page says already."""
    if not PAGE.is_file():
        return {}
    rows = re.findall(r"^\| ([\w.-]+) \| [^|]+ \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


def main() -> int:
    """Write the page. Returns 1 where a licence is missing."""
    known = {**told_by_page(), **told_by_packages(), **TOLD}
    missing, lines = [], []
    for name, (versions, wheres) in sorted(locked().items()):
        licence = known.get(name) or (NVIDIA if name.startswith("nvidia-") else "")
        if not licence:
            missing.append(name)
        lines.append(f"| {name} | {', '.join(versions)} | {licence} | {', '.join(sorted(wheres))} |")
    networks = []
    for path in sorted((ROOT / "engine").rglob("*.safetensors")):
        with safe_open(path, "np") as file:
            licence = file.metadata()["licence"]
        networks.append(f"| `{path.relative_to(ROOT).as_posix()}` | {licence} |")
    models = [f"| {name} | {licence} |" for name, licence in sorted(_PUBLISHED.items(), key=lambda m: m[0].lower())]
    PAGE.write_text(
        "\n".join(
            [
                "# Licences",
                "",
                "Made by `scripts/list_licences.py`; a test fails when it is out of date.",
                "",
                "The engine and the add-on are GPL-3.0-or-later ([LICENSE](../LICENSE)). What a solve makes of your"
                " footage is yours.",
                "",
                "## What ships",
                "",
                "| what | licence |",
                "|---|---|",
                "| engine, add-on, scripts, tests | GPL-3.0-or-later |",
                *networks,
                "| `sample/` (clip, depth and truth; see [its page](../sample/README.md)) | CC0-1.0 |",
                "",
                "The weights were trained on scenes that `training/` makes by itself; no foreign picture is in them.",
                "",
                "## What is installed beside it",
                "",
                "Nothing of it is in the extension's zip. `requirements/locked/` has the hashes.",
                "",
                "| package | version | licence | environment |",
                "|---|---|---|---|",
                *lines,
                "",
                "## Networks that you may add",
                "",
                "None is downloaded by itself. Those whose licence excludes commercial work need a switch"
                " ([priors](priors.md)); for others the model card says it.",
                "",
                "| network | licence of its weights |",
                "|---|---|",
                *models,
                "",
            ]
        ),
        encoding="utf-8",
    )
    for name in missing:
        print(f"no licence is known for {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are in every script
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
