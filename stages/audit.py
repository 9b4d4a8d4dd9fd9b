"""Audit the cached images: anomalies, copies, leaks between splits, contradicting labels."""

import sys

from ulna.checks import audit as checks
from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.data.samples import count_splits, join_measurements, load_samples
from ulna.evaluation import conclusions


def audit() -> None:
    """Measure the cached images, list the findings, stop on audit.fail_on."""
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    samples = load_samples(paths.IMAGES, paths.SPLITS, cache)
    images = join_measurements(samples, cache)
    findings = checks.audit_images(images, cache.arrays, params.image.fit)
    counts = checks.count_findings(findings)
    table = paths.table("audit")
    write_csv(table, findings)
    write_csv(paths.table("splits"), count_splits(samples))
    summary = checks.summarize_audit(images, len(cache.rejected)) | {"findings": counts}
    write_json(paths.details("audit"), summary)
    print(f"{conclusions.audit(summary)} All are listed in {table}.")
    checks.fail_on_findings(findings, params.audit.fail_on, table)


if __name__ == "__main__":
    run(audit, *sys.argv[1:])
