"""Explain a network: class activation maps of test images, shown if they pass their test."""

import sys
from functools import partial

from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import check_arch, load_params
from ulna.core.predictions import read_predictions
from ulna.core.stage import run
from ulna.data.annotations import read_annotations
from ulna.data.cache import load_cache
from ulna.evaluation import conclusions, localization
from ulna.evaluation.thresholds import apply_thresholds


def explain(arch: str) -> None:
    """Test the maps of `arch`, evaluate whether they point at findings, write a gallery."""
    check_arch(arch)
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    table = read_predictions(paths.predictions(arch))
    images, _ = apply_thresholds(table, "image", params.evaluate)
    test, annotations = images[images["split"] == "test"], read_annotations(paths.ANNOTATIONS)
    test = localization.locate_boxes(test, cache, params.image.fit, annotations)

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna.networks import runtime, saliency
    from ulna.networks.trained import load_trained, read_metadata

    # In single precision: maps in bfloat16 were off by up to 13% of the strongest value.
    runtime.configure(params.seed)
    model = load_trained(paths.trained(arch))
    layer = saliency.target_layer(model)
    cam = saliency.make_cam_fn(model, layer)
    sample = cache.gather_samples(localization.choose_sample(test, params.seed))
    check = saliency.randomization_test(model, cam, sample, params.seed)
    explained = partial(localization.compute_maps, cam, saliency.upsample, cache)
    annotated, cells = test[test["x0"].notna()], layer.output.shape[1]
    settings = params.evaluate.bootstrap_replicates, params.evaluate.min_patients, params.seed
    inputs = (*explained(annotated), cells) if len(annotated) else None
    metrics = {
        "layer": layer.name,
        "cells_per_side": cells,
        "randomization": check.summary,
        "localization": localization.evaluate_localization(*inputs, *settings) if inputs else None,
        "model_sha256": read_metadata(paths.trained(arch))["weights_sha256"],
    }
    write_json(paths.metrics(f"explain_{arch}"), metrics)
    shown, _, maps = explained(localization.choose_gallery(test))
    if not check.passed:
        shown[["map_x_px", "map_y_px"]] = float("nan")
    write_csv(paths.scores(arch, "saliency"), shown[list(localization.COLUMNS)])
    localization.write_gallery(paths.maps(arch), shown, maps if check.passed else None)
    print(conclusions.randomization(check.summary, arch))


if __name__ == "__main__":
    run(explain, *sys.argv[1:])
