"""Tell whether two revisions were trained on machines and software of one class.

Training rounds in another order on another processor and ends in other weights: against results
from elsewhere, a difference is not that of a parameter alone.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ulna.core import InputError, paths
from ulna.core.provenance import NOT_IN_FINGERPRINT
from ulna.evaluation import NAMES
from ulna.team.revisions import COMMIT, WORKSPACE, git

Environments = Mapping[str, Mapping[str, Any]]  # network -> `ulna.core.provenance.describe`


def read_environments(commit: str = WORKSPACE) -> dict[str, dict[str, Any]]:
    """The environment that each network was trained in, by the metrics here or at a commit.

    Networks without metrics, or with metrics that name none, are left out.
    """
    environments = dict[str, dict[str, Any]]()
    for network in NAMES:
        # The second in older revisions.
        for path in (f"{paths.METRICS}/details/{network}.json", f"{paths.METRICS}/{network}.json"):
            # ValueError: both sides of a merge.
            with suppress(InputError, FileNotFoundError, ValueError):
                here = commit == WORKSPACE
                text = Path(path).read_text("utf-8") if here else git("show", f"{commit}:./{path}")
                if environment := json.loads(text).get("environment"):
                    environments.setdefault(network, environment)
    return environments


def differing_fields(before: Environments, after: Environments) -> list[str]:
    """Name what differs in the environments of the networks that both have, such as cpu."""
    pairs = [(before[network], after[network]) for network in before if network in after]
    names = dict.fromkeys(name for one, two in pairs for name in (*one, *two))
    return [
        name
        for name in names
        if name not in (*NOT_IN_FINGERPRINT, "fingerprint")
        and any(one.get(name) != two.get(name) for one, two in pairs)
    ]


def machine_note(names: tuple[str, str], before: Environments, after: Environments) -> str:
    """One sentence if two revisions were trained on different machines or software, else none."""
    if not (fields := differing_fields(before, after)):
        return ""
    return (
        f"{names[0]} and {names[1]} were trained on different machines or software (other "
        f"{', '.join(fields)}): rounding alone makes other networks there. Compare with results of "
        f"your own: make repro, then {COMMIT}"
    )


def other_machine() -> str:
    """The `machine_note` of HEAD and the workspace, for the end of a run; none without a HEAD."""
    return machine_note(("HEAD", WORKSPACE), read_environments("HEAD"), read_environments())
