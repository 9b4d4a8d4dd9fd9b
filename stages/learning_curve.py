"""Train on nested subsets of the patients, to see whether more would help; off by default."""

import sys

from ulna.core import paths
from ulna.core.io import atomic_directory, write_csv
from ulna.core.params import load_params
from ulna.core.predictions import write_predictions
from ulna.core.progress import progress
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.data.pretrained import find_weights
from ulna.data.samples import load_samples, select_samples
from ulna.data.splits import SIZES, count_sizes, nested_subsets


def learning_curve() -> None:
    """Train a network on each fraction of the patients; write its prediction table."""
    params = load_params(paths.PARAMS)
    if not params.learning_curve.fractions:
        with atomic_directory(paths.LEARNING_CURVE) as folder:
            write_csv(folder / SIZES, count_sizes({}))
        print("learning_curve: off; learning_curve.fractions in params.yaml switches it on")
        return
    config = params.training(params.learning_curve.arch)
    pretrained = find_weights(config, paths.PRETRAINED)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)
    training, validation = (
        select_samples(rows, split, params.train.body_parts) for split in ("train", "val")
    )
    subsets = nested_subsets(training, params.learning_curve.fractions, params.seed)
    sizes = count_sizes(subsets)
    print(f"learning_curve: {config.name} on {list(sizes['patients'])} patients")
    to_predict = rows[rows["split"].isin(["val", "test"])].reset_index(drop=True)

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna.networks.predict import predict_images
    from ulna.networks.resume import delete_checkpoints
    from ulna.networks.training import train_model

    with atomic_directory(paths.LEARNING_CURVE) as folder:
        write_csv(folder / SIZES, sizes)
        for fraction, subset in progress(subsets.items(), len(subsets), "learning_curve", "sizes"):
            history = folder / "history" / f"{fraction}.csv"
            checkpoints = paths.checkpoints("learning_curve") / str(fraction)
            images = (cache, subset, validation)
            model = train_model(config, pretrained, *images, history, checkpoints)
            table = predict_images(model, cache, to_predict)
            write_predictions(folder / paths.fraction_predictions(fraction).name, table)
    delete_checkpoints(paths.checkpoints("learning_curve"))


if __name__ == "__main__":
    run(learning_curve, *sys.argv[1:])
