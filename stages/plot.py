"""Draw every figure from the tables of the other stages."""

import sys

import pandas as pd

from ulna import paths
from ulna.console import progress, run
from ulna.data.cache import load_cache, pixels_of
from ulna.data.overview import choose_examples, count_splits, first_views
from ulna.data.rows import join_rows, read_images, read_splits
from ulna.figures import exhibits
from ulna.figures import results as figures
from ulna.figures.calibration import reliability_diagrams
from ulna.figures.names import NETWORKS
from ulna.figures.review import review_sheet
from ulna.figures.saliency import saliency_gallery
from ulna.figures.style import write_png
from ulna.files import read_json, read_table
from ulna.judging.reference import read_reference
from ulna.maps.gallery import read_gallery


def plot() -> None:
    """Load the tables and a few cached images, draw, save."""
    cache = load_cache(paths.CACHE)
    rows = join_rows(read_images(paths.IMAGES), read_splits(paths.SPLITS), cache)

    def tables(name: str) -> dict[str, pd.DataFrame]:
        return {arch: read_table(paths.scores(arch, name)) for arch in NETWORKS}

    layers = {arch: read_table(paths.bundle(arch) / "layers.csv") for arch in NETWORKS}
    metrics = {arch: read_json(paths.metrics(arch)) for arch in NETWORKS}
    scores = {arch: found["study"] for arch, found in metrics.items()}
    calibration = {arch: found["calibration"] for arch, found in metrics.items()}
    examples = choose_examples(rows, pictures=12)
    wrong = {arch: first_views(rows, t.head(6)) for arch, t in tables("disagreements").items()}
    parts = tables("by_body_part")
    drawn = {
        "splits": exhibits.split_sizes(count_splits(rows)),
        "examples": exhibits.example_images(examples, pixels_of(cache, examples)),
        "architecture": exhibits.architecture(layers),
        "training_curves": exhibits.training_curves(tables("history")),
        "roc": figures.roc_and_precision_recall(tables("roc"), tables("precision_recall"), scores),
        "confusion": figures.confusion_matrices(tables("confusion"), scores),
        "kappa_by_body_part": figures.kappa_by_body_part(parts, scores, read_reference()),
        "calibration": reliability_diagrams(tables("reliability"), calibration),
        "disagreements": review_sheet(wrong, {a: pixels_of(cache, t) for a, t in wrong.items()}),
    }
    for arch in NETWORKS:
        seen, maps = read_gallery(paths.maps(arch))
        test = read_json(paths.metrics(f"explain_{arch}"))["randomisation"]
        drawn[f"{arch}/saliency"] = saliency_gallery(arch, seen, pixels_of(cache, seen), maps, test)
    for name, figure in progress(drawn.items(), len(drawn), "plot", "figures"):
        write_png(paths.PLOTS / f"{name}.png", figure)
    print(f"plot: {len(drawn)} figures in {paths.PLOTS}: {', '.join(drawn)}")


if __name__ == "__main__":
    run(plot, *sys.argv[1:])
