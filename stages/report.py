"""Write the report: one HTML page from the numbers and figures of all other stages."""

import importlib.metadata
import sys

from ulna.core import paths
from ulna.core.io import read_json, read_table, write_text
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.evaluation.comparison import read_reference
from ulna.report.build import html_report, markdown_report
from ulna.report.sections import ReportData, inputs

LIBRARIES = ("tensorflow", "keras", "numpy", "pandas", "scipy", "scikit-learn", "pillow", "dvc")


def report() -> None:
    """Load numbers, tables and figures; write plots/report.html and plots/report.md."""
    params = load_params(paths.PARAMS)
    metrics, tables, figures = inputs(params.networks)
    data = ReportData(
        networks=params.networks,
        metrics={name: read_json(paths.metrics(name)) for name in metrics},
        tables={name: read_table(paths.table(name)) for name in tables},
        figures={name: paths.figure(name).read_text(encoding="utf-8") for name in figures},
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
