"""Check for shortcuts: small models that predict the label from non-anatomical features."""

import sys

from ulna.checks.shortcuts import (
    cross_validate,
    evaluate_baselines,
    measure_confounders,
    predict_baselines,
    summarize_baselines,
)
from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.data.samples import join_measurements, load_samples
from ulna.evaluation import conclusions


def baselines() -> None:
    """Fit the baselines on train, evaluate them on test, write."""
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    images = join_measurements(load_samples(paths.IMAGES, paths.SPLITS, cache), cache)

    measured = measure_confounders(images, cache.arrays, params.image.fit)
    tables, crossed = predict_baselines(measured), cross_validate(measured)
    scores = evaluate_baselines(tables, crossed, params.evaluate, params.seed)
    summary = summarize_baselines(scores)

    write_json(paths.details("baselines"), summary)
    write_csv(paths.table("baselines"), scores.astype({"informative": int, "flag": int}))
    print(f"baselines: {conclusions.baselines(summary)}")


if __name__ == "__main__":
    run(baselines, *sys.argv[1:])
