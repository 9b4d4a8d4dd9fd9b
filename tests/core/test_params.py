import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from pydantic import ValidationError

from ulna.core import InputError
from ulna.core.params import load_params, parse_params
from ulna.core.yaml12 import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
PARAMS = Path(__file__).parents[1] / "params.yaml"
RAW = parse_yaml(PARAMS.read_text(), PARAMS.name)
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def changed(**values):
    """params.yaml with some keys replaced; a section is named by `section__key`."""
    raw = copy.deepcopy(RAW)
    for name, value in values.items():
        *section, key = name.split("__")
        (raw[section[0]] if section else raw)[key] = value
    return raw


def replaced(old: str, new: str) -> str:
    """The text of a params file with one value changed."""
    text = PARAMS.read_text()
    assert old in text
    return text.replace(old, new)


def test_the_params_of_the_repository_are_complete_and_valid():
    load_params(ROOT / "params.yaml")


def test_params_are_immutable(params):
    with pytest.raises(ValidationError):
        params.seed = 1
    with pytest.raises(ValidationError):
        params.cnn.dropout = 0.5


def test_lists_become_tuples():
    assert parse_params(changed(data__body_parts=["WRIST"])).data.body_parts == ("WRIST",)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"loss": "focall"}, "loss 'focall' 'bce' 'weighted_bce' 'focal'"),
        (
            {"audit__fail_on": ["tiny", "duplicate_accross_splits"]},
            "audit.fail_on.1 'duplicate_accross_splits' 'inverted' duplicate_across_splits?",
        ),
        ({"trian": 1}, "trian train?"),
        ({"image__size": 1}, "image.size size_px?"),
        ({"image__size_px": 128.0}, "image.size_px 128.0 integer"),
        ({"image__size_px": "128"}, "image.size_px '128' integer"),
        ({"image__size_px": 8}, "image.size_px 8 32"),
        ({"cnn__dropout": True}, "cnn.dropout True number"),
        ({"cnn__dropout": 1.0}, "cnn.dropout 1.0"),
        ({"cnn__learning_rate": "1e-3"}, "cnn.learning_rate '1e-3'"),
        ({"cnn__filters": [8, "x"]}, "cnn.filters.1 'x' integer"),
        ({"data__body_parts": "WRIST"}, "data.body_parts"),
        ({"data__body_parts": []}, "data.body_parts"),
        ({"data__body_parts": ["wrist"]}, "data.body_parts"),
        (
            {"loss": "weighted_bce", "class_weights": "balanced"},
            "weighted_bce class_weights",
        ),
        (
            {"loss": "focal", "class_weights": "balanced"},
            "focal.alpha class_weights",
        ),
        (
            {"densenet169__head_epochs": 0, "densenet169__finetune_epochs": 0},
            "densenet169 head_epochs finetune_epochs",
        ),
    ],
)
@pytest.mark.promise("C23")
def test_a_wrong_value_is_named_with_what_was_expected(values, parts):
    with pytest.raises(InputError) as caught:
        parse_params(changed(**values))
    assert all(part in str(caught.value) for part in ("params.yaml", *parts.split()))


def test_every_fault_is_named_at_once():
    raw = changed(loss="focall", cnn__epochs=0)
    del raw["seed"]
    with pytest.raises(InputError) as caught:
        parse_params(raw)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(any(key in line for line in lines) for key in ("seed", "loss", "cnn.epochs"))


@pytest.mark.parametrize("text", ["seed: [", "seed: 1\nseed: 2\n", "just words", "", "\x00"])
def test_what_is_not_a_mapping_in_yaml_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"params\.yaml"):
        load_params(path)


def test_a_missing_file_says_how_to_restore_it(tmp_path):
    with pytest.raises(InputError, match="git checkout"):
        load_params(tmp_path / "params.yaml")


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    """`dvc exp run -S cnn.learning_rate=0.00005` writes 5e-05: a string in YAML 1.1."""
    path = tmp_path / "params.yaml"
    path.write_text(replaced("finetune_learning_rate: 1.0e-4", "finetune_learning_rate: 5e-05"))
    assert load_params(path).densenet169.finetune_learning_rate == 5e-05


