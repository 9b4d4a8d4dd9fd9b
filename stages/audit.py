"""Look for odd images, copies, leaks between splits and contradicting labels."""

import sys

from ulna import paths
from ulna.checks import audit as checks
from ulna.console import run
from ulna.data.cache import gather_samples, load_cache
from ulna.data.samples import load_samples
from ulna.figures.audit import edge_cases
from ulna.figures.style import write_png
from ulna.files import write_csv, write_json
from ulna.params import load_params


def audit() -> None:
    """Measure the cached images, write and show what is odd, stop on audit.fail_on."""
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)
    images = checks.with_measurements(rows, cache)
    findings = checks.audit_images(images, cache, params.image.fit)
    counts = checks.count_findings(findings)
    table = paths.PLOTS / "audit" / "findings.csv"
    write_csv(table, findings)
    summary = checks.summarise(images, len(cache.rejected)) | {"findings": counts}
    write_json(paths.METRICS / "audit.json", summary)
    examples = checks.choose_examples(findings, pictures=6)
    shown = images[images["image"].isin([*examples["image"], *examples["other_image"]])]
    squares = dict(zip(shown["image"], gather_samples(cache, shown), strict=True))
    sheet = edge_cases(examples, squares, counts, checks.FINDINGS, len(images))
    write_png(paths.PLOTS / "audit.png", sheet)
    named = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    print(f"{len(images):,} images: {named or 'nothing odd'} (listed in {table})")
    checks.stop_on(findings, params.audit.fail_on, table)


if __name__ == "__main__":
    run(audit, *sys.argv[1:])
