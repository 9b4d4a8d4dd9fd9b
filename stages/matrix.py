"""Judge the networks of `transfer` on each body part, on those seen in training and on the rest."""

import sys

import pandas as pd

from ulna import paths
from ulna.console import run
from ulna.figures.style import number, write_png
from ulna.figures.transfer import heat_maps
from ulna.files import write_csv, write_json
from ulna.judging import transfer_matrix
from ulna.judging.bootstrap import resample
from ulna.params import load_params


def matrix() -> None:
    """Choose thresholds on val, judge on test, write the matrix, its summary and its figure."""
    params = load_params(paths.PARAMS)
    evaluate = params.evaluate
    tests = {
        network: transfer_matrix.judged_studies(network, images, evaluate)
        for network, images in transfer_matrix.read_tables(paths.TRANSFER).items()
    }
    patients = pd.concat([test["patient"] for test in tests.values()])
    resamples = resample(patients, evaluate.bootstrap_draws, params.seed)
    cells = transfer_matrix.matrix(tests, resamples, evaluate.min_patients)
    summary = {
        network.name: transfer_matrix.seen_and_unseen(
            network, test, resamples, evaluate.min_patients
        )
        for network, test in tests.items()
    }
    write_csv(paths.table("transfer"), cells)
    write_json(paths.METRICS / "transfer.json", summary)
    write_png(paths.PLOTS / "transfer.png", heat_maps(list(tests), cells))
    for name, sides in summary.items():
        seen, unseen = (
            f"{number(sides[side]['auroc'])} (n {sides[side]['studies']})"
            for side in ("seen", "unseen")
        )
        print(f"{name}: AUROC of studies {seen} on the parts trained on, {unseen} on others")


if __name__ == "__main__":
    run(matrix, *sys.argv[1:])
