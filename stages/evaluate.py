"""Judge one network from its prediction table: headline metrics and the tables behind the plots."""

import sys

from ulna import paths
from ulna.calibration import choose_threshold
from ulna.console import run
from ulna.files import write_csv, write_json
from ulna.metrics import by_body_part, confusion, precision_recall, roc, score
from ulna.params import load_params
from ulna.predictions import by_study, read_predictions


def evaluate(arch: str) -> None:
    """Choose a threshold on val, judge studies and images of test with it, write the numbers."""
    params = load_params(paths.PARAMS)
    rule = params.evaluate.threshold
    images = read_predictions(paths.predictions(arch))
    studies = by_study(images)
    levels = {}
    for level, table in (("study", studies), ("image", images)):
        val, test = (table[table["split"] == split] for split in ("val", "test"))
        threshold = choose_threshold(rule, val["label"], val["probability"])
        levels[level] = score(test["label"], test["probability"], threshold)
    write_json(paths.metrics(arch), levels)

    test = studies[studies["split"] == "test"]
    truth, threshold = (test["label"], test["probability"]), levels["study"]["threshold"]
    write_csv(paths.scores(arch, "by_body_part"), by_body_part(test, threshold))
    write_csv(paths.scores(arch, "roc"), roc(*truth))
    write_csv(paths.scores(arch, "precision_recall"), precision_recall(*truth))
    write_csv(paths.scores(arch, "confusion"), confusion(*truth, threshold))
    for level, scores in levels.items():
        print(
            f"{arch} per {level}: n {scores['n']} ({scores['abnormal']} abnormal), "
            f"AUROC {scores['auroc']:.3f}, kappa {scores['kappa']:.3f}, "
            f"threshold {scores['threshold']:.3f} ({rule})"
        )


if __name__ == "__main__":
    run(evaluate, *sys.argv[1:])
