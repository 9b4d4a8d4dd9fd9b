"""The pipeline as its user runs it: DVC itself, on a tiny phantom with a planted signal."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
COPIED = ["stages", "src", "dvc.yaml", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"]
TINY = {
    "phantom": {"patients": 60, "marker_shortcut": True},
    "image": {"size_px": 48},
    "augment": {"horizontal_flip": False, "rotation_degrees": 0.0},
    "evaluate": {"bootstrap_draws": 200},
    # All parts: a part alone may have one label on val.
    "transfer": {
        "train_on": ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST"]
    },
    "cnn": {"filters": [8, 16, 16], "epochs": 12, "learning_rate": 0.01, "batch_size": 16},
    "densenet169": {
        "head_epochs": 1,
        "finetune_epochs": 1,
        "finetune_from": "conv5_block32",
        "head_units": 8,
    },
}


def environment(**variables: str) -> dict[str, str]:
    """`python` is the one that runs the tests; nothing is written beside the sources."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    git = {
        f"GIT_{who}_{what}": "tests"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    git["GIT_CONFIG_GLOBAL"] = os.devnull  # no signing, no hooks of the user
    return os.environ | git | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | variables


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def dvc(folder: Path, *arguments: str, **variables: str) -> str:
    done = run(folder, sys.executable, "-m", "dvc", *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_params(folder: Path) -> None:
    yaml = YAML()
    params = yaml.load(Path(__file__).parent / "params.yaml")
    for section, values in TINY.items():
        params[section].update(values)
    yaml.dump(params, folder / "params.yaml")


def checkout(folder: Path) -> Path:
    """What a fresh clone holds, with tiny parameters, committed."""
    for name in COPIED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    write_params(folder)
    run(folder, "git", "init", "--quiet")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    for command in [("add", "--all"), ("commit", "--quiet", "--message", "state")]:
        done = run(folder, "git", *command)
        assert done.returncode == 0, done.stderr


def lock(folder: Path) -> dict:
    return YAML(typ="safe", pure=True).load(folder / "dvc.lock")["stages"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """The whole pipeline, run once and committed."""
    folder = checkout(tmp_path_factory.mktemp("pipeline") / "ulna")
    dvc(folder, "repro")
    commit(folder)
    return folder


def read_metrics(folder: Path, arch: str = "cnn") -> dict:
    return json.loads((folder / "metrics" / f"{arch}.json").read_text())


def test_one_command_makes_every_metric_and_figure(repository):
    metrics = [read_metrics(repository, arch) for arch in ("cnn", "densenet169")]
    for level in ("study", "image"):
        assert metrics[0][level]["n"] == metrics[1][level]["n"] > 0
    figures = {path.stem for path in (repository / "plots").glob("*.png")}
    assert figures == {
        "architecture", "audit", "baselines", "calibration", "compare", "confusion",
        "disagreements", "examples", "kappa_by_body_part", "learning_curves", "roc", "splits",
        "transfer",
    }  # fmt: skip
    page = (repository / "plots" / "report.html").read_text()
    study = metrics[0]["study"]
    assert f"n = {study['n']} ({study['abnormal']} abnormal)" in page
    assert (repository / "plots" / "report.md").stat().st_size > 500


def test_the_counts_are_those_of_the_data_set(repository):
    root = repository / "data/phantom/MURA-v1.1"
    images = (root / "valid_image_paths.csv").read_text().splitlines()
    studies = (root / "valid_labeled_studies.csv").read_text().splitlines()
    metrics = read_metrics(repository)
    assert metrics["image"]["n"] == len(images)
    assert metrics["study"]["n"] == len(studies)
    assert metrics["study"]["abnormal"] == sum(line.endswith(",1") for line in studies)
    parts = pd.read_csv(repository / "plots/cnn/by_body_part.csv")
    assert parts["n"].sum() == len(studies)


@pytest.mark.promise("G37")
def test_a_planted_signal_is_learnt(repository):
    """A bright corner marker on every abnormal image: the networks need no bone to find it."""
    study = read_metrics(repository)["study"]
    assert study["auroc"] > 0.95
    assert study["accuracy"] > 0.85


def test_a_second_repro_runs_nothing(repository):
    assert "Data and pipelines are up to date" in dvc(repository, "repro")


@pytest.mark.promise("B11")
@pytest.mark.promise("B12")
def test_a_second_clone_elsewhere_gives_the_same_bytes(repository, tmp_path):
    other = checkout(tmp_path / "another place" / "ulna")
    home = tmp_path / "home"
    (home / ".keras").mkdir(parents=True)
    (home / ".keras" / "keras.json").write_text(
        '{"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}'
    )
    dvc(
        other,
        "repro",
        HOME=str(home),
        TZ="Pacific/Kiritimati",
        LC_ALL="C",
        PYTHONHASHSEED="17",
    )
    for stage, first in lock(repository).items():
        assert lock(other)[stage] == first, stage
    assert (other / "dvc.lock").read_bytes() == (repository / "dvc.lock").read_bytes()


def test_a_loss_can_be_tried_and_taken_back_without_training_again(repository):
    focal = dvc(repository, "exp", "run", "evaluate@cnn", "-S", "loss=focal")
    for stage in ("phantom", "prepare", "preprocess"):
        assert f"Stage '{stage}' didn't change, skipping" in focal
    assert "Running stage 'train@cnn'" in focal

    assert "focal" in dvc(repository, "params", "diff")
    changed = json.loads(dvc(repository, "metrics", "diff", "--json"))
    assert "auroc" in str(changed)
    page = dvc(repository, "plots", "diff", "--out", "diff")
    assert "index.html" in page

    bce = dvc(repository, "exp", "run", "evaluate@cnn", "-S", "loss=bce")
    assert "Running stage" not in bce
    assert json.loads(dvc(repository, "metrics", "diff", "--json")) == {}


def test_another_threshold_rule_trains_and_predicts_nothing(repository):
    text = (repository / "params.yaml").read_text()
    (repository / "params.yaml").write_text(text.replace("threshold: youden", "threshold: half"))
    planned = dvc(repository, "repro", "--dry")
    (repository / "params.yaml").write_text(text)
    # What follows from new numbers is not known before they are there.
    for stage in ("evaluate@cnn", "evaluate@ensemble", "compare"):
        assert f"Running stage '{stage}'" in planned
    for stage in ("train", "predict", "transfer", "average"):
        assert f"Running stage '{stage}" not in planned


def test_a_new_split_does_not_touch_the_cache(repository):
    dry = dvc(repository, "exp", "run", "preprocess", "-S", "seed=5")
    assert "Running stage 'prepare'" in dry
    assert "Stage 'preprocess' didn't change, skipping" in dry
    dvc(repository, "exp", "run", "preprocess", "-S", "seed=2017")


@pytest.mark.promise("C23")
def test_imagenet_without_a_copy_is_refused_before_any_work(repository, tmp_path):
    closed = "http://127.0.0.1:9"
    done = run(
        repository,
        *(sys.executable, "-m", "dvc", "exp", "run", "-S", "densenet169.weights=imagenet"),
        HOME=str(tmp_path),
        https_proxy=closed,
        HTTPS_PROXY=closed,
    )
    assert done.returncode != 0
    assert "put it there, or set densenet169.weights to none" in done.stderr
    assert "Running stage 'train" not in done.stdout
    run(repository, "git", "checkout", "--", "params.yaml")


def test_what_must_not_reach_git_is_ignored(repository):
    for name in (
        "data/.partial-1-cache/WRIST.npy",
        "data/phantom/.partial-1-MURA-v1.1/image1.png",
        "models/.partial-1-cnn/model.weights.h5",
        "data/pretrained/weights.h5",
        "data/MURA-v1.1/train/image1.png",
        "data/MURA-v1.1.zip",
        "data/cache/WRIST.npy",
        "plots/examples.png",
    ):
        assert run(repository, "git", "check-ignore", "--quiet", name).returncode == 0, name
    assert run(repository, "git", "check-ignore", "data/MURA-v1.1.zip.dvc").returncode == 1


def test_a_wrong_loss_is_refused_before_any_work(repository):
    done = run(repository, sys.executable, "-m", "dvc", "exp", "run", "-S", "loss=focall")
    assert done.returncode != 0
    assert "loss is 'focall', expected 'bce', 'weighted_bce' or 'focal'" in done.stderr
    assert "Running stage 'pre" not in done.stdout
    run(repository, "git", "checkout", "--", "params.yaml")


def test_every_stage_says_what_it_does():
    for script in sorted((ROOT / "stages").glob("[a-z]*.py")):
        shown = run(ROOT, sys.executable, "-m", f"stages.{script.stem}", "--help")
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.startswith(f"usage: python -m stages.{script.stem}")


@pytest.mark.parametrize("stage", ["train", "predict"])
def test_an_unknown_network_is_refused_with_those_there_are(stage):
    done = run(ROOT, sys.executable, "-m", f"stages.{stage}", "resnet")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"{stage}: 'resnet' is not a network: expected cnn or densenet169"
    )
