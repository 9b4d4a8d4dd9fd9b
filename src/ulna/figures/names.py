"""What readers call networks and metrics, and the networks' colours; drawn or not."""

NETWORKS = {"cnn": "CNN", "densenet169": "DenseNet169"}
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
# Okabe and Ito's vermilion and blue.
NETWORK_COLOURS = {"cnn": "#D55E00", "densenet169": "#0072B2"}
NETWORK_MARKERS = {"cnn": "o", "densenet169": "s"}


def named(text: str) -> str:
    """Call the networks in a sentence as readers know them.

    Example:
        >>> named("cnn is better than densenet169")
        'CNN is better than DenseNet169'
    """
    for arch, name in NAMES.items():
        text = text.replace(arch, name)
    return text
