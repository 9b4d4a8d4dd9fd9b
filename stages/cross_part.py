"""Evaluate the networks of `transfer` on each body part, trained on it or not."""

import sys

import pandas as pd

from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.evaluation import conclusions
from ulna.evaluation.bootstrap import bootstrap_weights
from ulna.evaluation.cross_part import (
    cross_part_table,
    evaluated_studies,
    read_tables,
    seen_and_unseen,
)


def cross_part() -> None:
    """Choose thresholds on val, evaluate on test, write the table and its summary."""
    params = load_params(paths.PARAMS)
    evaluate = params.evaluate
    tests = {
        network: evaluated_studies(network, images, evaluate)
        for network, images in read_tables(paths.TRANSFER).items()
    }
    patients = pd.concat([test["patient"] for test in tests.values()])
    replicates = bootstrap_weights(patients, evaluate.bootstrap_replicates, params.seed)
    cells = cross_part_table(tests, replicates, evaluate.min_patients)
    summary = {
        network.name: seen_and_unseen(network, test, replicates, evaluate.min_patients)
        for network, test in tests.items()
    }
    write_csv(paths.table("cross_part"), cells)
    write_json(paths.details("cross_part"), summary)
    for name, sides in summary.items():
        print(conclusions.cross_part(sides, name))


if __name__ == "__main__":
    run(cross_part, *sys.argv[1:])
