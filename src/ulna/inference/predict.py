"""Tell abnormal from normal on bone radiographs, with a trained network.

A file is a study of one view, a folder of images a study of all of them; of a folder of folders,
such as a tree laid out like MURA, each that holds images is a study. PNG, JPEG and DICOM (CR, DX)
are recognised by their content. The answer is for research; this is not a medical device.
"""

import argparse
import json
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ulna.core import InputError, find_root, version
from ulna.core.progress import progress
from ulna.inference import request, text
from ulna.inference.bundle import Bundle, find_bundle, load_bundle
from ulna.inference.journal import Journal, digest
from ulna.inference.outputs import make_record
from ulna.inference.predictor import REPOSITORY, Predictor
from ulna.inference.studies import ViewGroup, group_paths, parse_body_part
from ulna.inference.writers import write_csv, write_json, write_overlays, write_report

add_arguments = request.add_arguments

# Up to this number studies are shown in full, more in a line each.
IN_FULL = 20
FIRST_REFUSED = 10

Record = dict[str, Any]
Groups = Callable[[], Iterable[ViewGroup]]


@dataclass
class _Tally:
    """Counts over studies, for the end of the text and the exit code."""

    answered: int = 0
    positive: int = 0
    refused: int = 0
    first_refused: list[str] = field(default_factory=list)
    warned: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        self.answered += record["decision"] is not None
        self.positive += record["decision"] == "abnormal"
        self.refused += len(record["refused"])
        room = FIRST_REFUSED - len(self.first_refused)
        self.first_refused += islice(text.reasons(record), room)
        self.warned.update(warning["code"] for warning in record["warnings"])


@dataclass(frozen=True)
class _Job:
    """The call: what every study is predicted with."""

    predictor: Predictor
    origin: str  # of the bundle, in words
    body_part: str | None
    targets: request.Targets

    def records(self, groups: Iterable[ViewGroup]) -> Iterator[Record]:
        """The record of each study, once its overlays are written."""
        patients: deque[str | None] = deque()  # of the studies that are under way

        def taken() -> Iterator[ViewGroup]:
            for group in groups:
                patients.append(group.patient)
                yield group

        for study in self.predictor.studies(taken(), body_part=self.body_part):
            overlays: dict[str, str] = {}
            if self.targets.cam is not None:
                overlays, faults = write_overlays(self.targets.cam, study, self.predictor)
                _warn(*(f"{text.printable(path)}: no overlay, {why}" for path, why in faults))
            yield make_record(study, self.predictor.bundle, patients.popleft(), overlays)


def run(arguments: argparse.Namespace) -> int:
    """Predict, print and write; the exit code.

    Raises:
        InputError: The call is bad: no bundle, nothing to read, an output that cannot be written.
    """
    targets = request.parse_targets(arguments)
    body_part = parse_body_part(arguments.body_part)
    paths = request.list_paths(arguments.paths)
    request.refuse_overlays_among(paths, targets.cam)
    root = find_root()
    # Outside of a repository, that of the source, if it lies in one.
    location, origin = find_bundle(
        arguments.bundle, root if (root / ".dvc").is_dir() else REPOSITORY
    )
    bundle = load_bundle(location)
    if targets.cam is not None and not bundle.has_maps:
        raise InputError(
            f"--cam: {origin} has no activation maps, since those of its network failed their "
            f"test: leave --cam out ({_about_maps(bundle)})"
        )
    groups = partial(group_paths, paths, one_study=arguments.one_study, patterns=False)
    job = _Job(Predictor(bundle, threads=arguments.threads), origin, body_part, targets)
    if bundle.has_maps and (targets.cam or targets.report):
        job.predictor.load_for_maps()
    tally = _Tally()
    if targets.paths:
        total = _predict_into_files(job, groups, tally)
    else:
        total = sum(1 for _ in groups())
        _show_head(job)
        records = job.records(groups())
        # On a terminal the lines themselves show how far it is.
        if not (targets.text and sys.stdout.isatty()):
            records = _with_progress(records, total, 0, targets)
        _show(records, total, job, tally)
    return _finish(tally, targets, total)


def _about_maps(bundle: Bundle) -> str:
    networks = bundle.record["networks"]
    return " ".join(network["saliency"] for network in networks if network["maps"] is None)


