"""Where a network looks: class activation maps of test images, shown if they pass their test."""

import sys
from functools import partial

from ulna import paths
from ulna.console import run
from ulna.data.annotations import read_annotations
from ulna.data.cache import gather_samples, load_cache
from ulna.files import write_csv, write_json
from ulna.judging import conclusions
from ulna.judging.evaluation import decided
from ulna.maps import gallery
from ulna.maps.pointing import localise
from ulna.params import check_arch, load_params
from ulna.predictions import read_predictions


def explain(arch: str) -> None:
    """Test the maps of `arch`, measure whether they point at planted findings, write a gallery."""
    check_arch(arch)
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    images, _ = decided(read_predictions(paths.predictions(arch)), "image", params.evaluate)
    test, truth = images[images["split"] == "test"], read_annotations(paths.ANNOTATIONS)
    test = gallery.locate(test, cache, params.image.fit, truth)

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna.networks import runtime, saliency
    from ulna.networks.trained import load_trained, read_metadata

    # In single precision: maps in bfloat16 were off by up to 13% of the strongest value.
    runtime.configure(params.seed)
    model = load_trained(paths.bundle(arch))
    layer = saliency.target_layer(model)
    cam = saliency.make_cam_fn(model, layer)
    sample = gather_samples(cache, gallery.choose_sample(test, params.seed))
    check = saliency.randomization_test(model, cam, sample, params.seed)
    explained = partial(gallery.explain_rows, cam, saliency.upsample, cache)
    planted, cells = test[test["x0"].notna()], layer.output.shape[1]
    pointing = None
    if len(planted):
        pointing = localise(*explained(planted), cells, params.evaluate, params.seed)
    found = {
        "layer": layer.name,
        "cells_a_side": cells,
        "randomisation": check.summary,
        "localisation": pointing,
        "model_sha256": read_metadata(paths.bundle(arch))["weights_sha256"],
    }
    write_json(paths.metrics(f"explain_{arch}"), found)
    shown, _, maps = explained(gallery.choose_gallery(test))
    if not check.passed:
        shown[["map_x_px", "map_y_px"]] = float("nan")
    write_csv(paths.scores(arch, "saliency"), shown[list(gallery.COLUMNS)])
    gallery.write_gallery(paths.maps(arch), shown, maps if check.passed else None)
    print(conclusions.randomization(check.summary, arch))


if __name__ == "__main__":
    run(explain, *sys.argv[1:])
