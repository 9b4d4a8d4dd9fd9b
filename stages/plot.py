"""Draw every figure from the tables of the other stages."""

import sys

import pandas as pd

from ulna import paths
from ulna.console import progress, run
from ulna.data.cache import gather_samples, load_cache
from ulna.data.samples import count_splits, first_views, load_samples, select_examples
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
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)

    def tables(name: str) -> dict[str, pd.DataFrame]:
        return {arch: read_table(paths.scores(arch, name)) for arch in NETWORKS}

    layers = {arch: read_table(paths.bundle(arch) / "layers.csv") for arch in NETWORKS}
    metrics = {arch: read_json(paths.metrics(arch)) for arch in NETWORKS}
    scores = {arch: found["study"] for arch, found in metrics.items()}
    calibration = {arch: found["calibration"] for arch, found in metrics.items()}
    examples = select_examples(rows, images=12)
    wrong = {arch: first_views(rows, t.head(6)) for arch, t in tables("disagreements").items()}
    parts = tables("by_body_part")
    drawn = {
        "splits": exhibits.split_sizes(count_splits(rows)),
        "examples": exhibits.example_images(examples, gather_samples(cache, examples)),
        "architecture": exhibits.architecture(layers),
        "training_curves": exhibits.training_curves(tables("history")),
        "roc": figures.roc_and_precision_recall(tables("roc"), tables("precision_recall"), scores),
        "confusion": figures.confusion_matrices(tables("confusion"), scores),
        "kappa_by_body_part": figures.kappa_by_body_part(parts, scores, read_reference()),
        "calibration": reliability_diagrams(tables("reliability"), calibration),
        "disagreements": review_sheet(wrong, {a: gather_samples(cache, wrong[a]) for a in wrong}),
    }
    for arch in NETWORKS:
        seen, maps = read_gallery(paths.maps(arch))
        said = read_json(paths.metrics(f"explain_{arch}"))["randomisation"]["sentence"]
        images = gather_samples(cache, seen)
        drawn[f"{arch}/saliency"] = saliency_gallery(arch, seen, images, maps, said)
    for name, figure in progress(drawn.items(), len(drawn), "plot", "figures"):
        write_png(paths.PLOTS / f"{name}.png", figure)
    print(f"plot: {len(drawn)} figures in {paths.PLOTS}: {', '.join(drawn)}")


if __name__ == "__main__":
    run(plot, *sys.argv[1:])
