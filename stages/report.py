"""Write the report: one HTML page from the numbers and figures of all stages before."""

import importlib.metadata
import sys

from ulna import paths
from ulna.console import run
from ulna.data.cache import load_cache
from ulna.data.samples import count_splits, load_samples
from ulna.files import read_json, read_table, write_text
from ulna.judging.reference import read_reference
from ulna.params import load_params
from ulna.report.checklist import read_checklist
from ulna.report.document import html_report, markdown_report
from ulna.report.evidence import FIGURES, METRIC_FILES, TABLES, Evidence
from ulna.report.peers import read_peers

LIBRARIES = ("tensorflow", "keras", "numpy", "pandas", "scipy", "scikit-learn", "pillow", "dvc")


def report() -> None:
    """Load numbers, tables and figures; write plots/report.html and plots/report.md."""
    params = load_params(paths.PARAMS)
    rows = load_samples(paths.IMAGES, paths.SPLITS, load_cache(paths.CACHE))
    evidence = Evidence(
        metrics={name: read_json(paths.metrics(name)) for name in METRIC_FILES},
        tables={name: read_table(paths.PLOTS / f"{name}.csv") for name in TABLES},
        figures={name: paths.PLOTS / f"{name}.png" for name in FIGURES},
        sizes=count_splits(rows),
        reference=read_reference(),
        peers=read_peers(),
        checklist=read_checklist(),
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        params=paths.PARAMS.read_text(encoding="utf-8"),
        root=params.data.root,
    )
    write_text(paths.PLOTS / "report.html", html_report(evidence))
    write_text(paths.PLOTS / "report.md", markdown_report(evidence))
    print(f"report: {paths.PLOTS / 'report.html'} and {paths.PLOTS / 'report.md'}")


if __name__ == "__main__":
    run(report, *sys.argv[1:])
