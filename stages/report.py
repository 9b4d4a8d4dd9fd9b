"""Write the report: one HTML page from the numbers and figures of all other stages."""

import importlib.metadata
import sys
from pathlib import Path

from ulna.core import paths
from ulna.core.io import read_json, read_table, write_text
from ulna.core.params import load_params
from ulna.core.predictions import read_predictions
from ulna.core.stage import run
from ulna.data.annotations import read_annotations
from ulna.data.images import decode
from ulna.data.source import image_reader
from ulna.evaluation.comparison import read_reference
from ulna.evaluation.thresholds import apply_thresholds
from ulna.report.build import html_report, markdown_report
from ulna.report.contents import ReportData, best_network, inputs
from ulna.report.pictures import choose_studies, load_pictures

LIBRARIES = ("tensorflow", "keras", "numpy", "pandas", "scipy", "scikit-learn", "pillow", "dvc")


def report() -> None:
    """Load numbers, tables, figures and pictures; write plots/report.html and plots/report.md."""
    params = load_params(paths.PARAMS)
    names, csvs, svgs = inputs(params.networks)
    tables = {name: read_table(paths.table(name)) for name in csvs}
    images = read_predictions(paths.predictions(best_network(params.networks, tables)))
    studies, _ = apply_thresholds(images, "study", params.evaluate)
    views = images[["study", "image"]].merge(read_annotations(paths.ANNOTATIONS), "left", "image")
    chosen = choose_studies(studies[studies["split"] == "test"], views)
    read, limit = image_reader(Path(params.data.root)), params.image.max_megapixels
    drawn = {name: paths.figure(name) for name in svgs if paths.figure(name).exists()}
    data = ReportData(
        networks=params.networks,
        metrics={name: read_json(paths.details(name)) for name in names},
        tables=tables,
        figures={name: path.read_text(encoding="utf-8") for name, path in drawn.items()},
        pictures={
            name: load_pictures(rows, lambda image: decode(read(image), limit).pixels)
            for name, rows in chosen.items()
        },
        reference=read_reference(),
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        params=paths.PARAMS.read_text(encoding="utf-8"),
        root=params.data.root,
        synthetic=params.data.root == paths.PHANTOM_ROOT.as_posix(),
    )
    write_text(paths.PLOTS / "report.html", html_report(data))
    write_text(paths.PLOTS / "report.md", markdown_report(data))
    print(f"report: {paths.PLOTS / 'report.html'} and {paths.PLOTS / 'report.md'}")


if __name__ == "__main__":
    run(report, *sys.argv[1:])
