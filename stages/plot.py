"""Draw every figure from the tables of the other stages."""

import sys

from ulna import paths
from ulna.console import progress, run
from ulna.data.cache import load_cache
from ulna.data.samples import load_samples
from ulna.figures import checks, data, errors, results, training
from ulna.figures.style import to_svg
from ulna.files import read_json, read_table, replacing_folder, write_text
from ulna.maps.gallery import read_gallery
from ulna.params import load_params

TABLES = (
    *("splits", "audit", "overfitting", "gaps", "learning_curve", "compare", "transfer"),
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
    layers = {arch: read_table(paths.bundle(arch) / "layers.csv") for arch in networks}
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
    with replacing_folder(paths.FIGURES) as folder:
        for name, figure in progress(drawn.items(), len(drawn), "plot", "figures"):
            write_text(folder / f"{name}.svg", to_svg(figure, name))
    print(f"plot: {len(drawn)} figures in {paths.FIGURES}: {', '.join(drawn)}")


if __name__ == "__main__":
    run(plot, *sys.argv[1:])
