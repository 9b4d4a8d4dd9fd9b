"""What readers call networks and metrics, and the networks' colours; drawn or not."""

from ulna.params import NETWORKS as TABLE

NETWORKS = {name: spec.title for name, spec in TABLE.items()}
NAMES = NETWORKS | {"ensemble": "ensemble"}  # of all that is judged
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
NETWORK_COLOURS = {name: spec.colour for name, spec in TABLE.items()}


def named(text: str) -> str:
    """Call the networks in a sentence as readers know them.

    Example:
        >>> named("cnn is better than densenet169")
        'CNN is better than DenseNet169'
    """
    for arch, name in NAMES.items():
        text = text.replace(arch, name)
    return text
