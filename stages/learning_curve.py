"""Train on fewer and fewer patients, to see whether more would help; off unless asked for."""

import sys

from ulna import paths
from ulna.console import progress, run
from ulna.data.cache import load_cache
from ulna.data.samples import load_samples, select_samples
from ulna.files import replacing_folder, write_csv
from ulna.networks.pretrained import find_weights
from ulna.networks.subsets import SIZES, count_sizes, nested_subsets
from ulna.params import load_params
from ulna.predictions import write_predictions


def learning_curve() -> None:
    """Train a network on each fraction of the patients; write its prediction table."""
    params = load_params(paths.PARAMS)
    if not params.learning_curve.fractions:
        with replacing_folder(paths.LEARNING_CURVE) as folder:
            write_csv(folder / SIZES, count_sizes({}))
        print("learning_curve: off; learning_curve.fractions in params.yaml switches it on")
        return
    section = params.cnn if params.learning_curve.arch == "cnn" else params.densenet169
    pretrained = find_weights(section, paths.PRETRAINED)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)
    training, validation = (
        select_samples(rows, split, params.train.body_parts) for split in ("train", "val")
    )
    subsets = nested_subsets(training, params.learning_curve.fractions, params.seed)
    sizes = count_sizes(subsets)
    print(f"learning_curve: {params.learning_curve.arch} on {list(sizes['patients'])} patients")
    judged = rows[rows["split"].isin(["val", "test"])].reset_index(drop=True)

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna import runtime
    from ulna.networks.checkpoints import forget
    from ulna.networks.inference import predict_images
    from ulna.networks.phases import learn

    with replacing_folder(paths.LEARNING_CURVE) as folder:
        write_csv(folder / SIZES, sizes)
        for fraction, subset in progress(subsets.items(), len(subsets), "learning_curve", "sizes"):
            # Anew for each: a network must not depend on those trained before it.
            runtime.configure(params.seed, params.train.mixed_precision)
            model = learn(
                section, pretrained, cache, subset, validation,
                loss=params.loss, class_weights=params.class_weights, focal=params.focal,
                train=params.train, augment=params.augment, seed=params.seed,
                history=folder / "history" / f"{fraction}.csv",
                checkpoints=paths.checkpoints("learning_curve") / str(fraction),
            )  # fmt: skip
            table = predict_images(model, cache, judged)
            write_predictions(folder / paths.scored_by_fraction(fraction).name, table)
    forget(paths.checkpoints("learning_curve"))


if __name__ == "__main__":
    run(learning_curve, *sys.argv[1:])
