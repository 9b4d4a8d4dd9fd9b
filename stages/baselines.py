"""Look for shortcuts: what small models tell of the label without a look at bone."""

import sys

from ulna import paths
from ulna.checks.appearance import measure
from ulna.checks.baselines import cross_validate, judge, predict_baselines, verdict
from ulna.console import run
from ulna.data.cache import load_cache
from ulna.data.samples import load_samples
from ulna.figures.baselines import dots_and_intervals
from ulna.figures.style import write_png
from ulna.files import read_json, write_csv, write_json
from ulna.params import ARCHS, load_params


def baselines() -> None:
    """Fit the baselines on train, judge them on test beside the networks, write and draw."""
    params = load_params(paths.PARAMS)
    networks = {arch: read_json(paths.metrics(arch))["study"] for arch in ARCHS}
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)

    measured = measure(rows, cache, params.image.fit)
    tables, crossed = predict_baselines(measured), cross_validate(measured)
    scores = judge(tables, crossed, params.evaluate, params.seed)
    words = verdict(scores)

    by_name = scores.set_index("baseline").to_dict("index")
    write_json(paths.metrics("baselines"), {"verdict": words} | by_name)
    write_csv(paths.PLOTS / "baselines.csv", scores.astype({"informative": int, "flag": int}))
    write_png(paths.PLOTS / "baselines.png", dots_and_intervals(scores, networks, words))
    print(f"baselines: {words}")


if __name__ == "__main__":
    run(baselines, *sys.argv[1:])
