"""Where a network looks: class activation maps of test images, shown if they pass their test."""

import sys
from typing import Any

import numpy as np
import pandas as pd

from ulna import paths
from ulna.console import run
from ulna.data.cache import load_cache, pixels_of
from ulna.data.truth import read_truth
from ulna.files import write_csv, write_json
from ulna.judging import conclusions
from ulna.judging.evaluation import decided
from ulna.maps.gallery import COLUMNS, choose_gallery, choose_sample, locate, write_gallery
from ulna.maps.pointing import localise, with_peaks
from ulna.params import check_arch, load_params
from ulna.predictions import read_predictions


def explain(arch: str) -> None:
    """Test the maps of `arch`, measure whether they point at planted findings, write a gallery."""
    check_arch(arch)
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    images, _ = decided(read_predictions(paths.predictions(arch)), "image", params.evaluate)
    truth = read_truth(paths.TRUTH)
    test = locate(images[images["split"] == "test"], cache, params.image.fit, truth)

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna.networks import runtime, saliency
    from ulna.networks.trained import load_trained, read_metadata

    # In single precision: maps in bfloat16 were off by up to 13% of the strongest value.
    runtime.configure(params.seed)
    model = load_trained(paths.bundle(arch))
    layer = saliency.target_layer(model)
    cam = saliency.make_cam_fn(model, layer)
    sample = pixels_of(cache, choose_sample(test, params.seed))
    check = saliency.randomization_test(model, cam, sample, params.seed)

    def explained(rows: pd.DataFrame) -> tuple[pd.DataFrame, Any, Any]:
        pixels = pixels_of(cache, rows)
        cells = cam(pixels)
        peaks = with_peaks(rows, cells, cache.size_px)
        return peaks, pixels, saliency.upsample(cells, cache.size_px)

    planted = test[test["x0"].notna()]
    cells = layer.output.shape[1]
    localisation = None
    if len(planted):
        localisation = localise(*explained(planted), cells, params.evaluate, params.seed)
    found = {
        "layer": layer.name,
        "cells_a_side": cells,
        "randomisation": check.summary,
        "localisation": localisation,
        "model_sha256": read_metadata(paths.bundle(arch))["weights_sha256"],
    }
    write_json(paths.metrics(f"explain_{arch}"), found)
    gallery, _, maps = explained(choose_gallery(test))
    if not check.passed:
        gallery[["map_x_px", "map_y_px"]] = np.nan
    write_csv(paths.scores(arch, "saliency"), gallery[list(COLUMNS)])
    write_gallery(paths.maps(arch), gallery, maps if check.passed else None)
    print(conclusions.randomization(check.summary, arch))


if __name__ == "__main__":
    run(explain, *sys.argv[1:])
