"""Look for shortcuts: what small models tell of the label without a look at bone."""

import sys

from ulna import paths
from ulna.checks.appearance import measure
from ulna.checks.baselines import cross_validate, judge, predict_baselines, summarize
from ulna.console import run
from ulna.data.cache import load_cache
from ulna.data.samples import load_samples
from ulna.files import write_csv, write_json
from ulna.judging import conclusions
from ulna.params import load_params


def baselines() -> None:
    """Fit the baselines on train, judge them on test, write."""
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)

    measured = measure(rows, cache, params.image.fit)
    tables, crossed = predict_baselines(measured), cross_validate(measured)
    scores = judge(tables, crossed, params.evaluate, params.seed)
    summary = summarize(scores)
    words = conclusions.baselines(summary)

    write_json(paths.metrics("baselines"), summary)
    write_csv(paths.table("baselines"), scores.astype({"informative": int, "flag": int}))
    print(f"baselines: {words}")


if __name__ == "__main__":
    run(baselines, *sys.argv[1:])
