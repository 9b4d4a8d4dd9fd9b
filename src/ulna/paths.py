"""Where every file lives, relative to the root of the repository (DVC starts each stage there)."""

from pathlib import Path

PARAMS = Path("params.yaml")

PHANTOM_ROOT = Path("data/phantom/MURA-v1.1.zip")

IMAGES = Path("data/prepared/images.csv")
SPLITS = Path("data/prepared/splits.csv")
ANNOTATIONS = Path("data/prepared/annotations.csv")

CACHE = Path("data/cache")
PRETRAINED = Path("data/pretrained")

TRANSFER = Path("data/transfer")
LEARNING_CURVE = Path("data/learning_curve")

METRICS = Path("metrics")
PLOTS = Path("plots")

CHECKPOINTS = Path(".checkpoints")


def checkpoints(name: str) -> Path:
    """What a training can be taken up from; no output, and in neither git nor DVC."""
    return CHECKPOINTS / name


def lock(name: str) -> Path:
    """Held by the one process that may run a stage, such as `train cnn`."""
    return CHECKPOINTS / f"{name.replace('/', '-').replace(' ', '-')}.lock"


def bundle(arch: str) -> Path:
    """Folder of a trained network: weights, what rebuilds it, its layers as a table."""
    return Path("models") / arch


def history(arch: str) -> Path:
    """Learning curves, one row an epoch."""
    return PLOTS / arch / "history.csv"


def predictions(arch: str) -> Path:
    """The prediction table."""
    return Path("data/predictions") / f"{arch}.csv"


def scored(arch: str, name: str) -> Path:
    """A prediction table beside the main one: train, frame_hidden or centre_hidden."""
    return Path("data/predictions") / arch / f"{name}.csv"


def scored_by_fraction(fraction: float) -> Path:
    """The prediction table of the network that learnt from this fraction of the patients."""
    return LEARNING_CURVE / f"{fraction}.csv"


def origin(arch: str) -> Path:
    """Which model a prediction table is of; a table from elsewhere has none."""
    return Path("data/predictions") / f"{arch}.json"


def maps(arch: str) -> Path:
    """What `explain` found to show: a gallery of test images and their maps."""
    return Path("data/maps") / arch


def metrics(arch: str) -> Path:
    """Headline metrics."""
    return METRICS / f"{arch}.json"


def scores(arch: str, name: str) -> Path:
    """A table that `evaluate` draws up, such as by_body_part, roc or disagreements."""
    return PLOTS / arch / f"{name}.csv"
