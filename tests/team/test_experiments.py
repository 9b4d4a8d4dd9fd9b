"""`ulna experiments`: rows of `dvc exp show --csv` in 120 columns."""

import subprocess

import pytest

from ulna.cli import main
from ulna.team.experiments import WIDTH, show_rows

PARAMS = {"networks": "['cnn', 'densenet169']", "seed": "1", "loss": "bce", "cnn.epochs": "18"}


def row(name: str, kind: str = "branch_commit", scores=(0.85, 0.6, 0.7, 0.3), **params) -> dict:
    columns = [f"{a}.{m}" for a in ("cnn", "densenet169") for m in ("auroc", "kappa")]
    shown = {"Experiment": "" if kind == "baseline" else name, "rev": name, "typ": kind}
    shown |= {"Created": "2026-11-27T16:43:59", "State": params.pop("State", "")}
    shown |= {name: f"{score}" for name, score in zip(columns, scores, strict=True)}
    shown |= {"cnn.sensitivity": "0.7", "cnn.auroc_low": f"0.5{scores[0]}"}
    return shown | PARAMS | params | {"src/ulna/core": f"{params}", "metrics": f"{scores}"}


def test_scores_and_what_was_changed_stand_beside_the_loss():
    rows = [
        row("workspace", "baseline", seed="2"),
        row("main", "baseline"),
        row("focal", scores=(0.8613, 0.584, 0.7, 0.3), loss="focal"),
        row("slow", scores=(0.8, 0.5, 0.69, 0.2), **{"cnn.epochs": "40", "seed": "3"}),
        row("waiting", scores=("", "", "", ""), State="Queued"),
        row("now", State="Running") | {"rev": "workspace"},  # as DVC calls what runs here
    ]
    lines = [line.split() for line in show_rows(rows).splitlines()]
    assert lines[0] == ["experiment", "created", "loss", "CNN", "DenseNet169", "changed"]
    assert lines[1] == ["AUROC", "kappa", "AUROC", "kappa"]
    time = ["2026-11-27", "16:43"]
    assert lines[2:8] == [
        ["workspace", *time, "bce", *"====", "seed=2"],
        ["main", *time, "bce", "0.850", "0.600", "0.700", "0.300"],
        ["-", "focal", *time, "focal", "0.861", "0.584", "=", "="],
        ["-", "slow", *time, "bce", "0.800", "0.500", "0.690", "0.200", "seed=3", "cnn.epochs=40"],
        ["-", "waiting", "Queued", "bce", *"----"],
        ["-", "now", "Running", "bce", *"===="],
    ]
    assert " ".join(lines[8]).startswith("= : as in the commit")


def test_beside_other_commits_the_workspace_is_measured_against_none():
    """As with --rev: it was not made from the commit that DVC lists next."""
    rows = [row("workspace", "baseline", seed="2"), row("old", "baseline"), row("mine", seed="3")]
    lines = [line.split() for line in show_rows(rows, head_first=False).splitlines()]
    assert lines[2][3:] == ["bce", "0.850", "0.600", "0.700", "0.300"]
    assert lines[4][4:] == ["bce", *"====", "seed=3"]


@pytest.mark.parametrize(
    ("option", "chosen"),
    [([], False), (["-n", "2"], False), (["--rev", "old"], True), (["-a"], True), (["-A"], True)],
)
def test_the_command_knows_when_head_may_not_come_first(monkeypatch, capsys, option, chosen):
    rows = [row("workspace", "baseline"), row("old", "baseline")]
    lines = [rows[0], *(each.values() for each in rows)]
    text = "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines)
    done = subprocess.CompletedProcess([], 0, text, "")
    monkeypatch.setattr("ulna.team.experiments.subprocess.run", lambda *_, **__: done)
    main("experiments", *option)
    assert ("0.850" in capsys.readouterr().out.splitlines()[2]) is chosen


def test_a_broken_file_of_metrics_is_marked_as_dvc_marks_it():
    rows = [row("main", "baseline"), row("torn", scores=("!", "!", 0.7, 0.3))]
    assert show_rows(rows).splitlines()[3].split()[4:] == ["bce", "!", "!", "=", "="]


def test_many_changes_are_wrapped():
    changed = {f"augment.{'x' * 20}{k}": f"0.{k}" for k in range(9)}
    text = show_rows([row("main", "baseline"), row("much", scores=(0.8,) * 4, **changed)])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert all(f"{name}={value}" in text for name, value in changed.items())


@pytest.mark.parametrize("known", [True, False])
def test_a_commit_without_scores_has_none(known):
    rows = [row("old", "baseline"), row("new", "baseline")]
    for name in [name for name in rows[0] if "auroc" in name or "kappa" in name]:
        rows[0][name] = ""
        rows[1][name] = rows[1][name] if known else ""
    old = show_rows(rows).splitlines()[-2].split()
    assert old == ["old", "2026-11-27", "16:43", "bce", *("----" if known else "")]
