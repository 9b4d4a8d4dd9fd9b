"""Made-up data of real sizes, so that nothing has to be downloaded."""

import numpy as np
import pandas as pd

from ulna.data import Cache
from ulna.networks.dataset import Examples, examples


def cached(images: int, size_px: int) -> Examples:
    """Random cached images in memory, half of them abnormal, as networks are given them."""
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 255, (images, size_px, size_px), dtype=np.uint8)
    rows = pd.DataFrame(
        {
            "image": [f"{number:06}.png" for number in range(images)],
            "body_part": "HAND",
            "row": np.arange(images),
            "label": np.arange(images) % 2,
        }
    )
    cache = Cache(images=rows, rejected=rows.head(0), arrays={"HAND": pixels})
    return examples(cache, rows, np.ones(images, np.float32))
