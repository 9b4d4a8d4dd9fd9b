"""Score every image of val and test with a trained network."""

import sys

from ulna import paths, runtime
from ulna.console import run
from ulna.data.cache import load_cache
from ulna.data.rows import join_rows, read_images, read_splits
from ulna.networks.bundle import load_bundle, read_recipe
from ulna.networks.inference import predict_images
from ulna.params import check_arch
from ulna.predictions import write_model, write_predictions


def predict(arch: str) -> None:
    """Write the prediction table of `arch` (cnn or densenet169)."""
    check_arch(arch)
    cache = load_cache(paths.CACHE)
    images = read_images(paths.IMAGES)
    rows = join_rows(images, read_splits(paths.SPLITS), cache)
    rows = rows[rows["split"].isin(["val", "test"])].reset_index(drop=True)
    recipe = read_recipe(paths.bundle(arch))
    runtime.configure(seed=0, mixed_precision=recipe["mixed_precision"])
    table = predict_images(load_bundle(paths.bundle(arch)), cache, rows)
    write_predictions(paths.predictions(arch), table)
    write_model(paths.origin(arch), recipe["weights_sha256"])
    print(f"{arch}: {len(table)} images scored, {len(cache.rejected)} were set aside by preprocess")


if __name__ == "__main__":
    run(predict, *sys.argv[1:])