def _predict_into_files(job: _Job, groups: Groups, tally: _Tally) -> int:
    """Predict what the journal lacks; then make every output from it alone. How many studies."""
    targets, bundle = job.targets, job.predictor.bundle
    first = targets.paths[0]
    key = {
        "version": version(),
        "bundle": bundle.sha256,
        "body_part": job.body_part,
        "cam": os.path.abspath(targets.cam) if targets.cam else None,
    }
    with Journal(first.parent / f"{first.name}.partial", key) as journal:
        total, done = _survey(groups(), journal, targets.paths)
        _show_head(job)
        if done and not targets.quiet:
            _warn(f"going on after {done:,} of {total:,} studies")
        order = _fill(journal, job, groups, total, done)

        def records() -> Iterator[Record]:
            return map(journal.read, order)

        if targets.json is not None:
            write_json(targets.json, records)
        if targets.csv is not None:
            write_csv(targets.csv, records)
        if targets.report is not None:
            write_report(targets.report, records, job.predictor, job.origin)
        _show(records(), total, job, tally)
    return total


def _survey(
    groups: Iterable[ViewGroup], journal: Journal, outputs: Iterable[Path]
) -> tuple[int, int]:
    """Count the studies, and those in the journal; refuse (InputError) an output that is read."""
    written = {_identity(path): path for path in outputs if path.exists()}
    total = done = 0
    for group in groups:
        total += 1
        done += len(journal) > 0 and _digest(group) in journal
        for file in group.files if written else ():
            output = written.get(_identity(file))
            if output is not None:
                raise InputError(f"{output} would be read and written: name another output")
    return total, done


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _digest(group: ViewGroup) -> str:
    """Of a study and its files: their paths, sizes and times."""
    files = []
    for path in group.files:
        try:
            status = path.stat()
            # A copy that keeps the time changes the content under the same size and time.
            times = status.st_mtime_ns, status.st_ctime_ns
            files.append((os.path.abspath(path), status.st_size, *times))
        except OSError:
            files.append((os.path.abspath(path), -1, -1, -1))
    faults = [(each.path, each.reason) for each in group.faults]
    return digest(group.study, group.body_part, group.patient, files, faults)


def _fill(journal: Journal, job: _Job, groups: Groups, total: int, done: int) -> list[str]:
    """Add to the journal what it lacks; the digests of all studies, in order."""
    order: list[str] = []
    under_way: deque[str] = deque()

    def lacking() -> Iterator[ViewGroup]:
        for group in groups():
            order.append(_digest(group))
            if order[-1] not in journal:
                under_way.append(order[-1])
                yield group

    try:
        for record in _with_progress(job.records(lacking()), total, done, job.targets):
            journal.append(under_way.popleft(), record)
    except BaseException:
        if len(journal):
            _warn(f"{len(journal):,} studies are kept: the same command goes on from there")
        raise
    return order


def _with_progress(
    records: Iterator[Record], total: int, done: int, targets: request.Targets
) -> Iterator[Record]:
    if total <= IN_FULL or targets.quiet:
        return records
    return progress(records, total, "predict", "studies", done, sys.stderr)


def _show_head(job: _Job) -> None:
    bundle = job.predictor.bundle
    if job.targets.text:
        _print(*text.bundle_lines(bundle.record, bundle.sha256, job.origin, bundle.source), "")


def _show(records: Iterable[Record], total: int, job: _Job, tally: _Tally) -> None:
    """Count every study; print those that are not in a file alone."""
    targets = job.targets
    rule = text.describe_rule(job.predictor.bundle.record["threshold"])
    for record in records:
        tally.add(record)
        if targets.json_lines:
            _print(json.dumps(record))
        elif targets.text and total <= IN_FULL:
            _print(*text.study_lines(record, rule), "")
        elif targets.text and not targets.paths:
            _print(text.study_line(record))


def _finish(tally: _Tally, targets: request.Targets, total: int) -> int:
    """Print the end; the exit code."""
    # In full, each study has named its own.
    shown = targets.text and total <= IN_FULL
    named, warned = ([], {}) if shown else (tally.first_refused, tally.warned)
    lines = text.summary_lines(tally.answered, tally.positive, tally.refused, named, warned)
    if targets.text:
        _print(*lines, *(f"written: {path}" for path in targets.paths), text.DISCLAIMER)
    elif tally.refused:
        _warn(*lines)
    return 2 if tally.refused else 0


def _print(*lines: str) -> None:
    # At once: who watches a long run sees each study.
    print(*lines, sep="\n", flush=True)


def _warn(*lines: str) -> None:
    if lines:
        print(*lines, sep="\n", file=sys.stderr)
