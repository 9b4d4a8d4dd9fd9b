"""Stages run as `python -m stages.NAME` and import ulna from the src/ beside this folder.

An experiment of DVC's queue runs in a copy of the repository: it must run its own source, whatever
version of ulna is installed or lies in the working copy.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
