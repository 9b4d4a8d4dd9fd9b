"""From prediction tables to metrics with confidence intervals, comparisons and conclusions."""

from ulna.core.params import NETWORKS as TABLE

# What a reader is shown for a network, and for a metric.
NETWORKS = {name: spec.title for name, spec in TABLE.items()}
NAMES = NETWORKS | {"ensemble": "ensemble"}
METRIC_NAMES = {
    "auroc": "AUROC", "auprc": "AUPRC", "kappa": "kappa", "accuracy": "accuracy",
    "recall": "sensitivity", "specificity": "specificity", "precision": "precision", "f1": "F1",
}  # fmt: skip
# Of the column `note`: the reason why a row has no numbers, or its kind of CI.
NOTES = {"": "", "too_few": "too few", "one_class": "one class", "exact_ci": "no error: exact CI"}
# Whoever shows the published kappas of `ulna.evaluation.comparison` shows this note with them.
REFERENCE_NOTE = "hidden test set, other gold standard: not comparable"
# Probabilities are per image, or per study: of its images together.
LEVELS = ("study", "image")
# Codes of `ulna.evaluation.evaluate.conclude_performance`.
AT_CHANCE = ("no_better_than_chance", "below_chance")
