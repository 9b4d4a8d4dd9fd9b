"""Decode every image once and letterbox it into the cache; reject what cannot be read."""

import sys
from pathlib import Path

from ulna.core import paths
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.data.cache import REJECTED, build_cache
from ulna.data.samples import read_images


def preprocess() -> None:
    """Cache the images of the prepared table."""
    params = load_params(paths.PARAMS)
    images = read_images(paths.IMAGES)
    settings = params.image.model_dump()
    rejected = build_cache(images, Path(params.data.root), paths.CACHE, **settings)
    print(
        f"cached {len(images) - len(rejected)} images of {params.image.size_px} x "
        f"{params.image.size_px} pixels, rejected {len(rejected)} (listed in "
        f"{paths.CACHE / REJECTED})"
    )


if __name__ == "__main__":
    run(preprocess, *sys.argv[1:])
