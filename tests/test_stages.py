"""The pipeline as its user runs it: DVC itself, on a tiny phantom with a planted signal."""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
from tiny_pipeline import (
    ROOT,
    change,
    checkout,
    commit,
    committed_lock,
    copy_of,
    dvc,
    read_yaml,
    run,
)

from ulna.core.aggregation import aggregate, sigmoid
from ulna.core.params import NETWORKS
from ulna.core.predictions import by_study, read_predictions
from ulna.data.cache import load_cache
from ulna.data.source import open_root, read_file
from ulna.evaluation.localization import find_rows
from ulna.inference.bundle import SCHEMA, load_bundle
from ulna.inference.sessions import Networks

pytestmark = pytest.mark.slow

# What the second clone does not run again, a third of its time: code that it runs elsewhere. It
# trains DenseNet169, which runs it forward too, and trains, scores and explains the CNN.
TAKEN = {
    "predict@densenet169": "python -m stages.predict densenet169",
    "explain@densenet169": "python -m stages.explain densenet169",
    "transfer": "python -m stages.transfer",
}


@pytest.fixture(scope="module")
def repository(built, tmp_path_factory) -> Path:
    """The finished pipeline, for tests that leave it as they find it."""
    return copy_of(built, tmp_path_factory.mktemp("pipeline") / "ulna")


