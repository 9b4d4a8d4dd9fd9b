"""Experiments as a team makes them: DVC itself and `ulna`, on a copy of the finished pipeline.

Three networks are trained in all; everything else must come from DVC's caches.
"""

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from tiny_pipeline import ROOT, copy_of, dvc, environment, run

pytestmark = pytest.mark.slow

ULNA = str(ROOT / "ulna")
# Alone on two cores the queue takes a tenth of it.
SECONDS_FOR_THE_QUEUE = 600
LIGHT = ("check", "phantom", "prepare", "preprocess")
TRAINED = ("train@cnn", "predict@cnn")


def ulna(folder: Path, *arguments: str) -> str:
    done = run(folder, sys.executable, ULNA, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(folder: Path, *arguments: str) -> str:
    """The one sentence with which a command ends that cannot do what it was asked."""
    done = run(folder, sys.executable, ULNA, *arguments)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    (sentence,) = done.stderr.splitlines()
    return sentence


def in_terminal(folder: Path, *command: str) -> str:
    """What a command shows in a terminal of 120 columns, without colours and pager."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    variables = environment(DVC_PAGER="cat")
    process = subprocess.Popen(command, cwd=folder, env=variables, stdin=theirs, stdout=theirs)
    os.close(theirs)
    shown = b""
    # Linux ends a terminal that nobody writes to any more with an error.
    with suppress(OSError):
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())


def clean(folder: Path) -> None:
    """Back to the commit, as a user takes an experiment back."""
    run(folder, "git", "checkout", "--", ".")
    dvc(folder, "checkout", "--force", "--quiet")


def read_metrics(folder: Path, revision: str) -> dict:
    shown = run(folder, "git", "show", f"{revision}:metrics/details/cnn.json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def experiments(folder: Path) -> list[str]:
    """Git's names of all experiments, with the commits that they are."""
    words = ("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
    return [
        line for line in run(folder, "git", *words).stdout.splitlines() if "/celery" not in line
    ]


def name_of(folder: Path, experiment: str) -> str:
    """Git's name of an experiment."""
    names = [line.split()[0] for line in experiments(folder)]
    return next(name for name in names if name.endswith(f"/{experiment}"))


@pytest.fixture(scope="module")
def repository(built, tmp_path_factory) -> Path:
    return copy_of(built, tmp_path_factory.mktemp("experiments") / "ulna")


@pytest.fixture(scope="module")
def focal(repository) -> dict[str, object]:
    """`dvc exp run -S loss=focal`: what DVC said, what curves it drew."""
    history = repository / "plots/tables/history/cnn.csv"
    command = [sys.executable, "-m", "dvc", "exp", "run", "-n", "focal", "-S", "loss=focal"]
    seen: list[str] = []
    with (repository.parent / "said.txt").open("w+") as said:
        process = subprocess.Popen(
            [*command, "evaluate@cnn"],
            cwd=repository,
            env=environment(),
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            try:
                text = history.read_text()
            except FileNotFoundError:
                # DVC takes it away before the stage writes it.
                text = ""
            if text and (not seen or seen[-1] != text):
                seen.append(text)
            time.sleep(0.005)
        said.seek(0)
        output = said.read()
    assert process.returncode == 0, output
    clean(repository)
    return {"output": output, "curves": seen}


# One after the other


def test_another_loss_trains_and_does_not_prepare_again(focal):
    for stage in LIGHT:
        assert f"Stage '{stage}' didn't change, skipping" in focal["output"]
    for stage in TRAINED:
        assert f"Running stage '{stage}'" in focal["output"]


def test_learning_curves_can_be_read_after_each_epoch(focal):
    """Each time whole: header and full rows, one more than before."""
    lengths = [len(pd.read_csv(io.StringIO(text))) for text in focal["curves"]]
    # The first is that of the run before; then it begins anew.
    grown = lengths[1:]
    assert grown == sorted(grown) and len(grown) >= 3 and grown[0] <= 2
    for text in focal["curves"]:
        assert text.endswith("\n") and len({line.count(",") for line in text.splitlines()}) == 1


def test_dvc_shows_what_differs_between_two_commits(repository, focal, tmp_path):
    dvc(repository, "exp", "branch", "focal", "focal-branch")
    pair = ("HEAD", "focal-branch")
    params = json.loads(dvc(repository, "params", "diff", "--json", *pair))
    assert params == {"params.yaml": {"loss": {"old": "bce", "new": "focal"}}}
    one, two = (read_metrics(repository, revision)["study"] for revision in pair)
    changed = json.loads(dvc(repository, "metrics", "diff", "--json", *pair))
    headlines = changed.get("metrics/cnn.json", {})
    assert set(changed) <= {"metrics/cnn.json"}
    assert ("cnn.kappa" in headlines) == (round(one["kappa"], 4) != round(two["kappa"], 4))
    dvc(repository, "plots", "diff", *pair, "--out", str(tmp_path / "page"))
    page = (tmp_path / "page/index.html").read_text()
    assert "focal-branch" in page and "val_loss" in page
    shown = dvc(repository, "exp", "show", "--csv", "--no-pager")
    table = pd.read_csv(io.StringIO(shown))
    losses = dict(zip(table["Experiment"], table["loss"], strict=True))
    assert losses["focal"] == "focal"


def test_an_experiment_is_applied_and_taken_back_without_training(repository, focal):
    """bce -> focal -> bce: all is restored."""
    dvc(repository, "exp", "apply", "focal")
    assert "loss: focal" in (repository / "params.yaml").read_text()
    applied = json.loads((repository / "metrics/details/cnn.json").read_text())
    assert applied == read_metrics(repository, name_of(repository, "focal"))

    done = dvc(repository, "exp", "run", "-S", "loss=bce", "evaluate@cnn")
    # DVC has no run cache for a stage with an output in git; this one is light.
    assert re.findall("Running stage '(.*)'", done) == ["evaluate@cnn"]
    for stage in TRAINED:
        assert f"Stage '{stage}' is cached - skipping run" in done
    # Both are in git: they are as they were.
    assert run(repository, "git", "diff", "HEAD", "--", "dvc.lock", "metrics").stdout == ""
    run(repository, "git", "checkout", "--", ".")


def test_a_name_in_use_is_refused_and_the_experiment_is_kept(repository, focal):
    before = read_metrics(repository, name_of(repository, "focal"))
    names = experiments(repository)
    words = ("exp", "run", "-n", "focal", "-S", "seed=3", "evaluate@cnn")
    done = run(repository, sys.executable, "-m", "dvc", *words)
    assert done.returncode != 0
    assert "conflicts with existing experiment 'focal'" in done.stderr
    assert "Running stage" not in done.stdout
    assert experiments(repository) == names
    assert read_metrics(repository, name_of(repository, "focal")) == before
    assert run(repository, "git", "status", "--porcelain").stdout == ""


# Differences


def test_revisions_are_compared_and_what_was_not_run_again_is_left_out(repository, focal):
    text = ulna(repository, "compare", "HEAD", "focal")
    assert "loss: bce -> focal" in text
    assert "DenseNet169 of focal" in text
    rows = [line for line in text.splitlines() if line.startswith("CNN ")]
    assert len(rows) == 8


def test_a_revision_that_cannot_be_compared_is_refused_by_its_name(repository, focal, tmp_path):
    assert "nosuch" in refused(repository, "compare", "nosuch")
    assert "HEAD~1" in refused(repository, "compare", "HEAD~1")
    assert str(tmp_path) in refused(tmp_path, "compare", "HEAD")


def test_a_clone_compares_what_its_remote_holds(repository, focal, tmp_path):
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", str(repository), str(clone))
    sentence = refused(clone, "compare", "HEAD", "focal-branch")
    assert "HEAD" in sentence and "Baseline of this machine" in sentence
    run(clone, "git", "branch", "focal-branch", "origin/focal-branch")
    # To DVC, a remote in a folder is laid out as a cache is.
    remote = repository / ".dvc/cache"
    dvc(clone, "remote", "add", "--local", "--default", "shared", str(remote))
    words = ("compare", "HEAD", "focal-branch", "--network", "cnn")
    assert ulna(clone, *words) == ulna(repository, *words)


@pytest.mark.promise("H44")
def test_the_tables_of_dvc_fit_a_terminal(repository, focal):
    """At most 45 lines of 120 columns; `dvc metrics diff --all` shows all of the workspace."""
    for arguments in (("HEAD", "focal-branch"), ("--all",)):
        lines = dvc(repository, "metrics", "diff", *arguments).splitlines()
        assert len(lines) <= 45 and max(map(len, lines)) <= 120
    assert len(lines) == 1 + 3 * 13
    # DVC shows the files in any order.
    shown = [line.split()[1] for line in lines if line.startswith("metrics/cnn.json")]
    assert shown == [
        f"cnn.{name}{end}"
        for name in ("auroc", "kappa", "n", "sensitivity", "specificity")
        for end in (("", "_high", "_low") if name != "n" else ("",))
    ]


@pytest.mark.promise("H44")
def test_experiments_are_shown_with_loss_and_scores(repository, focal):
    """Piped and in a terminal of 120 columns; there DVC's own table begins with the scores."""
    piped = ulna(repository, "experiments")
    terminal = in_terminal(repository, sys.executable, ULNA, "experiments")
    assert terminal.splitlines() == piped.splitlines()
    assert max(map(len, piped.splitlines())) <= 120
    [line] = [line.split() for line in piped.splitlines() if line.startswith("- focal ")]
    kappa = read_metrics(repository, name_of(repository, "focal"))["study"]["kappa"]
    base = read_metrics(repository, "HEAD")["study"]["kappa"]
    assert line[4] == "focal" and line[6] == ("=" if kappa == base else f"{kappa:.3f}")
    assert line[7:] == ["=", "="]  # DenseNet169 was not trained with it
    whole = in_terminal(repository, sys.executable, "-m", "dvc", "exp", "show")
    [header] = [line for line in whole.splitlines() if "Experiment" in line]
    assert "cnn.auroc   cnn.kappa" in header[:120]


# Side by side


@pytest.fixture(scope="module")
def queued(repository, focal) -> dict[str, str]:
    """Five experiments in DVC's queue, run by two workers: what was queued -> its name.

    One of them from a changed source, which the workspace has no more when it runs.
    """
    target = "evaluate@cnn"
    words = ["-S", "loss=bce,focal", "-S", "cnn.learning_rate=0.01,0.003"]
    said = dvc(repository, "exp", "run", "--queue", *words, target)
    names = re.findall(r"Queued experiment '([^']+)'", said)
    points = re.findall(r"\['loss=(\w+)', 'cnn.learning_rate=([\d.]+)'\]", said)
    found = dict(zip(map(" ".join, points), names, strict=True))

    source = repository / "src/ulna/evaluation/bootstrap.py"
    text = source.read_text()
    assert text.count("TAIL = 0.025") == 1
    source.write_text(text.replace("TAIL = 0.025", "TAIL = 0.25"))
    dvc(repository, "exp", "run", "--queue", "-n", "narrow", target)
    source.write_text(text)
    assert run(repository, "git", "status", "--porcelain").stdout == ""

    dvc(repository, "queue", "start", "--jobs", "2")
    deadline = time.monotonic() + SECONDS_FOR_THE_QUEUE
    while re.search("Queued|Running", status := dvc(repository, "queue", "status")):
        assert time.monotonic() < deadline, status
        time.sleep(0.5)
    return found | {"status": status}


def test_a_queue_of_two_workers_runs_every_point(repository, queued):
    losses = {"bce 0.01", "bce 0.003", "focal 0.01", "focal 0.003"}
    assert losses <= set(queued)
    for point in losses:
        name, (loss, rate) = queued[point], point.split()
        assert re.search(rf"{name} .*Success", queued["status"])
        params = run(repository, "git", "show", f"{name_of(repository, name)}:params.yaml").stdout
        assert f"loss: {loss}" in params and f"learning_rate: {rate}\n" in params
    # What was trained before was not trained again, and gives the same.
    log = dvc(repository, "queue", "logs", queued["focal 0.01"])
    assert all(f"Stage '{stage}' is cached" in log for stage in TRAINED)
    assert "Running stage 'train@cnn'" in dvc(repository, "queue", "logs", queued["bce 0.003"])
    before = read_metrics(repository, name_of(repository, "focal"))
    assert read_metrics(repository, name_of(repository, queued["focal 0.01"])) == before


def test_a_queue_worker_runs_the_source_of_its_experiment(repository, queued):
    """Its intervals leave out half of the replicates, as its source says; those here do not."""
    here = json.loads((repository / "metrics/details/cnn.json").read_text())["image"]
    there = read_metrics(repository, name_of(repository, "narrow"))["image"]
    assert there["kappa"] == here["kappa"]
    width, narrow = (scores["kappa_high"] - scores["kappa_low"] for scores in (here, there))
    assert 0 < narrow < 0.6 * width
    log = dvc(repository, "queue", "logs", "narrow")
    assert "Running stage 'evaluate@cnn'" in log and "Running stage 'train" not in log
    # Its predictions are the same; the code is said to differ.
    text = ulna(repository, "compare", "HEAD", "narrow", "--network", "cnn")
    assert "src/ulna/evaluation/bootstrap.py" in text


def test_what_the_queue_made_is_ranked(repository, queued):
    names = [name for point, name in queued.items() if point.startswith(("bce", "focal"))]
    lines = ulna(repository, "compare", *names).splitlines()
    shown = [line.split()[:2] for line in lines if line.split()[:1] and line.split()[0] in names]
    assert sorted(name for name, _ in shown) == sorted(names)
    scores = [float(val) for _, val in shown]
    assert scores == sorted(scores, reverse=True)
