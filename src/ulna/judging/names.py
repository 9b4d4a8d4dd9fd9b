"""Display names of what tables and metrics name by code."""

from ulna.params import NETWORKS as TABLE

NETWORKS = {name: spec.title for name, spec in TABLE.items()}
NAMES = NETWORKS | {"ensemble": "ensemble"}  # of all that is evaluated
METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "kappa": "kappa",
    "accuracy": "accuracy",
    "recall": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
}
BASELINES = {
    "prevalence": "prevalence (constant)",
    "body_part": "body part",
    "picture": "image size and mode",
    "views": "number of views",
    "metadata": "all metadata together",
    "corners_and_border": "corners and border",
    "intensity": "mean intensity",
}
# Of the column `note`: why a row has no numbers, or which CI it has.
NOTES = {"": "", "too_few": "too few", "one_class": "one class", "exact_ci": "no error: exact CI"}