def test_python_objects_in_yaml_are_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError):
        load_params(path)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_complete_params_file_that_says_what_it_needs_and_what_is_measured(recipe):
    load_params(recipe)
    head = recipe.read_text().split("\nseed:")[0]
    assert "Needs: MURA v1.1" in head
    assert "neither cost nor score is measured" in head


def test_there_are_recipes():
    assert {"mura-paper", "forearm-humerus", "wrist"} <= {path.stem for path in RECIPES}


@pytest.mark.promise("C23")
def test_a_wrong_loss_stops_training_before_tensorflow_is_imported(tmp_path):
    (tmp_path / "params.yaml").write_text(replaced("loss: bce", "loss: focall"))
    for name in ("stages", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stages.train", "cnn"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "'focall'" in done.stderr.splitlines()[-1]
    assert "tensorflow" not in done.stderr


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *RECIPES])
def test_an_experiment_changes_nothing_in_the_file_but_its_own_parameter(path, tmp_path):
    """DVC rewrites params.yaml for `-S`: a form that it keeps leaves no noise in the diff."""
    file = tmp_path / "params.yaml"
    before = path.read_text()
    file.write_text(before)
    apply_overrides(file, ["loss=focal"])
    apply_overrides(file, [f"loss={load_params(path).loss}"])
    assert re.sub(" +#", " #", file.read_text()) == re.sub(" +#", " #", before)


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *RECIPES], ids=lambda path: path.stem)
def test_what_an_experiment_sets_and_takes_back_leaves_the_file_as_it_was(path, tmp_path):
    """DVC moves a comment that a longer value meets; the report, which shows the file, follows."""
    copy = tmp_path / "params.yaml"
    copy.write_text(path.read_text())
    params = load_params(path)
    for name, values in {
        "loss": ("focal", "weighted_bce", params.loss),
        "class_weights": ("balanced", params.class_weights),
        "train.mixed_precision": ("bfloat16", params.train.mixed_precision),
        "evaluate.threshold": ("sensitivity", params.evaluate.threshold),
    }.items():
        for value in values:
            apply_overrides(copy, [f"{name}={value}"])
    assert copy.read_text() == path.read_text()


@pytest.mark.parametrize(
    ("networks", "named"),
    [
        (["cnn"], "networks"),
        (["cnn", "cnn"], "networks: cnn, cnn"),
        (["cnn", "densenet"], "did you mean densenet169"),
        ("cnn", "networks"),
    ],
)
def test_networks_are_two_or_more_known_ones(networks, named):
    with pytest.raises(InputError, match=named):
        parse_params(changed(networks=networks))


def test_the_section_of_a_network_that_is_not_trained_may_be_absent():
    raw = changed()
    del raw["mobilenetv2"]
    with pytest.raises(InputError, match="mobilenetv2"):
        parse_params(raw).training("mobilenetv2")
    for key, value in {
        "networks": ["cnn", "mobilenetv2"],
        "transfer": raw["transfer"] | {"arch": "mobilenetv2"},
        "learning_curve": raw["learning_curve"] | {"arch": "mobilenetv2"},
    }.items():
        with pytest.raises(InputError, match="mobilenetv2 is missing"):
            parse_params(raw | {key: value})


def test_a_training_is_told_all_that_it_depends_on(params):
    config = params.training("densenet169")
    assert (config.name, config.network) == ("densenet169", params.densenet169)
    assert (config.seed, config.loss, config.train) == (2017, "bce", params.train)


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("experiment", [False, True])
def test_a_refused_value_of_an_experiment_is_said_to_stay(tmp_path, monkeypatch, experiment, copy):
    """But not in the copy of --temp and the queue, which is thrown away."""
    folder = tmp_path / ".dvc/tmp/exps/abc" if copy else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)
    if experiment:
        monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0" * 40)
    path = Path("params.yaml")
    path.write_text(replaced("loss: bce", "loss: focall"))
    with pytest.raises(InputError, match="did you mean focal") as caught:
        load_params(path)
    stays = "`git show HEAD:params.yaml > params.yaml`" in str(caught.value)
    assert stays == (experiment and not copy)
    assert path.read_text() == replaced("loss: bce", "loss: focall")
