"""Compute class activation maps of the test images, and whether they pass their test."""

import sys

from ulna.core import paths
from ulna.core.params import check_arch, load_params
from ulna.core.predictions import read_predictions
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.evaluation import conclusions
from ulna.evaluation.localization import choose_sample, find_rows, write_maps


def explain(arch: str) -> None:
    """Test the maps of `arch`, write those of all test images and the result."""
    check_arch(arch)
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    table = read_predictions(paths.predictions(arch))
    images = find_rows(table[table["split"] == "test"], cache)

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna.networks import runtime, saliency
    from ulna.networks.trained import load_trained, read_metadata

    # In single precision: maps in bfloat16 were off by up to 13% of the strongest value.
    runtime.configure(params.seed)
    model = load_trained(paths.trained(arch))
    layer = saliency.target_layer(model)
    cam = saliency.make_cam_fn(model, layer)
    sample = cache.gather_samples(choose_sample(images, params.seed))
    check = saliency.randomization_test(model, cam, sample, params.seed)
    result = {
        "layer": layer.name,
        "cells_per_side": layer.output.shape[1],
        "randomization": check.summary,
        "model_sha256": read_metadata(paths.trained(arch))["weights_sha256"],
    }
    write_maps(paths.maps(arch), images["image"], cam(cache.gather_samples(images)), result)
    print(conclusions.randomization(check.summary, arch))


if __name__ == "__main__":
    run(explain, *sys.argv[1:])
