"""A small data set with two bad images, for the tests of the cache."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as Pillow
from PIL import PngImagePlugin

from ulna.data.source import CSV_FILES

IMAGE = {"size_px": 32, "fit": "pad", "max_bad_fraction": 0.5, "max_megapixels": 1.0}

# Body parts take turns, so a row is not the place in the table.
NAMES = [
    f"train/XR_{part}/patient{number:05d}/study1_negative/image1.png"
    for number in range(1, 21)
    for part in (("WRIST", "ELBOW") if number % 2 else ("WRIST",))
]
BAD = {NAMES[3]: b"<html>404 Not Found</html>", NAMES[7]: b""}


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    text = PngImagePlugin.PngInfo()
    text.add_text("PatientName", "CANARY^JANE")
    Pillow.fromarray(pixels).save(stream, "PNG", pnginfo=text)
    return stream.getvalue()


def files() -> dict[str, bytes]:
    draw = np.random.default_rng(8)
    shapes = [(20 + 3 * k, 90 - 2 * k) for k in range(len(NAMES))]
    images = {
        name: png(draw.integers(1, 256, shape, np.uint8))
        for name, shape in zip(NAMES, shapes, strict=True)
    }
    return images | BAD


def write_root(root: Path) -> Path:
    for name, data in files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    for name in CSV_FILES:
        (root / name).touch()
    return root


def table() -> pd.DataFrame:
    parts = [name.split("/")[1].removeprefix("XR_") for name in NAMES]
    return pd.DataFrame({"image": NAMES, "body_part": parts, "label": 0})


def content(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }
