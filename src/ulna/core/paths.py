"""Every path, relative to the root of the repository, where DVC starts each stage."""

from pathlib import Path

PARAMS = Path("params.yaml")
PHANTOM_ROOT = Path("data/phantom/MURA-v1.1.zip")
CHECKED = Path("data/checked.json")
IMAGES = Path("data/prepared/images.csv")
SPLITS = Path("data/prepared/splits.csv")
ANNOTATIONS = Path("data/prepared/annotations.csv")
CACHE = Path("data/cache")
PRETRAINED = Path("data/pretrained")
TRANSFER = Path("data/transfer")
LEARNING_CURVE = Path("data/learning_curve")
PREDICTIONS = Path("data/predictions")
MODELS = Path("models")
METRICS = Path("metrics")
PLOTS = Path("plots")
FIGURES = PLOTS / "figures"
TABLES = PLOTS / "tables"

# Called as a network is in the metrics and tables of `evaluate`.
ENSEMBLE = "ensemble"


def checkpoints(name: str) -> Path:
    """Checkpoints that a training resumes from; no output, and in neither git nor DVC."""
    return Path(".checkpoints") / name


def trained(arch: str) -> Path:
    """Folder of a trained network: weights, what rebuilds it, its layers as a table."""
    return MODELS / arch


def history(arch: str) -> Path:
    """Training curves, one row per epoch; in a folder of their own, which `overfitting` reads."""
    return TABLES / "history" / f"{arch}.csv"


def predictions(arch: str) -> Path:
    """The prediction table; the ensemble's lies outside the folder that it is made from."""
    return (PREDICTIONS.parent if arch == ENSEMBLE else PREDICTIONS) / f"{arch}.csv"


def extra_predictions(arch: str, name: str) -> Path:
    """A prediction table beside the main one: train, frame_hidden or centre_hidden."""
    return PREDICTIONS / arch / f"{name}.csv"


def fraction_predictions(fraction: float) -> Path:
    """The prediction table of the network trained on this fraction of the patients."""
    return LEARNING_CURVE / f"{fraction}.csv"


def provenance(arch: str) -> Path:
    """The provenance of a prediction table; a table from elsewhere has none."""
    return predictions(arch).with_suffix(".json")


def maps(arch: str) -> Path:
    """The maps of all test images, and the result of their test, that `explain` writes."""
    return Path("data/maps") / arch


def onnx(arch: str) -> Path:
    """A network and its maps as ONNX files, and how far they are from Keras, of `convert`."""
    return Path("data/onnx") / arch


def bundle(name: str) -> Path:
    """The bundle of a network or of the ensemble: what `ulna predict` takes."""
    return Path("bundles") / name


def metrics(arch: str) -> Path:
    """The headline of one network, or of the ensemble: all that `dvc metrics` reads."""
    return METRICS / f"{arch}.json"


def details(name: str) -> Path:
    """All numbers and codes of a stage, such as cnn, compare or saliency_cnn."""
    return METRICS / "details" / f"{name}.json"


def scores(arch: str, name: str) -> Path:
    """A table of one network, such as by_body_part, roc or disagreements."""
    return table(f"{arch}/{name}")


def table(name: str) -> Path:
    """A table behind the figures, such as compare or cnn/roc."""
    return TABLES / f"{name}.csv"


def figure(name: str) -> Path:
    """A figure, such as compare or cnn/saliency."""
    return FIGURES / f"{name}.svg"
