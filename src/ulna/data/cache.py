"""The cache: every image as a uint8 square, one memory-mapped file a body part.

It holds `{BODY_PART}.npy` with one square an image of that part; `images.csv` with what was
measured; `rejected.csv` with what could not be used. `ulna.data.cache_writer` makes it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.errors import InputError

IMAGES = "images.csv"
REJECTED = "rejected.csv"
COLUMNS = {
    "image": str,
    "body_part": str,
    "row": "int64",
    "mode": str,
    "bit_depth": "int64",
    "width_px": "int64",
    "height_px": "int64",
    "mean": "float64",
    "pixel_sha256": str,
}


@dataclass(frozen=True)
class Cache:
    """The cached images.

    Attributes:
        images: The content of `images.csv`: image, body_part, row and the columns of
            `ulna.data.images.Measurements`. Images set aside are not in it.
        rejected: The content of `rejected.csv`: image, reason.
        arrays: Body part -> (images, size_px, size_px) uint8, read-only and memory-mapped. The row
            of an image that was set aside is black.
    """

    images: pd.DataFrame
    rejected: pd.DataFrame
    arrays: dict[str, np.memmap]

    @property
    def size_px(self) -> int:
        """Side of the square images."""
        return int(next(iter(self.arrays.values())).shape[1])


def load_cache(folder: Path) -> Cache:
    """Open the cache; arrays are read from disk as they are used.

    Args:
        folder: What `ulna.data.cache_writer.build_cache` made.

    Returns:
        Its table and arrays.

    Raises:
        InputError: A file is missing or damaged, or the table and the arrays disagree.
    """
    images = _read_table(folder / IMAGES, COLUMNS)
    rejected = _read_table(folder / REJECTED, {"image": str, "reason": str})
    arrays = {path.stem: _open_array(path) for path in sorted(folder.glob("*.npy"))}
    missing = sorted(set(images["body_part"]) - set(arrays))
    if missing:
        raise _unsound(folder / f"{missing[0]}.npy", "is missing")
    if not arrays:
        raise _unsound(folder, "holds no images")
    if len({array.shape[1:] for array in arrays.values()}) > 1:
        raise _unsound(folder, "holds images of different sizes")
    places = sum(len(array) for array in arrays.values())
    if places != len(images) + len(rejected):
        raise _unsound(
            folder,
            f"has places for {places} images, but lists {len(images)} cached and "
            f"{len(rejected)} set aside",
        )
    for part, rows in images.groupby("body_part")["row"]:
        if not rows.is_unique or rows.min() < 0 or rows.max() >= len(arrays[part]):
            raise _unsound(folder / IMAGES, f"lists rows of {part} twice or outside its array")
    return Cache(images, rejected, arrays)


def gather(
    cache: Cache, body_parts: npt.NDArray[np.object_], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Copy images into memory.

    Args:
        cache: The cached images.
        body_parts: (images,) text.
        rows: (images,) integers, the row in the body part's array.

    Returns:
        (images, size_px, size_px) uint8, in the order asked for.

    Raises:
        InputError: The cache holds no such body part.
    """
    unknown = sorted(set(body_parts) - set(cache.arrays))
    if unknown:
        raise InputError(
            f"the cache holds no {unknown[0]}, only {', '.join(cache.arrays)}: "
            "run `dvc repro preprocess`"
        )
    shape = next(iter(cache.arrays.values())).shape[1:]
    pixels = np.empty((len(rows), *shape), np.uint8)
    for part in set(body_parts):
        chosen = body_parts == part
        pixels[chosen] = cache.arrays[part][rows[chosen]]
    return pixels


def _read_table(path: Path, columns: dict[str, object]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=columns, keep_default_na=False)
    except FileNotFoundError:
        raise _unsound(path, "is missing") from None
    except (ValueError, OverflowError) as error:
        raise _unsound(path, f"is damaged ({error})") from None
    if list(table.columns) != list(columns):
        raise _unsound(path, f"has the columns {', '.join(table)}, expected {', '.join(columns)}")
    if not table["image"].is_unique:
        raise _unsound(path, "lists an image twice")
    return table


def _open_array(path: Path) -> np.memmap:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError) as error:
        raise _unsound(path, f"is damaged ({error})") from None
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[1] != array.shape[2]:
        raise _unsound(
            path, f"holds {array.dtype} of shape {array.shape}, expected uint8 (images, side, side)"
        )
    if path.stat().st_size != array.offset + array.size:
        raise _unsound(path, "is longer than its header says")
    return array


def _unsound(path: Path, fault: str) -> InputError:
    return InputError(f"{path} {fault}: run `dvc repro preprocess`")


def pixels_of(cache: Cache, images: pd.DataFrame) -> npt.NDArray[np.uint8]:
    """The pictures of a table with body_part and row, (images, size_px, size_px) uint8."""
    return gather(cache, images["body_part"].to_numpy(object), images["row"].to_numpy())
