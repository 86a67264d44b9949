"""What `pip install .` needs beside the engine: the versions of `requirements/`, which are stated there alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class RequirementsHook(MetadataHookInterface):
    """Hatchling asks it for the dependencies."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in what pyproject.toml calls dynamic."""
        metadata["dependencies"] = self._pinned("engine.txt")
        metadata["optional-dependencies"] = {"priors": self._pinned("priors.txt")}

    def _pinned(self, name: str) -> list[str]:
        lines = Path(self.root, "requirements", name).read_text(encoding="utf-8").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
