"""The cache: every image decoded and letterboxed once, one memory-mapped file per body part.

It holds `{BODY_PART}.npy` with one square per image of that part, in the order of the prepared
table; `images.csv` with the measurements; `rejected.csv` with the images that could not be used. It
depends neither on the splits nor on the number of processes that made it.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ulna.core import InputError, cores, first_ten
from ulna.core.io import atomic_directory, require_free_space, write_csv
from ulna.core.progress import progress
from ulna.core.stage import process_map
from ulna.data import Cache, Fit
from ulna.data.images import Measurements, decode, letterbox, measure
from ulna.data.source import image_reader

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

# Starting processes takes about a second, in which one process caches some 450 images of MURA: two
# gain from twice as many on.
PROCESSES_FROM = 1000
# A batch takes some 40 ms: small enough to share out evenly, large enough to hide the hand-over.
BATCH = 16
# Larger than the buffers of an image of MURA's size, see `_keep_freed_memory`.
FREED_BYTES = 16 * 2**20

Job = tuple[str, Path, int]  # image, file of its body part, position in bytes


def load_cache(folder: Path) -> Cache:
    """Open the cache; arrays are read from disk as they are used.

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
    if (rows := sum(map(len, arrays.values()))) != len(images) + len(rejected):
        raise _unsound(
            folder,
            f"has arrays of {rows} rows, but lists {len(images)} cached and {len(rejected)} "
            "rejected images",
        )
    for part, in_part in images.groupby("body_part")["row"]:
        if not in_part.is_unique or not in_part.between(0, len(arrays[part]) - 1).all():
            raise _unsound(folder / IMAGES, f"lists rows of {part} twice or outside its array")
    return Cache(images, rejected, arrays)


def build_cache(
    images: pd.DataFrame,
    root: Path,
    folder: Path,
    size_px: int,
    fit: Fit,
    max_bad_fraction: float,
    max_megapixels: float,
    workers: int | None = None,
) -> pd.DataFrame:
    """Decode and letterbox every image into a folder that appears whole or not at all.

    Args:
        images: One row per image: image (path in the data set), body_part.
        root: The data set, a folder or .zip.
        folder: The cache to write or replace.
        size_px: Side of the squares.
        fit: See `ulna.data.images.content_box`.
        max_bad_fraction: Share of the images that may be rejected, 0 to 1.
        max_megapixels: Larger images are rejected.
        workers: Processes; by default one for few images, else one per core. The bytes do not
            depend on it.

    Returns:
        The rejected images: image, reason.

    Raises:
        InputError: More images are rejected than `max_bad_fraction` allows, or the disk has too
            little free space. The old cache stays.
    """
    what = f"the cache of {len(images):,} images of {size_px} x {size_px} pixels"
    require_free_space(folder, len(images) * size_px**2, what)
    images = images.assign(row=images.groupby("body_part").cumcount())
    with atomic_directory(folder) as target:
        jobs = _allocate(images, target, size_px)
        workers = workers or (cores() if len(jobs) >= PROCESSES_FROM else 1)
        make = partial(_make_worker, root, size_px, fit, max_megapixels)
        work = process_map(make, jobs, workers, BATCH)
        results = list(progress(work, len(jobs), "preprocess"))
        bad = np.array([isinstance(result, str) for result in results], bool)
        reasons = [result for result in results if isinstance(result, str)]
        rejected = images.loc[bad, ["image"]].assign(reason=np.array(reasons, object))
        _check_rejected(rejected, len(images), max_bad_fraction)
        cached = images.loc[~bad, ["image", "body_part", "row"]].reset_index(drop=True)
        measured = [asdict(result) for result in results if isinstance(result, Measurements)]
        write_csv(target / IMAGES, cached.join(pd.DataFrame(measured, columns=list(COLUMNS)[3:])))
        write_csv(target / REJECTED, rejected)
    return rejected.reset_index(drop=True)


def _allocate(images: pd.DataFrame, folder: Path, size_px: int) -> list[Job]:
    """Make the arrays, all black, and the jobs that fill them."""
    starts = {}
    for part, count in images.groupby("body_part").size().items():
        file, shape = folder / f"{part}.npy", (count, size_px, size_px)
        starts[part] = np.lib.format.open_memmap(file, "w+", dtype=np.uint8, shape=shape).offset
    return [
        (image, folder / f"{part}.npy", starts[part] + row * size_px**2)
        for image, part, row in images[["image", "body_part", "row"]].itertuples(index=False)
    ]


def _make_worker(
    root: Path, size_px: int, fit: Fit, max_megapixels: float
) -> Callable[[Job], Measurements | str]:
    """Return a function that caches an image: its measurements, or the reason to reject it."""
    read = image_reader(root)
    _keep_freed_memory()

    def cache_image(job: Job) -> Measurements | str:
        image, path, position = job
        try:
            decoded = decode(read(image), max_megapixels)
        except InputError as error:
            # The table is the same wherever the data set lies.
            return str(error).replace(str(root), "data.root") if root.is_absolute() else str(error)
        square = letterbox(decoded.pixels, size_px, fit)
        # Through a memory map, a full disk would kill the process (SIGBUS) instead of raising, and
        # its resident memory would grow with the number of images.
        with path.open("r+b") as file:
            file.seek(position)
            file.write(square.tobytes())
        return measure(decoded)

    return cache_image


def _keep_freed_memory() -> None:
    # The C library of Linux gives blocks of over 128 KB back to the system as they are freed, and
    # every image then takes 170 page faults, 8% of its time. It keeps blocks of up to the largest
    # that it has seen freed, and twice as much in all (mallopt(3), M_MMAP_THRESHOLD: "Nowadays,
    # glibc uses a dynamic mmap threshold"). Elsewhere this does nothing.
    bytes(FREED_BYTES)


def _check_rejected(rejected: pd.DataFrame, total: int, max_bad_fraction: float) -> None:
    count = len(rejected)
    if count and count / total > max_bad_fraction:
        raise InputError(
            f"{count} of {total} images cannot be used ({count / total:.1%}), but "
            f"image.max_bad_fraction allows {max_bad_fraction:.1%}: correct the files or raise the "
            f"limit\n{first_ten((rejected['image'] + ': ' + rejected['reason']).to_list())}"
        )


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
