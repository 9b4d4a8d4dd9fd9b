"""Evaluate one network from its prediction table: metrics, and the tables behind the plots."""

import sys

from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.predictions import read_predictions
from ulna.core.provenance import read_provenance
from ulna.core.stage import run
from ulna.evaluation import conclusions
from ulna.evaluation.evaluate import evaluate_table
from ulna.evaluation.metrics import confusion, precision_recall, roc
from ulna.evaluation.thresholds import LEVELS


def evaluate(arch: str) -> None:
    """Choose thresholds on val, evaluate studies and images of test with them, write."""
    params = load_params(paths.PARAMS)
    images = read_predictions(paths.predictions(arch))
    evaluation = evaluate_table(images, params.evaluate, params.seed)
    write_json(paths.metrics(arch), evaluation.metrics | read_provenance(paths.provenance(arch)))

    truth = (evaluation.studies["label"], evaluation.studies["probability"])
    tables = {
        "by_body_part": evaluation.by_body_part,
        "roc": roc(*truth),
        "precision_recall": precision_recall(*truth),
        "confusion": confusion(*truth, evaluation.studies["threshold"]),
        "aggregations": evaluation.aggregations,
        "reliability": evaluation.reliability,
        "disagreements": evaluation.disagreements,
    }
    for name, table in tables.items():
        write_csv(paths.scores(arch, name), table)
    for level in LEVELS:
        scores = evaluation.metrics[level]
        print(
            f"{arch} per {level}: n {scores['n']} ({scores['abnormal']} abnormal), threshold "
            f"{scores['threshold']:.3f} ({params.evaluate.threshold}). "
            f"{conclusions.performance(scores, arch)}"
        )


if __name__ == "__main__":
    run(evaluate, *sys.argv[1:])
