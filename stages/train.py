"""Train a network on the train split; its best epoch is chosen on the val split."""

import sys

from ulna import paths
from ulna.console import run
from ulna.data.cache import load_cache
from ulna.data.samples import load_samples, select_samples
from ulna.networks.pretrained import find_weights
from ulna.params import check_arch, load_params


def train(arch: str) -> None:
    """Train `arch` (cnn or densenet169); write its bundle and its training curves."""
    check_arch(arch)
    params = load_params(paths.PARAMS)
    network = params.cnn if arch == "cnn" else params.densenet169
    pretrained = find_weights(network, paths.PRETRAINED)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)
    training = select_samples(rows, "train", params.train.body_parts)
    validation = select_samples(rows, "val", params.train.body_parts)
    print(f"{arch}: {len(training)} images to learn from, {len(validation)} to choose the epoch by")

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna import runtime
    from ulna.networks.bundle import write_bundle
    from ulna.networks.checkpoints import forget
    from ulna.networks.losses import describe_weights, image_weights
    from ulna.networks.phases import learn

    runtime.configure(params.seed, params.train.mixed_precision)
    weights = image_weights(training, training, params.loss, params.class_weights)
    print(f"{arch}: {describe_weights(training, weights)}")
    model = learn(
        network,
        pretrained,
        cache,
        training,
        validation,
        loss=params.loss,
        class_weights=params.class_weights,
        focal=params.focal,
        train=params.train,
        augment=params.augment,
        seed=params.seed,
        history=paths.history(arch),
        checkpoints=paths.checkpoints(f"train-{arch}"),
    )
    write_bundle(paths.bundle(arch), model, cache.size_px, network, params.train.mixed_precision)
    forget(paths.checkpoints(f"train-{arch}"))


if __name__ == "__main__":
    run(train, *sys.argv[1:])
