"""Train a network on the train split; its best epoch is chosen on the val split."""

import sys

from ulna.core import paths
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.data.pretrained import check_weights, find_weights
from ulna.data.samples import load_samples, select_samples


def train(arch: str) -> None:
    """Train `arch`, a network of `ulna.core.params.NETWORKS`; write it and its training curves."""
    params = load_params(paths.PARAMS)
    config = params.training(arch)
    check_weights(params, paths.PRETRAINED)
    pretrained = find_weights(config, paths.PRETRAINED)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)
    training = select_samples(rows, "train", params.train.body_parts)
    validation = select_samples(rows, "val", params.train.body_parts)
    print(f"{arch}: {len(training)} training images, {len(validation)} validation images")

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna.networks import runtime
    from ulna.networks.losses import describe_weights, image_weights
    from ulna.networks.resume import delete_checkpoints
    from ulna.networks.trained import write_trained
    from ulna.networks.training import train_model

    weights = image_weights(training, training, params.loss, params.class_weights)
    print(f"{arch}: {describe_weights(training, weights)}")
    checkpoints = paths.checkpoints(f"train-{arch}")
    images, history = (cache, training, validation), paths.history(arch)
    model = train_model(config, pretrained, *images, history, checkpoints)
    write_trained(paths.trained(arch), model, cache.size_px, config, runtime.environment())
    delete_checkpoints(checkpoints)


if __name__ == "__main__":
    run(train, *sys.argv[1:])
