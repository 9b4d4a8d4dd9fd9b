"""Speed against what people would use instead: `python -m benchmarks [NAME ...]` runs it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import ulna.networks  # noqa: E402, F401  # it sets Keras' backend before Keras is imported
