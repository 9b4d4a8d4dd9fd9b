"""Judge one network from its prediction table: headline metrics and the tables behind the plots."""

import math
import sys

from ulna import paths
from ulna.console import run
from ulna.files import write_csv, write_json
from ulna.judging.evaluation import LEVELS, TOO_FEW, evaluate_table
from ulna.judging.metrics import confusion, precision_recall, roc
from ulna.params import load_params
from ulna.predictions import read_origin, read_predictions


def evaluate(arch: str) -> None:
    """Choose a threshold on val, judge studies and images of test with it, write the numbers."""
    params = load_params(paths.PARAMS)
    images = read_predictions(paths.predictions(arch))
    found = evaluate_table(images, params.evaluate, params.seed)
    write_json(paths.metrics(arch), found.metrics | read_origin(paths.origin(arch)))

    truth = (found.studies["label"], found.studies["probability"])
    tables = {
        "by_body_part": found.by_body_part,
        "roc": roc(*truth),
        "precision_recall": precision_recall(*truth),
        "confusion": confusion(*truth, found.studies["threshold"]),
        "aggregations": found.aggregations,
        "reliability": found.reliability,
        "disagreements": found.disagreements,
    }
    for name, table in tables.items():
        write_csv(paths.scores(arch, name), table)
    for level in LEVELS:
        scores = found.metrics[level]
        auroc, kappa = (
            TOO_FEW
            if math.isnan(scores[name])
            else f"{scores[name]:.3f} ({scores[f'{name}_low']:.3f} to {scores[f'{name}_high']:.3f})"
            for name in ("auroc", "kappa")
        )
        print(
            f"{arch} per {level}: n {scores['n']} ({scores['abnormal']} abnormal), AUROC {auroc}, "
            f"kappa {kappa}, threshold {scores['threshold']:.3f} ({params.evaluate.threshold})"
        )


if __name__ == "__main__":
    run(evaluate, *sys.argv[1:])
