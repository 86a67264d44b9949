"""Shared scene: importing a helper module needs its folder on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
