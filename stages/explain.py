"""Where a network looks: class activation maps of test images, shown if they pass their test."""

import sys

import numpy as np

from ulna import paths
from ulna.console import run
from ulna.data.annotations import read_annotations
from ulna.data.cache import gather_samples, load_cache
from ulna.files import write_csv, write_json
from ulna.judging.evaluation import decided
from ulna.maps.gallery import COLUMNS, choose_gallery, choose_sample, locate, write_gallery
from ulna.params import check_arch, load_params
from ulna.predictions import read_predictions


def explain(arch: str) -> None:
    """Test the maps of `arch`, measure whether they point at planted findings, write a gallery."""
    check_arch(arch)
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    images, _ = decided(read_predictions(paths.predictions(arch)), "image", params.evaluate)
    truth = read_annotations(paths.ANNOTATIONS)
    test = locate(images[images["split"] == "test"], cache, params.image.fit, truth)

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna import runtime
    from ulna.maps import saliency
    from ulna.networks.bundle import load_bundle, read_recipe

    recipe = read_recipe(paths.bundle(arch))
    # In single precision: maps in bfloat16 were off by up to 13% of the strongest value.
    runtime.configure(params.seed)
    model = load_bundle(paths.bundle(arch))
    layer = saliency.explained_layer(model)
    maps_of = saliency.explainer(model, layer)
    sample = gather_samples(cache, choose_sample(test, params.seed))
    check = saliency.randomise(model, maps_of, sample, params.seed)
    found = {
        "layer": layer.name,
        "cells_a_side": layer.output.shape[1],
        "randomisation": check.summary,
        "localisation": saliency.localise(maps_of, cache, test, params.evaluate, params.seed),
        "model_sha256": recipe["weights_sha256"],
    }
    write_json(paths.metrics(f"explain_{arch}"), found)
    gallery, _, maps = saliency.explain_images(maps_of, cache, choose_gallery(test))
    if not check.passed:
        gallery[["map_x_px", "map_y_px"]] = np.nan
    write_csv(paths.scores(arch, "saliency"), gallery[list(COLUMNS)])
    write_gallery(paths.maps(arch), gallery, maps if check.passed else None)
    print(f"{arch}: maps {'passed' if check.passed else 'failed'}: {check.sentence}")


if __name__ == "__main__":
    run(explain, *sys.argv[1:])
