"""Compare the networks and their ensemble in pairs, on the same patients."""

import sys
from itertools import product

from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.predictions import align, read_predictions
from ulna.core.stage import run
from ulna.evaluation import LEVELS, conclusions
from ulna.evaluation.bootstrap import bootstrap_weights
from ulna.evaluation.comparison import all_pairs, compare_networks, tabulate
from ulna.evaluation.evaluate import split_sha256
from ulna.evaluation.thresholds import apply_thresholds


def compare() -> None:
    """Choose each network's thresholds on val, compare all pairs on test, write."""
    params = load_params(paths.PARAMS)
    settings = params.evaluate
    names = (*params.networks, paths.ENSEMBLE)
    tables = align({name: read_predictions(paths.predictions(name)) for name in names})
    test, val = {}, {}
    for name, level in product(tables, LEVELS):
        rows, _ = apply_thresholds(tables[name], level, settings)
        test[name, level], val[level] = (rows[rows["split"] == split] for split in ("test", "val"))

    patients = test[paths.ENSEMBLE, "study"]["patient"]
    replicates = bootstrap_weights(patients, settings.bootstrap_replicates, params.seed)
    comparisons = {}
    for first, second in all_pairs(params.networks):
        levels = {level: (test[first, level], test[second, level]) for level in LEVELS}
        result = compare_networks(levels, val["study"], replicates, settings.min_patients)
        comparisons[first, second] = result
        print(f"compare: {conclusions.comparison(result, first, second)}")

    named = {f"{first}_vs_{second}": result for (first, second), result in comparisons.items()}
    split = {"split_sha256": split_sha256(tables[paths.ENSEMBLE])}
    write_json(paths.details("compare"), named | split)
    write_csv(paths.table("compare"), tabulate(comparisons))


if __name__ == "__main__":
    run(compare, *sys.argv[1:])
