"""From files to cached pixels: index, splits, decoding, the cache that networks read from."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ulna.core import InputError

if TYPE_CHECKING:  # `ulna predict` does without
    import pandas as pd

# Columns of the two tables that `prepare` writes.
IMAGE_COLUMNS = ["image", "official_split", "body_part", "patient", "study", "label"]
SPLIT_COLUMNS = ["patient", "split"]
SPLITS = ("train", "val", "test")
# Of a table of findings: the corners of a box in pixels of the original, and a normal study's word.
BOX = ["x0", "y0", "x1", "y1"]
NO_FINDING = "none"

Fit = Literal["pad", "stretch"]  # of an image into its square, see `ulna.data.images.content_box`


@dataclass(frozen=True)
class Decoded:
    """An image at full size."""

    pixels: npt.NDArray[np.uint8]  # (height, width), 0 black to 255 white, the way up by EXIF
    # Pillow's name for the file's pixels (1, L, I;16, P, LA, RGB, RGBA, CMYK), or DICOM's
    # (MONOCHROME1, MONOCHROME2).
    mode: str
    # 1 for mode 1; for 16-bit files the bits in use, one of `ulna.data.images.BIT_DEPTHS`; for
    # DICOM its bits stored; else 8.
    bit_depth: int
    # The rest is known of DICOM alone.
    body_part: str | None = None  # one of `ulna.data.dicom.BODY_PARTS`, such as WRIST
    notes: tuple[str, ...] = ()  # codes: for_processing
    # Of the study's UID, by which files of one study find each other in memory: it points at a
    # person, so it is neither stored nor printed.
    study_key: str | None = field(default=None, repr=False)
    polarity_known: bool = False  # the file says whether its low values are black or white


@dataclass(frozen=True)
class Cache:
    """The cached images, see `ulna.data.cache`."""

    # Without rejected images: image, body_part, row, and `ulna.data.images.Measurements`.
    images: "pd.DataFrame"
    rejected: "pd.DataFrame"  # image, reason
    # Body part -> (images, size_px, size_px) uint8, read-only and memory-mapped. The row of a
    # rejected image is black.
    arrays: dict[str, np.memmap]

    @property
    def size_px(self) -> int:
        """Side of the square images."""
        return int(next(iter(self.arrays.values())).shape[1])

    def gather(
        self, body_parts: npt.NDArray[np.object_], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        """Copy images into memory: (images, size_px, size_px) uint8, in the order asked for.

        `rows` are those in the arrays of the body parts; a part that the cache lacks is an
        InputError.
        """
        unknown = sorted(set(body_parts) - set(self.arrays))
        if unknown:
            raise InputError(
                f"the cache holds no {unknown[0]}, only {', '.join(self.arrays)}: "
                "run `dvc repro preprocess`"
            )
        pixels = np.empty((len(rows), self.size_px, self.size_px), np.uint8)
        for part in set(body_parts):
            chosen = body_parts == part
            pixels[chosen] = self.arrays[part][rows[chosen]]
        return pixels

    def gather_samples(self, samples: "pd.DataFrame") -> npt.NDArray[np.uint8]:
        """Copy the images of a table with body_part and row: (images, size_px, size_px) uint8."""
        return self.gather(samples["body_part"].to_numpy(object), samples["row"].to_numpy())

    def squares(self, samples: "pd.DataFrame") -> Iterator[npt.NDArray[np.uint8]]:
        """The images of a table with body_part and row, (size_px, size_px) uint8, one at a time.

        Together they may not fit the memory: all of MURA at 320 pixels takes 4 GB.
        """
        for part, row in zip(samples["body_part"], samples["row"], strict=True):
            yield self.arrays[part][row]


@contextmanager
def damage_as_input_error() -> Iterator[None]:
    """Give every error of a decoder one message: its own quote bytes of the file or addresses.

    Nor do its warnings and log lines come out, which quote a DICOM header. An InputError passes.
    """
    try:
        with _SILENCE:
            yield
    except (MemoryError, InputError):
        # Memory is the machine's fault, not the file's: rejecting it would depend on the machine.
        raise
    except Exception:
        # Damaged files were seen to raise OSError, SyntaxError, ValueError, KeyError and others;
        # neither Pillow nor pydicom names a full list. Without the cause, which a traceback shows.
        raise InputError("damaged or cut off") from None


class _Silence:
    """Warnings and pydicom's log are off while any thread is inside.

    `warnings.catch_warnings` of each thread would not do: the first to leave turns the warnings on
    again under the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
                log = logging.getLogger("pydicom")
                self._level = log.level
                log.setLevel(logging.CRITICAL + 1)  # of its children, too
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._warnings.__exit__(None, None, None)
                logging.getLogger("pydicom").setLevel(self._level)


_SILENCE = _Silence()
