"""Compare the networks and their ensemble in pairs, on the same patients."""

import sys
from itertools import product

from ulna import paths
from ulna.console import run
from ulna.files import write_csv, write_json
from ulna.judging import conclusions
from ulna.judging.bootstrap import resample
from ulna.judging.comparison import all_pairs, compare_networks, tabulate
from ulna.judging.ensemble import align
from ulna.judging.evaluation import LEVELS, decided, split_sha256
from ulna.params import load_params
from ulna.predictions import read_predictions


def compare() -> None:
    """Choose each network's thresholds on val, compare all pairs on test, write."""
    params = load_params(paths.PARAMS)
    settings = params.evaluate
    names = (*params.networks, paths.ENSEMBLE)
    tables = align({name: read_predictions(paths.predictions(name)) for name in names})
    test = {}
    for name, level in product(tables, LEVELS):
        rows, _ = decided(tables[name], level, settings)
        test[name, level] = rows[rows["split"] == "test"]

    patients = test[paths.ENSEMBLE, "study"]["patient"]
    resamples = resample(patients, settings.bootstrap_draws, params.seed)
    comparisons = {}
    for first, second in all_pairs(params.networks):
        levels = {level: (test[first, level], test[second, level]) for level in LEVELS}
        found = compare_networks(levels, resamples, settings.min_patients)
        comparisons[first, second] = found
        print(f"compare: {conclusions.comparison(found, first, second)}")

    named = {f"{first}_vs_{second}": found for (first, second), found in comparisons.items()}
    split = {"split_sha256": split_sha256(tables[paths.ENSEMBLE])}
    write_json(paths.metrics("compare"), named | split)
    write_csv(paths.table("compare"), tabulate(comparisons))


if __name__ == "__main__":
    run(compare, *sys.argv[1:])
