"""Evaluate one network from its prediction table: metrics, and the tables behind the plots."""

import sys

from ulna.core import paths
from ulna.core.io import read_table, write_csv, write_json
from ulna.core.params import load_params
from ulna.core.predictions import read_predictions
from ulna.core.provenance import read_provenance
from ulna.core.stage import run
from ulna.data.annotations import read_annotations
from ulna.evaluation import conclusions
from ulna.evaluation.evaluate import evaluate_table, headline
from ulna.evaluation.metrics import confusion, precision_recall, roc


def evaluate(arch: str) -> None:
    """Choose thresholds on val, evaluate studies and images of test with them, write."""
    params = load_params(paths.PARAMS)
    images = read_predictions(paths.predictions(arch))
    known = read_annotations(paths.ANNOTATIONS), read_table(paths.table("audit"))
    evaluation = evaluate_table(images, params.evaluate, params.seed, *known)
    metrics = evaluation.metrics
    write_json(paths.metrics(arch), headline(arch, metrics["study"]))
    write_json(paths.details(arch), metrics | read_provenance(paths.provenance(arch)))

    truth = (evaluation.studies["label"], evaluation.studies["probability"])
    tables = {
        "by_body_part": evaluation.by_body_part,
        "by_finding": evaluation.by_finding,
        "roc": roc(*truth),
        "precision_recall": precision_recall(*truth),
        "confusion": confusion(*truth, evaluation.studies["threshold"]),
        "aggregations": evaluation.aggregations,
        "reliability": evaluation.reliability,
        "disagreements": evaluation.disagreements,
    }
    for name, table in tables.items():
        write_csv(paths.scores(arch, name), table)
    scores = metrics["study"]
    print(
        f"{arch} per study: n {scores['n']} ({scores['abnormal']} abnormal), threshold "
        f"{scores['threshold']:.3f} ({params.evaluate.threshold}). "
        f"{conclusions.performance(scores, arch)}"
    )


if __name__ == "__main__":
    run(evaluate, *sys.argv[1:])
