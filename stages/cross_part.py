"""Judge the networks of `transfer` on each body part, on those seen in training and on the rest."""

import sys

import pandas as pd

from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.evaluation import conclusions, cross_part
from ulna.evaluation.bootstrap import bootstrap_weights


def cross_part() -> None:
    """Choose thresholds on val, judge on test, write the matrix and its summary."""
    params = load_params(paths.PARAMS)
    evaluate = params.evaluate
    tests = {
        network: cross_part.test_studies(network, images, evaluate)
        for network, images in cross_part.read_tables(paths.TRANSFER).items()
    }
    patients = pd.concat([test["patient"] for test in tests.values()])
    resamples = bootstrap_weights(patients, evaluate.bootstrap_draws, params.seed)
    cells = cross_part.cross_part_table(tests, resamples, evaluate.min_patients)
    summary = {
        network.name: cross_part.seen_and_unseen(network, test, resamples, evaluate.min_patients)
        for network, test in tests.items()
    }
    write_csv(paths.table("cross_part"), cells)
    write_json(paths.metrics("cross_part"), summary)
    for name, sides in summary.items():
        print(conclusions.cross_part(sides, name))


if __name__ == "__main__":
    run(cross_part, *sys.argv[1:])
