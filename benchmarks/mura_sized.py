"""A data set of MURA's size, made in seconds: its counts and paths over a few hundred pictures.

Pictures are phantoms brought to MURA's size, with noise, so that their PNG files are as large as
MURA's (82 KB) and as hard to decode. Every image of the data set is a hard link to one of them, or
an entry of a .zip.
"""

import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ulna.phantom.tree import draw_view, plan_studies, plan_views

ROOT = Path(__file__).resolve().parents[1]
# The tests know how the official files look; they are found once the folder is on the path.
sys.path.insert(0, str(ROOT / "tests"))
from mura_tree import image_names, official_studies, tables  # noqa: E402

__all__ = ["csv_files", "image_names", "write_folder", "write_pictures", "write_zip"]

LONG_PX, SHORT_PX = 512, 400
NOISE_SD = 1.0  # grey levels; 0 gives files of 49 KB
VIEWS = 50  # drawn; each gives several pictures by its noise
MURA_IMAGES = 40_005


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Write grey PNG files of 512 x 400 pixels, no two alike.

    Args:
        folder: Where to; it is made.
        count: How many.

    Returns:
        The files.
    """
    folder.mkdir(parents=True)
    views = [v for v in plan_views(plan_studies(1, patients=60), seed=1) if v.quality == "ok"]
    drawn = [draw_view(view, seed=1)[0] for view in views[: min(count, VIEWS)]]
    draw = np.random.default_rng(1)
    files = []
    for number in range(count):
        picture = Image.fromarray(drawn[number % len(drawn)])
        upright = picture.height >= picture.width
        size = (SHORT_PX, LONG_PX) if upright else (LONG_PX, SHORT_PX)
        levels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), np.float32)
        noise = draw.standard_normal(levels.shape, np.float32) * NOISE_SD
        files.append(folder / f"{number:04}.png")
        Image.fromarray(np.clip(levels + noise, 0, 255).astype(np.uint8)).save(files[-1])
    return files


def csv_files(images: int) -> dict[str, str]:
    """The four CSV files of MURA's studies, or of an even choice of them.

    Args:
        images: How many there shall be, or a few more.

    Returns:
        Name -> text.
    """
    studies = official_studies()
    # Every n-th of the list, which is sorted by split, body part and label: the shares stay.
    chosen = [
        study
        for number, study in enumerate(studies)
        if number * images // MURA_IMAGES != (number - 1) * images // MURA_IMAGES
    ]
    return tables(studies if images >= MURA_IMAGES else chosen)


def write_folder(root: Path, images: int, pictures: Sequence[Path]) -> Path:
    """Write a data set as a folder; each image is a hard link to one of the pictures."""
    root.mkdir(parents=True)
    texts = csv_files(images)
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    made: set[Path] = set()
    for number, name in enumerate(image_names(texts)):
        file = root / name
        if file.parent not in made:
            file.parent.mkdir(parents=True)
            made.add(file.parent)
        os.link(pictures[number % len(pictures)], file)
    return root


def write_zip(path: Path, images: int, pictures: Sequence[Path]) -> Path:
    """Write a data set as a .zip of stored entries: PNG files are compressed already."""
    texts = csv_files(images)
    contents = [picture.read_bytes() for picture in pictures]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, text in texts.items():
            archive.writestr(f"MURA-v1.1/{name}", text)
        for number, name in enumerate(image_names(texts)):
            archive.writestr(f"MURA-v1.1/{name}", contents[number % len(contents)])
    return path
