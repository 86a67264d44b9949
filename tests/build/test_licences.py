"""docs/licences.md says the licence of everything that ships or is installed, in the versions that are installed."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import build

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "licences.md").read_text()


def test_every_locked_package_is_listed_with_its_versions_and_a_licence() -> None:
    rows = re.findall(r"^\| ([\w.-]+) \| ([^|]+) \| ([^|]*) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    listed = {(name, version) for name, versions, _, _ in rows for version in versions.split(", ")}
    locked = set()
    for path in build.LOCKED.glob("*.txt"):
        locked |= set(re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE))
    assert listed - {("package", "version")} == locked, "run scripts/list_licences.py"
    assert [name for name, _, licence, _ in rows if not licence.strip()] == []


def test_every_network_that_ships_and_the_sample_are_listed() -> None:
    found = sorted((ROOT / "engine").rglob("*.safetensors"))
    assert found
    for path in found:
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        assert f"| `{path.relative_to(ROOT).as_posix()}` | {header['__metadata__']['licence']} |" in PAGE
    assert "CC0" in (ROOT / "sample" / "README.md").read_text()
    assert "| `sample/` " in PAGE and "| CC0-1.0 |" in PAGE


def test_no_package_forbids_what_the_gpl_allows() -> None:
    compatible = ("MIT", "BSD", "Apache", "ISC", "MPL-2.0", "PSF", "CNRI", "GPL-3.0", "0BSD", "Zlib", "CC0", "BSL-1.0")
    rows = re.findall(r"^\| ([\w.-]+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    others = {name for name, licence, _ in rows if not any(word in licence for word in compatible)}
    assert {name for name in others - {"package", "---"} if not name.startswith(("nvidia-", "cuda-"))} == set()
