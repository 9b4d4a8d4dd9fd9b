"""Draw every figure from the tables of the other stages."""

import sys

from ulna.checks.audit import choose_examples
from ulna.checks.shortcuts import occlusion_example
from ulna.core import paths
from ulna.core.io import atomic_directory, read_json, read_table, write_text
from ulna.core.params import load_params
from ulna.core.progress import progress
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.data.cross_part import network_named
from ulna.data.samples import join_measurements, load_samples, select_examples
from ulna.evaluation.comparison import read_reference
from ulna.evaluation.localization import read_gallery
from ulna.figures import checks, comparison, data, results, training
from ulna.figures.style import to_svg

METRICS = ["audit", "overfitting", "baselines", "occlusion"]
TABLES = [*METRICS, "splits", "gaps", "learning_curve", "compare", "cross_part"]
OF_EACH = ["roc", "precision_recall", "confusion", "by_body_part", "by_finding", "reliability"]


def plot() -> None:
    """Load tables, metrics and a few cached images, draw, save."""
    params, cache = load_params(paths.PARAMS), load_cache(paths.CACHE)
    networks, fit, pixels_of = params.networks, params.image.fit, cache.gather_samples
    evaluated, histories = [*networks, paths.ENSEMBLE], [f"history/{arch}" for arch in networks]
    csvs = [*TABLES, *histories, *(f"{arch}/{name}" for arch in evaluated for name in OF_EACH)]
    tables = {name: read_table(paths.table(name)) for name in csvs}
    metrics = {name: read_json(paths.details(name)) for name in [*METRICS, *evaluated]}
    layers, galleries = {}, {}
    for arch in networks:
        layers[arch] = read_table(paths.trained(arch) / "layers.csv")
        galleries[arch] = read_gallery(paths.scores(arch, "saliency"), paths.maps(arch), cache)
    samples = join_measurements(load_samples(paths.IMAGES, paths.SPLITS, cache), cache)
    parts, trained = samples["body_part"].unique(), tables["cross_part"]["trained_on"]
    trained_on = {name: network_named(name, parts).parts for name in trained}
    examples = select_examples(samples, images=12)
    findings = choose_examples(tables["audit"].fillna({"other_image": ""}), 2)
    occluded = occlusion_example(samples.query("split == 'test'"), cache.arrays, fit)
    # Drawings cannot be compared with people.
    synthetic = params.data.root == paths.PHANTOM_ROOT.as_posix()
    reference = read_reference().head(0 if synthetic else None)
    figures = {
        **data.draw(tables, metrics["audit"], samples, fit, examples, findings, pixels_of),
        **training.draw(layers, tables, metrics),
        **results.draw(networks, tables, metrics, reference),
        **comparison.draw(tables, trained_on),
        **checks.draw(networks, tables, metrics, occluded, galleries, pixels_of),
    }
    with atomic_directory(paths.FIGURES) as folder:
        for name, figure in progress(figures.items(), len(figures), "plot", "figures"):
            write_text(folder / f"{name}.svg", to_svg(figure, name))
    print(f"plot: {len(figures)} figures in {paths.FIGURES}: {', '.join(figures)}")


if __name__ == "__main__":
    run(plot, *sys.argv[1:])