@pytest.fixture(scope="module")
def elsewhere(repository, tmp_path_factory) -> tuple[Path, str]:
    """A second clone, for tests that change it, and what its `make repro JOBS=2` said.

    All that may differ between two users differs, and stages run in parallel. It knows of the
    first clone's runs of `TAKEN`: DVC takes their outputs if the hashes of all that they read are
    those of the first clone.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    clone, home = checkout(folder / "another place" / "ulna"), folder / "home"
    (home / ".keras").mkdir(parents=True)
    (home / ".keras" / "keras.json").write_text(
        '{"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}'
    )
    shutil.copytree(repository / ".dvc/cache", clone / ".dvc/cache", copy_function=os.link)
    for runs in (clone / ".dvc/cache/runs").glob("*/*"):
        if read_yaml(next(runs.iterdir()))["cmd"] not in TAKEN.values():
            shutil.rmtree(runs)
    done = run(
        clone,
        *("sh", "-c", 'umask 077 && exec "$@"', "sh"),
        *(sys.executable, "-m", "ulna.team.parallel", "2"),
        PYTHONPATH="src",
        HOME=str(home),
        TZ="Pacific/Kiritimati",
        LC_ALL="C",
        PYTHONHASHSEED="17",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    commit(clone)
    return clone, done.stdout


@pytest.fixture(scope="module")
def spare(elsewhere) -> Path:
    """For tests that change parameters or results."""
    return elsewhere[0]


def read_metrics(folder: Path, arch: str = "cnn") -> dict:
    return json.loads((folder / "metrics/details" / f"{arch}.json").read_text())


def test_one_command_makes_every_metric_and_figure(repository):
    metrics = [read_metrics(repository, arch) for arch in ("cnn", "densenet169")]
    for level in ("study", "image"):
        assert metrics[0][level]["n"] == metrics[1][level]["n"] > 0
    figures = {path.stem for path in (repository / "plots/figures").rglob("*.svg")}
    assert figures == {
        "architecture", "audit", "baselines", "by_body_part", "by_finding", "calibration",
        "compare", "confusion", "examples", "training_curves", "roc", "splits", "cross_part",
        "occlusion", "overfitting", "saliency",
    }  # fmt: skip
    page = (repository / "plots" / "report.html").read_text()
    study = metrics[0]["study"]
    assert f"n = {study['n']} ({study['abnormal']} abnormal)" in page
    assert (repository / "plots" / "report.md").stat().st_size > 500


@pytest.mark.parametrize("arch", ["cnn", "densenet169"])
def test_the_onnx_files_were_run_and_maps_are_there_if_they_passed(repository, arch):
    folder = repository / "data/onnx" / arch
    record = json.loads((folder / "convert.json").read_text())
    assert record["images"] > 0 and record["max_logit_difference"] <= 1e-4
    test = json.loads((repository / "data/maps" / arch / "test.json").read_text())
    passed = test["randomization"]["passed"]
    assert (folder / "maps.onnx").exists() == passed == (record["max_map_difference"] is not None)


def test_the_counts_are_those_of_the_data_set(repository):
    root = open_root(repository / "data/phantom/MURA-v1.1.zip")
    images = read_file(root, "valid_image_paths.csv").decode().splitlines()
    studies = read_file(root, "valid_labeled_studies.csv").decode().splitlines()
    metrics = read_metrics(repository)
    assert metrics["image"]["n"] == len(images)
    assert metrics["study"]["n"] == len(studies)
    assert metrics["study"]["abnormal"] == sum(line.endswith(",1") for line in studies)
    parts = pd.read_csv(repository / "plots/tables/cnn/by_body_part.csv")
    assert parts["n"].sum() == len(studies)
    # The phantom plants one finding in each abnormal study; its near copy brings another's along.
    findings = metrics["by_finding"].values()
    assert 0 <= sum(row["studies"] for row in findings) - metrics["study"]["abnormal"] <= 1
    assert 0 <= sum(row["found"] for row in findings) - metrics["study"]["true_positives"] <= 1


@pytest.mark.promise("G37")
def test_a_planted_signal_is_learnt(repository):
    """A bright corner marker on every abnormal image: the networks need no bone to find it."""
    study = read_metrics(repository)["study"]
    assert study["auroc"] > 0.95
    assert study["accuracy"] > 0.85


def test_a_second_repro_runs_nothing(repository):
    assert "Data and pipelines are up to date" in dvc(repository, "repro")


@pytest.mark.promise("A7")
def test_a_network_that_learnt_the_marker_is_seen_to_need_the_frame(repository):
    """Its calls survive without the centre, and not without the frame that holds the marker."""
    found = json.loads((repository / "metrics/details/occlusion.json").read_text())["cnn"]
    assert found["centre_hidden"]["kappa"] > found["frame_hidden"]["kappa"] + 0.3
    assert found["centre_hidden"]["auroc"] > found["frame_hidden"]["auroc"]


@pytest.mark.promise("B11")
@pytest.mark.promise("B12")
def test_a_second_clone_elsewhere_gives_the_same_bytes(repository, elsewhere):
    """The lock holds the hash of every output, metrics among them."""
    clone, said = elsewhere
    locks = [committed_lock(folder) for folder in (repository, clone)]
    first, second = (read_yaml(text)["stages"] for text in locks)
    for stage, recorded in first.items():
        how = "is cached - skipping run" if stage in TAKEN else "Running stage"
        assert any(how in line and f"'{stage}'" in line for line in said.splitlines()), stage
        assert second[stage] == recorded, stage
    assert locks[0] == locks[1]


@pytest.mark.promise("H45")
@pytest.mark.parametrize("name", ["cnn", "densenet169", "ensemble"])
def test_a_bundle_decides_as_the_evaluation_did_for_every_test_study(repository, name):
    bundle = load_bundle(repository / "bundles" / name)
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(bundle.record, schema, cls=jsonschema.Draft7Validator)
    inside = repository / ("data" if name == "ensemble" else "data/predictions")
    table = read_predictions(inside / f"{name}.csv")
    cache, networks = load_cache(repository / "data/cache"), Networks(bundle)
    test = find_rows(table[table["split"] == "test"], cache)
    test["exported"] = [networks.logit(square) for square in cache.squares(test)]
    assert (test["exported"] - test["logit"]).abs().max() <= 2e-5

    metrics = read_metrics(repository, name)
    studies = by_study(test).set_index("study")
    positive = studies["probability"] > metrics["thresholds"]["overall"]
    assert (
        positive.sum() == metrics["study"]["true_positives"] + metrics["study"]["false_positives"]
    )
    for study, views in test.groupby("study"):
        logits = views["exported"].tolist()
        probability = aggregate(logits, list(map(sigmoid, logits)), bundle.aggregation)
        part = studies.loc[study, "body_part"]
        assert (probability > bundle.threshold(part)) == positive[study], study

    card = (repository / "bundles" / name / "MODEL_CARD.md").read_text()
    assert "Numbers on real radiographs mean nothing" in card
    assert max(map(len, card.splitlines())) <= 120


def take_back(folder: Path) -> None:
    run(folder, "git", "checkout", "--", "params.yaml")


def test_another_threshold_rule_trains_and_predicts_nothing(repository):
    change(repository, "threshold: youden", "threshold: half")
    planned = dvc(repository, "repro", "--dry")
    take_back(repository)
    # What follows from new numbers is not known before they are there.
    for stage in ("evaluate@cnn", "evaluate_ensemble", "compare"):
        assert f"Running stage '{stage}'" in planned
    for stage in ("train", "predict", "transfer", "ensemble"):
        assert f"Running stage '{stage}" not in planned


@pytest.mark.promise("C23")
def test_imagenet_without_a_copy_is_refused_before_any_work(spare, tmp_path):
    closed = "http://127.0.0.1:9"
    change(spare, "densenet169:\n  weights: none", "densenet169:\n  weights: imagenet")
    done = run(
        spare,
        *(sys.executable, "-m", "dvc", "repro"),
        HOME=str(tmp_path),
        https_proxy=closed,
        HTTPS_PROXY=closed,
    )
    take_back(spare)
    assert done.returncode != 0
    assert "put it there, or set densenet169.weights to none" in done.stderr
    # A training names it before it begins.
    assert " epoch 1 of" not in done.stdout


def test_a_wrong_loss_is_refused_before_any_work(spare):
    change(spare, "loss: bce", "loss: focall")
    done = run(spare, sys.executable, "-m", "dvc", "repro")
    take_back(spare)
    assert done.returncode != 0
    assert "loss is 'focall', expected 'bce', 'weighted_bce' or 'focal'" in done.stderr
    assert "Running stage 'pre" not in done.stdout


def test_a_new_split_does_not_touch_the_cache(spare):
    change(spare, "seed: 2017", "seed: 5")
    done = dvc(spare, "repro", "preprocess")
    assert "Running stage 'prepare'" in done
    assert "Stage 'preprocess' didn't change, skipping" in done


def test_what_must_not_reach_git_is_ignored(repository):
    for name in (
        "data/.partial-1-cache/WRIST.npy",
        "data/phantom/.partial-1-MURA-v1.1.zip",
        "models/.partial-1-cnn/model.weights.h5",
        "data/pretrained/weights.h5",
        "data/MURA-v1.1/train/image1.png",
        "data/MURA-v1.1.zip",
        "data/cache/WRIST.npy",
        "data/onnx/cnn/model.onnx",
        "bundles/cnn/model.onnx",
        "cnn.zip",
        "plots/figures/examples.svg",
    ):
        assert run(repository, "git", "check-ignore", "--quiet", name).returncode == 0, name
    assert run(repository, "git", "check-ignore", "data/MURA-v1.1.zip.dvc").returncode == 1


def exit_code_of(monkeypatch, stage: Path, *arguments: str) -> int:
    """Run a script as `python -m` does, but in this process: 17 starts of Python took 20 s."""
    monkeypatch.setattr(sys, "argv", [str(stage), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(stage), run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("stage", sorted((ROOT / "stages").glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_every_stage_says_what_it_does(stage, monkeypatch, capsys):
    assert exit_code_of(monkeypatch, stage, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m stages.{stage.stem}")


@pytest.mark.parametrize("stage", ["train", "predict", "explain", "convert", "saliency", "bundle"])
def test_an_unknown_network_is_refused_with_those_there_are(stage, monkeypatch, capsys):
    assert exit_code_of(monkeypatch, ROOT / "stages" / f"{stage}.py", "resnet") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"{stage}: ") and all(name in error for name in ("resnet", *NETWORKS))
