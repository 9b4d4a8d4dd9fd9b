"""Imported in place of `src/ulna` by a stage that is run as a file: tells how to run it."""

import sys
from pathlib import Path

_stage = Path(sys.argv[0]).stem
raise SystemExit(f"run it in the root of the repository, as a module: python -m stages.{_stage}")
