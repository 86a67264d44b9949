"""Where the masks' tests find their scenes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for moving_scene.py
sys.path.insert(0, str(Path(__file__).parents[1] / "poses"))  # for walk_scene.py
