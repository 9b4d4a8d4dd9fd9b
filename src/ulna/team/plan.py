"""Say which stages would run, why, and run none.

    ulna plan                          what `dvc repro` would do
    ulna plan -S loss=focal            what `dvc exp run -S loss=focal` would do
    ulna plan -S loss=focal evaluate@cnn

A stage runs, because its command, a parameter or a file that it reads is not what dvc.lock says; is
restored, because DVC's run cache knows what would come out; or may run, because a stage before it
runs and nobody knows yet whether anything else will come out. Outputs that are not here count as
dvc.lock has them, as for `dvc repro --allow-missing`. Nothing is run or changed.
"""

import argparse
import json
from dataclasses import asdict

from ulna.team.planner import VERDICTS, Plan, Verdict, plan

# Of several stages.
COUNTED: dict[Verdict, str] = {
    "runs": "to run",
    "is restored": "to be restored",
    "may run": "that may have to run",
    "does not run": "as they are",
}


def render(found: Plan) -> str:
    """A plan for a terminal: what runs, each with its reasons, then what does not."""
    counts = [(len(found.of(verdict)), verdict) for verdict in VERDICTS]
    said = [f"{count} {COUNTED[verdict]}" for count, verdict in counts if count]
    lines = [f"{len(found.stages)} stages: {', '.join(said)}."]
    left = found.of("does not run")
    at_work = [planned for planned in found.stages if planned.stage not in left]
    width = max((len(planned.stage) for planned in at_work), default=0)
    for planned in at_work:
        before = [reason.name for reason in planned.reasons if reason.kind == "upstream"]
        reasons = [str(reason) for reason in planned.reasons if reason.kind != "upstream"]
        if before:
            reasons.append(f"after {', '.join(before)}")
        lines.append(f"{planned.stage:<{width}}  {planned.verdict:<11}  {reasons[0]}")
        lines += [f"{'':<{width + 15}}{reason}" for reason in reasons[1:]]
    if at_work and left:
        lines.append(f"As they are: {', '.join(left)}.")
    if found.missing:
        lost = sum(not missing.in_cache for missing in found.missing)
        lines.append(
            f"Outputs that are not here: {len(found.missing)}, in the cache neither: {lost}."
        )
        lines.append(
            "They count as dvc.lock has them: `dvc repro --pull --allow-missing` fetches those "
            "that it needs, a plain `dvc repro` makes them anew."
            if lost
            else "`dvc checkout` puts them back."
        )
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ulna plan`."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="stages to stop at; all")
    parser.add_argument(
        *("-S", "--set-param"),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter, as for `dvc exp run -S`; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> None:
    """Print the plan."""
    found = plan(arguments.set_param, arguments.targets)
    print(json.dumps(asdict(found), indent=2) if arguments.json else render(found))
