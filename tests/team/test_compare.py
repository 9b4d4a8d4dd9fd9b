"""The comparison as its user reads it, of simulated revisions and of those that DVC ran."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PARAMS
from scipy.special import expit
from simulated import EVALUATE, RAW, predict, ranked, revision, rows_of
from sklearn.metrics import roc_auc_score
from small_repository import git
from tiny_pipeline import commit, copy_of, dvc, run

from ulna.cli import main
from ulna.core.predictions import write_predictions
from ulna.evaluation.bootstrap import METRICS
from ulna.team.baseline import machine_note, other_machine
from ulna.team.compare import changed_params, render, render_ranking, state
from ulna.team.differences import (
    NOT_SIGNIFICANT,
    OTHER_TEST,
    SIGNIFICANT,
    compare_revisions,
    conclude,
    rank,
)
from ulna.team.revisions import Revision


def test_a_network_at_chance_in_both_decides_nothing_and_is_named():
    """Its AUROC fell from 0.59 to 0.45: neither can be told from 0.5."""
    cnn = rows_of(("auroc", 0.005, NOT_SIGNIFICANT), ("kappa", 0.01, NOT_SIGNIFICANT))
    fell = rows_of(("auroc", -0.147, SIGNIFICANT), network="densenet169", chance=True)
    assert conclude(pd.concat([cnn, fell])) == "not_significant"
    assert conclude(fell) == "chance"
    sentence = state(pd.concat([cnn, fell]), ("HEAD", "workspace"))
    assert sentence.startswith("no significant difference") and "chance" in sentence
    assert "DenseNet169" in sentence and "CNN" not in sentence
    # One that rose from chance, or fell to it, counts.
    rose = fell.assign(chance=False, difference=0.2)
    assert conclude(pd.concat([cnn, rose])) == "better"


def test_too_few_studies_are_said_alone():
    rows = rows_of(("auroc", 0.2, SIGNIFICANT), few=True)
    idle = rows.assign(network="ensemble", chance=True)
    assert state(pd.concat([rows, idle]), ("HEAD", "mine")) == (
        "too few studies to tell which is better"
    )


@pytest.mark.parametrize("rule", ["youden", "half"])
def test_a_threshold_that_moved_is_no_better_or_worse_network(rule):
    """The same order of test studies, decided otherwise: of val, the scores are shifted."""
    first = predict(4.0, 1)
    moved = (first["split"] == "val") if rule == "youden" else (first["split"] == "test")
    logit = first["logit"] + 3.0 * moved
    second = first.assign(logit=logit, probability=expit(logit))
    evaluate = EVALUATE.model_copy(update={"threshold": rule})
    pair = revision("HEAD", evaluate, cnn=first), revision("focal", evaluate, cnn=second)
    rows = compare_revisions(*pair, ("study",))
    auroc, kappa = (rows[rows["metric"] == name].iloc[0] for name in ("auroc", "kappa"))
    assert abs(auroc["difference"]) < 0.01 and kappa["significance"] == SIGNIFICANT
    sentence = state(rows, ("HEAD", "focal"))
    assert sentence.startswith("focal ranks as well as HEAD, but decides otherwise")
    start = {"youden": ": the threshold moved, CNN 0.", "half": ", at the same threshold"}[rule]
    assert start in sentence


@pytest.mark.parametrize("markdown", [True, False])
def test_a_comparison_as_text_names_what_differs(markdown):
    pair = (
        revision("main", cnn=predict(1.0, 1)),
        Revision("mine", RAW | {"loss": "focal"}, EVALUATE, 7, {"cnn": predict(4.0, 2)}, {}),
    )
    rows = compare_revisions(*pair)
    text = render(rows, pair, ["stages/train.py"], markdown)
    for name in ("loss: bce -> focal", "stages/train.py", "main", "mine"):
        assert name in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == (2 * (2 + len(METRICS)) if markdown else 0)
    assert markdown or max(map(len, text.splitlines())) <= 120


def test_long_names_fit_a_terminal():
    name = "feature/another-augmentation-of-the-hands-and-the-wrists"
    first, second = predict(1.0, 1), predict(2.0, 2)
    old, new = Revision("1234567890" * 4, RAW, EVALUATE, 7, {"cnn": first, "ensemble": first}, {},
                        "c"), revision(name, cnn=second, ensemble=second)  # fmt: skip
    code = [f"src/ulna/networks/a_rather_long_name_of_a_module_{n}.py" for n in range(9)]
    machines = machine_note((old.name, name), {"cnn": {"cpu": 1}}, {"cnn": {"cpu": 2}})
    text = render(compare_revisions(old, new), [old, new], code, machines=machines)
    ranking = render_ranking(rank([old, new], "cnn", "study", "auroc"), "AUROC", False, machines)
    for shown in (text, ranking):
        assert max(map(len, shown.splitlines())) <= 120
        assert "(other cpu)" in " ".join(shown.split())


def test_parameters_that_differ_are_named():
    assert changed_params({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2}, "c": [1], "d": None}) == [
        ("a.b", "1", "2")
    ]


def test_revisions_at_chance_are_named_in_a_ranking():
    rows = ranked(blind=predict(0.0, 1), good=predict(4.0, 2))
    assert rows["chance"].to_dict() == {"blind": True, "good": False}
    text = render_ranking(rows.reset_index(), "AUROC", markdown=True)
    assert "No better than chance on test: blind." in text


def test_another_test_set_or_val_is_named():
    """As in experiments with other data.body_parts or split.val_fraction: the easiest may win."""
    table = predict(3.0, 2)
    late = table["patient"] > "p00030"
    rows = ranked(
        good=predict(4.0, 1),
        twin=table.sample(frac=1, random_state=1),
        part=table[late],
        fewer=table[late | (table["split"] == "test")],
    )
    assert rows["other_val"].to_dict() == {
        "good": False, "twin": False, "part": True, "fewer": True,
    }  # fmt: skip
    assert rows.loc["part", "significance"] == OTHER_TEST and np.isnan(rows.loc["part", "behind"])
    assert rows.loc["fewer", "significance"] in (SIGNIFICANT, NOT_SIGNIFICANT)
    lines = render_ranking(rows.reset_index(), "AUROC").splitlines()
    marked = {line.split()[0] for line in lines if "(other val)" in line}
    assert marked == {"part", "fewer"}


STAGES = """\
stages:
  predict:
    cmd: sh predict.sh ${loss}
    deps: [predict.sh, tables]
    params: [loss]
    outs: [data/predictions/cnn.csv, metrics/cnn.json: {cache: false}]
"""
# CPU: a processor that rounds otherwise and so trains another network.
PREDICT = """\
mkdir -p data/predictions metrics
cp tables/$1$CPU.csv data/predictions/cnn.csv
echo '{"environment": {"cpu": "model '$CPU'"}}' > metrics/cnn.json
"""
TABLES = {
    "bce": predict(1.0, 1), "focal": predict(4.0, 2), "weighted_bce": predict(2.0, 3),
    "bce2": predict(1.0, 4), "focal2": predict(4.0, 5),
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A commit and two experiments; the workspace is as the second left it."""
    folder = tmp_path_factory.mktemp("compare") / "clone"
    for name, table in TABLES.items():
        write_predictions(folder / f"tables/{name}.csv", table)
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "predict.sh").write_text(PREDICT)
    (folder / "params.yaml").write_text(PARAMS.read_text())
    git(folder, "init", "--quiet")
    dvc(folder, "init", "--quiet")
    dvc(folder, "repro", "--quiet")
    commit(folder)
    for name in ("focal", "weighted_bce"):
        dvc(folder, "exp", "run", "--quiet", "-n", f"exp-{name}", "-S", f"loss={name}")
    return folder


@pytest.fixture
def clone(finished, tmp_path, monkeypatch) -> Path:
    """A copy of it, entered."""
    monkeypatch.chdir(copy_of(finished, tmp_path / "clone"))
    return tmp_path / "clone"


