"""Where the depth tests find their scene."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for scene.py
