"""Parameters as `-S` sets them: DVC's syntax, the sentences of ulna.params, nothing touched."""

import itertools
from pathlib import Path

import pytest

from ulna.errors import InputError
from ulna.params import load_params
from ulna.team.overrides import check_overrides, flatten, points, read_raw, write_overridden

PARAMS = Path(__file__).parent / "params.yaml"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_values_are_set_elsewhere(folder):
    target = folder / "other.yaml"
    words = ["loss=focal", "cnn.learning_rate=5e-5", "train.body_parts=[WRIST]"]
    params = write_overridden(words, target)
    assert (params.loss, params.cnn.learning_rate) == ("focal", 5e-5)
    assert params.train.body_parts == ("WRIST",)
    assert load_params(target) == params
    assert (folder / "params.yaml").read_bytes() == PARAMS.read_bytes()


def test_nothing_set_is_the_file_itself(folder):
    write_overridden([], folder / "other.yaml")
    assert (folder / "other.yaml").read_bytes() == PARAMS.read_bytes()


@pytest.mark.promise("C23")
@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("lss=focal", "params.yaml: lss is not a parameter: did you mean loss?"),
        ("cnn.epoch=3", "params.yaml: cnn.epoch is not a parameter: did you mean epochs?"),
        ("loss=focall", "params.yaml: loss is 'focall', expected 'bce', 'weighted_bce' or 'focal'"),
        ("~loss", "params.yaml: loss is missing: add it"),
        ("+new=1", "params.yaml: new is not a parameter: remove it"),
        ("loss", "-S loss is not an override: expected key=value"),
        ("loss=bce,focal", "-S loss=bce,focal names several values"),
        ("other.yaml:loss=bce", "-S other.yaml:loss=bce is of other.yaml"),
        (
            'data.root="${x}"',
            "-S data.root=\"${x}\" cannot be set: Interpolation key 'x' not found",
        ),
        ('lss="${x}"', '-S lss="${x}" cannot be set: expected key=value'),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(word, sentence):
    with pytest.raises(InputError, match="^.*$") as refused:
        check_overrides([word])
    assert str(refused.value).startswith(sentence)


def test_points_are_all_combinations_in_the_order_of_dvc():
    words = ["loss=bce,focal", "cnn.learning_rate=0.001,0.002", "seed=3"]
    found = points(words)
    expected = itertools.product(
        ["loss=bce", "loss=focal"],
        ["cnn.learning_rate=0.001", "cnn.learning_rate=0.002"],
        ["seed=3"],
    )
    assert found == list(map(list, expected))


def test_a_list_is_one_value_and_lists_can_be_swept():
    assert points(["train.body_parts=[WRIST,HAND]"]) == [["train.body_parts=[WRIST,HAND]"]]
    assert len(points(["cnn.filters=[8,16],[8,16,16]"])) == 2


def test_globs_are_refused():
    with pytest.raises(InputError, match="Glob"):
        points(["loss=glob(*)"])


@pytest.mark.parametrize("word", ["seed=interval(0,3)", "loss=bce,", "loss"])
def test_sweeps_that_are_none_to_dvc_are_refused_in_a_sentence(word):
    with pytest.raises(InputError, match="^-S [^\\n]*$"):
        points([word])


def test_a_file_with_conflicts_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="^dvc.lock is not valid YAML .*settle its conflicts$"):
        read_raw("<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> mine\n", "dvc.lock")
    assert read_raw("", "dvc.lock") == {}


def test_names_are_dotted_and_lists_stay_whole():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None}) == {
        "a.b.c": 1,
        "a.d": [1, {"e": 2}],
        "f": None,
    }
