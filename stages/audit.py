"""Look for odd images, copies, leaks between splits and contradicting labels."""

import sys

from ulna.checks import audit as checks
from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.data.samples import count_splits, load_samples
from ulna.evaluation import conclusions


def audit() -> None:
    """Measure the cached images, list what is odd, stop on audit.fail_on."""
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    rows = load_samples(paths.IMAGES, paths.SPLITS, cache)
    images = checks.join_measurements(rows, cache)
    findings = checks.audit_images(images, cache, params.image.fit)
    counts = checks.count_findings(findings)
    table = paths.table("audit")
    write_csv(table, findings)
    write_csv(paths.table("splits"), count_splits(rows))
    summary = checks.summarize_audit(images, len(cache.rejected)) | {"findings": counts}
    write_json(paths.METRICS / "audit.json", summary)
    print(f"{conclusions.audit(summary)} All are listed in {table}.")
    checks.fail_on_findings(findings, params.audit.fail_on, table)


if __name__ == "__main__":
    run(audit, *sys.argv[1:])
