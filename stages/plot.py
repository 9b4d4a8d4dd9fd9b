"""Draw every figure from the tables of the other stages."""

import sys

from ulna.core import paths
from ulna.core.io import atomic_directory, read_json, read_table, write_text
from ulna.core.params import load_params
from ulna.core.stage import progress, run
from ulna.data.cache import load_cache
from ulna.data.samples import load_samples
from ulna.evaluation.localization import read_gallery
from ulna.figures import checks, data, errors, results, training
from ulna.figures.style import to_svg

TABLES = (
    *("splits", "audit", "overfitting", "gaps", "learning_curve", "compare", "cross_part"),
    *("baselines", "occlusion"),
)
TABLES_OF_EACH = (
    *("roc", "precision_recall", "confusion", "by_body_part", "reliability"),
    "disagreements",
)
METRICS = ("audit", "overfitting", "baselines", "occlusion")


def plot() -> None:
    """Load tables, metrics and a few cached images, draw, save."""
    params = load_params(paths.PARAMS)
    networks, fit = params.networks, params.image.fit
    names = [*TABLES, *(f"{arch}/{name}" for arch in networks for name in TABLES_OF_EACH)]
    names += [f"history/{arch}" for arch in networks]
    tables = {name: read_table(paths.table(name)) for name in names}
    names = [*METRICS, *networks, *(f"explain_{arch}" for arch in networks)]
    metrics = {name: read_json(paths.metrics(name)) for name in names}
    layers = {arch: read_table(paths.trained(arch) / "layers.csv") for arch in networks}
    galleries = {arch: read_gallery(paths.maps(arch)) for arch in networks}
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)

    drawn = {
        **data.draw(rows, cache, tables, metrics["audit"]),
        **training.draw(layers, tables, metrics),
        **results.draw(networks, tables, metrics),
        **checks.draw(networks, rows, cache, fit, tables, metrics, galleries),
        **errors.draw(networks, rows, cache, tables),
    }
    with atomic_directory(paths.FIGURES) as folder:
        for name, figure in progress(drawn.items(), len(drawn), "plot", "figures"):
            write_text(folder / f"{name}.svg", to_svg(figure, name))
    print(f"plot: {len(drawn)} figures in {paths.FIGURES}: {', '.join(drawn)}")


if __name__ == "__main__":
    run(plot, *sys.argv[1:])
