"""Where the DeepV2D tests find the depth tests' scene."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "depth"))  # for scene.py
