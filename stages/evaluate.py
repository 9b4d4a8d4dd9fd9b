"""Judge one network from its prediction table: headline metrics and the tables behind the plots."""

import sys

from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.predictions import read_predictions
from ulna.core.provenance import read_provenance
from ulna.core.stage import run
from ulna.evaluation import conclusions
from ulna.evaluation.evaluate import LEVELS, evaluate_table
from ulna.evaluation.metrics import confusion, precision_recall, roc


def evaluate(arch: str) -> None:
    """Choose a threshold on val, judge studies and images of test with it, write the numbers."""
    params = load_params(paths.PARAMS)
    images = read_predictions(paths.predictions(arch))
    found = evaluate_table(images, params.evaluate, params.seed)
    write_json(paths.metrics(arch), found.metrics | read_provenance(paths.provenance(arch)))

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
        print(
            f"{arch} per {level}: n {scores['n']} ({scores['abnormal']} abnormal), threshold "
            f"{scores['threshold']:.3f} ({params.evaluate.threshold}). "
            f"{conclusions.performance(scores, arch)}"
        )


if __name__ == "__main__":
    run(evaluate, *sys.argv[1:])
