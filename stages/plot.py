"""Draw every figure from the tables of the other stages."""

import io
import json
import sys
from pathlib import Path

import pandas as pd

from ulna import exhibits, figures, paths
from ulna.cache import gather, load_cache
from ulna.console import run
from ulna.errors import InputError
from ulna.overview import choose_examples, count_splits
from ulna.reference import read_reference
from ulna.rows import join_rows, read_images, read_splits
from ulna.style import NETWORKS, write_png


def plot() -> None:
    """Load the tables and a few cached images, draw, save."""
    cache = load_cache(paths.CACHE)
    rows = join_rows(read_images(paths.IMAGES), read_splits(paths.SPLITS), cache)
    chosen = choose_examples(rows, pictures=12)
    pixels = gather(cache, chosen["body_part"].to_numpy(), chosen["row"].to_numpy())
    layers = {arch: _table(paths.bundle(arch) / "layers.csv") for arch in NETWORKS}
    histories = {arch: _table(paths.history(arch)) for arch in NETWORKS}
    scores = {arch: json.loads(_text(paths.metrics(arch)))["study"] for arch in NETWORKS}
    roc, precision_recall, confusion, by_body_part = (
        {arch: _table(paths.scores(arch, name)) for arch in NETWORKS}
        for name in ("roc", "precision_recall", "confusion", "by_body_part")
    )
    drawn = {
        "splits": exhibits.split_sizes(count_splits(rows)),
        "examples": exhibits.example_images(chosen, pixels),
        "architecture": exhibits.architecture(layers),
        "learning_curves": exhibits.learning_curves(histories),
        "roc": figures.roc_and_precision_recall(roc, precision_recall, scores),
        "confusion": figures.confusion_matrices(confusion, scores),
        "kappa_by_body_part": figures.kappa_by_body_part(by_body_part, scores, read_reference()),
    }
    for name, figure in drawn.items():
        write_png(paths.PLOTS / f"{name}.png", figure)
    print(f"plot: {len(drawn)} figures in {paths.PLOTS}: {', '.join(drawn)}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run `dvc repro plot`") from None


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(_text(path)))


if __name__ == "__main__":
    run(plot, *sys.argv[1:])
