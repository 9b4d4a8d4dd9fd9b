"""Train on some body parts and score all: one network per row of the cross-part matrix."""

import sys

from ulna.core import paths
from ulna.core.io import atomic_directory
from ulna.core.params import load_params
from ulna.core.predictions import write_predictions
from ulna.core.progress import progress
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.data.cross_part import available, plan, select_training_images
from ulna.data.pretrained import find_weights
from ulna.data.samples import load_samples


def transfer() -> None:
    """Train each network of the plan; write its prediction table over all body parts."""
    params = load_params(paths.PARAMS)
    config = params.training(params.transfer.arch)
    pretrained = find_weights(config, paths.PRETRAINED)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)
    train_on, missing = available(params.transfer.train_on, rows["body_part"])
    networks = plan(train_on, rows["body_part"].unique())
    chosen = {network: select_training_images(rows, network) for network in networks}
    print(f"transfer: {len(networks)} networks, on {', '.join(n.name for n in networks)}")
    if missing:
        print(f"transfer.train_on names {', '.join(missing)}, which the data lack")
    to_predict = rows[rows["split"].isin(["val", "test"])].reset_index(drop=True)

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna.networks.predict import predict_images
    from ulna.networks.resume import delete_checkpoints
    from ulna.networks.training import train_model

    with atomic_directory(paths.TRANSFER) as folder:
        for network, used in progress(chosen.items(), len(chosen), "transfer", "networks"):
            history = folder / "history" / f"{network.name}.csv"
            checkpoints = paths.checkpoints("transfer") / network.name
            model = train_model(config, pretrained, cache, *used, history, checkpoints)
            table = predict_images(model, cache, to_predict)
            write_predictions(folder / f"{network.name}.csv", table)
    delete_checkpoints(paths.checkpoints("transfer"))


if __name__ == "__main__":
    run(transfer, *sys.argv[1:])
