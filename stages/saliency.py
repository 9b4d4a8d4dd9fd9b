"""Evaluate whether the maps of `explain` point at findings, and choose those to show."""

import sys

from ulna.core import paths
from ulna.core.io import read_json, write_csv, write_json
from ulna.core.params import check_arch, load_params
from ulna.core.predictions import read_predictions
from ulna.core.stage import run
from ulna.data.annotations import read_annotations
from ulna.data.cache import load_cache
from ulna.evaluation import AT_CHANCE, conclusions, localization
from ulna.evaluation.thresholds import apply_thresholds


def saliency(arch: str) -> None:
    """Play the pointing game with the maps of `arch`, write its result and the gallery."""
    check_arch(arch)
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    table = read_predictions(paths.predictions(arch))
    images, _ = apply_thresholds(table, "image", params.evaluate)
    test = localization.find_rows(images[images["split"] == "test"], cache)
    maps, result = localization.read_maps(paths.maps(arch), test["image"])
    annotations = read_annotations(paths.ANNOTATIONS)
    test = localization.locate_boxes(test, cache, params.image.fit, annotations)
    test = localization.add_maxima(test, maps, cache.size_px)
    boxes = test["x0"].notna().to_numpy()
    metrics = result | {
        "localization": localization.evaluate_localization(
            test[boxes],
            cache.gather_samples(test[boxes]),
            maps[boxes],
            params.evaluate.bootstrap_replicates,
            params.evaluate.min_patients,
            params.seed,
        ),
        "at_chance": read_json(paths.details(arch))["study"]["conclusion"] in AT_CHANCE,
    }
    write_json(paths.details(f"saliency_{arch}"), metrics)
    shown = localization.choose_gallery(test)
    if not result["randomization"]["passed"]:
        shown[["map_x_px", "map_y_px"]] = float("nan")
    write_csv(paths.scores(arch, "saliency"), shown[list(localization.COLUMNS)])
    print(conclusions.saliency(metrics, arch))


if __name__ == "__main__":
    run(saliency, *sys.argv[1:])
