"""Train on some body parts and score all of them: one network a row of the transfer matrix."""

import sys

from ulna import paths
from ulna.console import progress, run
from ulna.data.cache import load_cache
from ulna.data.samples import load_samples
from ulna.files import replacing_folder
from ulna.networks.pretrained import find_weights
from ulna.networks.transfer import available, learning_rows, plan
from ulna.params import load_params
from ulna.predictions import write_predictions


def transfer() -> None:
    """Train each network of the plan; write its prediction table over all body parts."""
    params = load_params(paths.PARAMS)
    section = params.cnn if params.transfer.arch == "cnn" else params.densenet169
    pretrained = find_weights(section, paths.PRETRAINED)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)
    train_on, words = available(params.transfer.train_on, rows["body_part"])
    networks = plan(train_on, rows["body_part"].unique())
    chosen = {network: learning_rows(rows, network) for network in networks}
    print(words)
    scored = rows[rows["split"].isin(["val", "test"])].reset_index(drop=True)

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna import runtime
    from ulna.networks.checkpoints import forget
    from ulna.networks.inference import predict_images
    from ulna.networks.phases import learn

    with replacing_folder(paths.TRANSFER) as folder:
        for network, used in progress(chosen.items(), len(chosen), "transfer", "networks"):
            # Anew for each: a network must not depend on those trained before it.
            runtime.configure(params.seed, params.train.mixed_precision)
            model = learn(
                section,
                pretrained,
                cache,
                *used,
                loss=params.loss,
                class_weights=params.class_weights,
                focal=params.focal,
                train=params.train,
                augment=params.augment,
                seed=params.seed,
                history=folder / "history" / f"{network.name}.csv",
                checkpoints=paths.checkpoints("transfer") / network.name,
            )
            write_predictions(folder / f"{network.name}.csv", predict_images(model, cache, scored))
    forget(paths.checkpoints("transfer"))


if __name__ == "__main__":
    run(transfer, *sys.argv[1:])
