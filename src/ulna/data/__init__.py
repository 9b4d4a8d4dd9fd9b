"""From files to cached pixels: index, splits, decoding, the cache that networks read from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.core import InputError

# Columns of the two tables that `prepare` writes.
IMAGE_COLUMNS = ["image", "official_split", "body_part", "patient", "study", "label"]
SPLIT_COLUMNS = ["patient", "split"]
SPLITS = ("train", "val", "test")
# Of a table of findings: the corners of a box in pixels of the original, and a normal study's word.
BOX = ["x0", "y0", "x1", "y1"]
NO_FINDING = "none"

Fit = Literal["pad", "stretch"]  # of an image into its square, see `ulna.data.images.content_box`


@dataclass(frozen=True)
class Cache:
    """The cached images, see `ulna.data.cache`."""

    # Without rejected images: image, body_part, row, and `ulna.data.images.Measurements`.
    images: pd.DataFrame
    rejected: pd.DataFrame  # image, reason
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

    def gather_samples(self, samples: pd.DataFrame) -> npt.NDArray[np.uint8]:
        """Copy the images of a table with body_part and row: (images, size_px, size_px) uint8."""
        return self.gather(samples["body_part"].to_numpy(object), samples["row"].to_numpy())
