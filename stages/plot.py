"""Draw every figure from the tables of the other stages."""

import sys

from ulna.checks.audit import FINDINGS, choose_examples
from ulna.checks.shortcuts import occlusion_example
from ulna.core import paths
from ulna.core.io import atomic_directory, read_json, read_table, write_text
from ulna.core.params import load_params
from ulna.core.stage import progress, run
from ulna.data.cache import load_cache
from ulna.data.cross_part import network_named
from ulna.data.samples import first_views, load_samples, select_examples
from ulna.evaluation.comparison import read_reference
from ulna.evaluation.localization import read_gallery
from ulna.figures import checks, data, errors, results, training
from ulna.figures.style import to_svg

METRICS = ["audit", "overfitting", "baselines", "occlusion"]
TABLES = [*METRICS, "splits", "gaps", "learning_curve", "compare", "cross_part"]
OF_EACH = ["roc", "precision_recall", "confusion", "by_body_part", "reliability", "disagreements"]


def plot() -> None:
    """Load tables, metrics and a few cached images, draw, save."""
    params = load_params(paths.PARAMS)
    networks, csvs, jsons, layers, galleries = params.networks, [*TABLES], [*METRICS], {}, {}
    for arch in networks:
        csvs += [f"history/{arch}", *(f"{arch}/{name}" for name in OF_EACH)]
        jsons += [arch, f"explain_{arch}"]
        layers[arch] = read_table(paths.trained(arch) / "layers.csv")
        galleries[arch] = read_gallery(paths.maps(arch))
    tables = {name: read_table(paths.table(name)) for name in csvs}
    metrics = {name: read_json(paths.metrics(name)) for name in jsons}
    cache = load_cache(paths.CACHE)
    samples = load_samples(paths.IMAGES, paths.SPLITS, cache)
    parts, trained = samples["body_part"].unique(), tables["cross_part"]["trained_on"]
    trained_on = {name: network_named(name, parts).parts for name in trained}
    examples = select_examples(samples, images=12)
    findings = choose_examples(tables["audit"].fillna({"other_image": ""}), 6)
    test = samples.query("split == 'test'").merge(cache.images[["image", "width_px", "height_px"]])
    occluded = occlusion_example(test, cache.arrays, params.image.fit)
    wrong = {a: first_views(samples, tables[f"{a}/disagreements"].head(6)) for a in networks}
    pixels_of = cache.gather_samples
    figures = {
        **data.draw(tables, metrics["audit"], FINDINGS, samples, examples, findings, pixels_of),
        **training.draw(layers, tables, metrics),
        **results.draw(networks, tables, metrics, read_reference(), trained_on),
        **checks.draw(networks, tables, metrics, occluded, galleries, pixels_of),
        **errors.draw(wrong, pixels_of),
    }
    with atomic_directory(paths.FIGURES) as folder:
        for name, figure in progress(figures.items(), len(figures), "plot", "figures"):
            write_text(folder / f"{name}.svg", to_svg(figure, name))
    print(f"plot: {len(figures)} figures in {paths.FIGURES}: {', '.join(figures)}")


if __name__ == "__main__":
    run(plot, *sys.argv[1:])