@pytest.fixture
def said(capsys):
    """What `ulna compare` prints, or the one sentence with which it ends."""

    def call(*arguments: str) -> str:
        capsys.readouterr()
        try:
            main("compare", *arguments)
        except SystemExit as end:
            assert end.code == 1
            captured = capsys.readouterr()
            assert captured.out == "" and len(captured.err.splitlines()) == 1
            return captured.err
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 120
        return text

    return call


@pytest.mark.slow
def test_three_revisions_that_dvc_ran_are_ranked(clone, said):
    """A commit and two experiments, by scikit-learn's AUROC of the mean score per study of val."""
    lines = said("HEAD", "exp-weighted_bce", "exp-focal").splitlines()

    def auroc(table: pd.DataFrame) -> float:
        studies = table[table["split"] == "val"].groupby("study")[["label", "probability"]].mean()
        return roc_auc_score(studies["label"], studies["probability"])

    names = {"bce": "HEAD", "focal": "exp-focal", "weighted_bce": "exp-weighted_bce"}
    order = sorted(names, key=lambda name: -auroc(TABLES[name]))
    shown = [
        line.split()[:2] for line in lines if line.split()[:1] and line.split()[0] in names.values()
    ]
    assert shown == [[names[name], f"{auroc(TABLES[name]):.3f}"] for name in order]
    text = said("HEAD", "--metric", "auroc")
    assert "loss: bce -> weighted_bce" in text and "different machines" not in text


@pytest.mark.slow
def test_files_of_another_commit_are_not_taken_for_those_of_dvc_lock(clone, said):
    """After `git checkout` the parameters are those of HEAD, the predictions are not."""
    git(clone, "checkout", "--force", ".")
    sentence = said("HEAD")
    assert "data/predictions/cnn.csv" in sentence and "`dvc checkout`" in sentence
    dvc(clone, "checkout", "--force")
    text = said("HEAD")
    assert "No parameter differs." in text and "workspace scores as HEAD does" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "why"),
    [
        ("params.yaml", "loss: weighted_bce", "loss: focal", "made with loss weighted_bce"),
        ("predict.sh", "mkdir", "mkdir -v", "made with predict.sh as it was"),
        ("tables/focal.csv", "0.", "0.0", "made with tables as it was"),
    ],
)
def test_a_workspace_that_was_not_run_since_a_change_is_left_out(clone, said, file, old, new, why):
    path = clone / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    sentence = said("HEAD")
    assert f"CNN of workspace is left out: {why}, not run since" in sentence
    assert "`dvc repro`" in sentence


@pytest.mark.slow
def test_on_another_machine_one_compares_with_a_baseline_of_ones_own(
    finished, tmp_path, monkeypatch, said
):
    """As the sentences say, with no remote; what was made elsewhere is not mixed in in silence."""
    git(tmp_path, "clone", "--quiet", str(finished), "clone")
    git(tmp_path / "clone", "fetch", "--quiet", "origin", "refs/exps/*:refs/exps/*")
    clone = tmp_path / "clone"
    monkeypatch.chdir(clone)
    monkeypatch.setenv("CPU", "2")
    sentence = said("HEAD")
    baseline = 'git commit -am "Baseline of this machine"'
    assert "no remote is set up" in sentence and f"`make repro`, then `{baseline}`" in sentence
    dvc(clone, "repro")
    assert "HEAD and workspace were trained on different machines" in other_machine()
    author = git(clone, "rev-parse", "HEAD").strip()
    assert run(clone, "sh", "-c", baseline).returncode == 0
    assert other_machine() == ""
    dvc(clone, "exp", "run", "--quiet", "-n", "mine", "-S", "loss=focal")
    text = said("HEAD", "mine")
    assert "mine is better than HEAD by AUROC" in text and "different machines" not in text
    # The predictions of the first machine, brought here.
    shutil.copytree(finished / ".dvc/cache", clone / ".dvc/cache", dirs_exist_ok=True)
    assert "different machines or software (other cpu)" in " ".join(said(author, "mine").split())
    ranking = " ".join(said(author, "mine", "HEAD").split())
    assert f"{author} and mine were trained on different machines" in ranking
