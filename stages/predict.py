"""Score every image of val and test with a trained network, and what the checks need."""

import sys

from ulna.core import paths
from ulna.core.params import check_arch, load_params
from ulna.core.predictions import SPLITS, write_predictions
from ulna.core.provenance import write_provenance
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.data.images import REGIONS, hide_region
from ulna.data.samples import join_measurements, load_samples


def predict(arch: str) -> None:
    """Write the prediction tables of `arch`, a network of `ulna.core.params.NETWORKS`.

    Every evaluation reads the table of val and test; `overfitting` reads that of train, and
    `occlusion` those of test with the frame or the centre of each image hidden.
    """
    check_arch(arch)
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)
    to_predict, train, test = (
        rows[rows["split"].isin(splits)].reset_index(drop=True)
        for splits in (SPLITS, ("train",), ("test",))
    )

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna.networks import runtime
    from ulna.networks.graph import make_predict_fn
    from ulna.networks.predict import score_images
    from ulna.networks.trained import load_trained, read_metadata

    metadata = read_metadata(paths.trained(arch))
    runtime.configure(seed=0, mixed_precision=metadata["mixed_precision"])
    network = make_predict_fn(load_trained(paths.trained(arch)))

    table = score_images(network, cache, to_predict, f"predict {arch}, val and test")
    write_predictions(paths.predictions(arch), table)
    here = runtime.environment()["fingerprint"]
    trained = metadata["weights_sha256"], metadata["environment"]
    write_provenance(paths.provenance(arch), *trained, here)
    training = score_images(network, cache, train, f"predict {arch}, train")
    write_predictions(paths.extra_predictions(arch, "train"), training, ("train",))
    measured = join_measurements(test, cache)
    for region in REGIONS:
        label = f"predict {arch}, test without its {region}"
        hide = hide_region(measured, cache.size_px, params.image.fit, region)
        hidden = score_images(network, cache, test, label, hide)
        write_predictions(paths.extra_predictions(arch, f"{region}_hidden"), hidden, ("test",))
    print(f"{arch}: {len(table)} images scored, {len(cache.rejected)} were rejected by preprocess")


if __name__ == "__main__":
    run(predict, *sys.argv[1:])
