"""Results of another machine are told from one's own, by the environment in the metrics."""

import json
from pathlib import Path

import pytest
from small_repository import git
from tiny_pipeline import commit

from ulna.team.baseline import machine_note, other_machine, read_environments

HERE = {"cpu": "AuthenticAMD 25 17", "threads": 2, "python": "3.11", "fingerprint": "aa"}


def write_metrics(folder: Path, network: str, **changes: object) -> None:
    path = folder / f"metrics/{network}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"study": {"n": 3}, "environment": HERE | changes}))


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """The metrics of two networks, committed, and entered."""
    for network in ("cnn", "ensemble"):
        write_metrics(tmp_path, network)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_on_another_processor_is_told_until_it_is_committed(repository):
    assert other_machine() == ""
    for network in ("cnn", "ensemble"):
        write_metrics(repository, network, cpu="AuthenticAMD 25 1", threads=4, fingerprint="bb")
    sentence = other_machine()
    assert "(other cpu, threads)" in sentence and "HEAD and workspace" in sentence
    assert len(sentence.splitlines()) == 1
    # As the sentence asks for.
    assert 'git commit -am "Baseline of this machine"' in sentence
    git(repository, "commit", "--quiet", "-am", "Baseline of this machine")
    assert other_machine() == ""


def test_what_no_sum_depends_on_is_no_other_machine(repository):
    write_metrics(repository, "cnn", python="3.13")
    assert other_machine() == ""


def test_networks_without_a_counterpart_or_an_environment_say_nothing(repository):
    (repository / "metrics/cnn.json").write_text("<<<<<<< HEAD\n{}\n=======\n")
    (repository / "metrics/ensemble.json").write_text('{"environment": null}')
    write_metrics(repository, "densenet169", cpu="other")
    assert set(read_environments()) == {"densenet169"}
    assert other_machine() == ""


def test_without_a_commit_there_is_nothing_to_differ_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    write_metrics(tmp_path, "cnn")
    assert other_machine() == ""


def test_the_names_of_both_revisions_are_said():
    sentence = machine_note(("main", "mine"), {"cnn": HERE}, {"cnn": HERE | {"keras": "4"}})
    assert sentence.startswith("main and mine ") and "(other keras)" in sentence
