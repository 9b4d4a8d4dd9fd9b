"""A training that was killed and resumed gives the bytes of one that was not."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spots import LIVELY, SIDE, likeness, source

from ulna.networks import resume, runtime
from ulna.networks.dataset import Examples, steps
from ulna.networks.losses import build_loss
from ulna.networks.models import build_network, describe_layers
from ulna.networks.resume import (
    Checkpoints,
    State,
    decode,
    delete_checkpoints,
    encode,
    training_key,
)
from ulna.networks.training import (
    Phase,
    TrainingData,
    describe_training,
    finetune_phases,
    fit,
    scratch_phases,
)

KEY = "ab" * 32
Build = Callable[[], tuple[keras.Model, list[Phase]]]


class Killed(Exception):
    """Stands for SIGKILL: nothing after it runs."""


@dataclasses.dataclass(frozen=True)
class DyingAfter(Checkpoints):
    """Is killed once it has written its checkpoint of an epoch."""

    epoch: int

    def write(self, number: int, state: State) -> None:
        super().write(number, state)
        if number == self.epoch:
            raise Killed


def data(seed: int = 2) -> TrainingData:
    return TrainingData(source(20, 1), source(10, seed), batch_size=8, seed=3, augment=LIVELY)


@pytest.fixture
def cnn(params) -> Build:
    """With dropout; validation gets worse, so that the rate falls and training stops early."""
    section = params.cnn.model_copy(
        update={"filters": (4, 8), "epochs": 9, "learning_rate": 0.02, "dropout": 0.5}
    )
    turned = data()
    labels = 1 - turned.validation.labels
    turned = dataclasses.replace(
        turned, validation=dataclasses.replace(turned.validation, labels=labels)
    )

    def build() -> tuple[keras.Model, list[Phase]]:
        keras.utils.set_random_seed(3)
        model = build_network("cnn", SIDE, section)
        return model, scratch_phases(model, section, turned)

    return build


@pytest.fixture
def densenet169(params) -> Build:
    """Two phases; the first is trained on features of the frozen part."""
    section = params.densenet169.model_copy(
        update={
            "batch_size": 8, "head_epochs": 3, "head_passes": 2, "finetune_epochs": 3,
            "finetune_from": "conv2", "batch_normalization": "training",
        }
    )  # fmt: skip

    def build() -> tuple[keras.Model, list[Phase]]:
        model = likeness()
        return model, finetune_phases(model, section, data())

    return build


@pytest.fixture
def train(params, tmp_path):
    """Train as stage train does, in a folder of its own; give all that is left behind."""
    patient = params.train.model_copy(update={"early_stopping_epochs": 3, "plateau_epochs": 1})

    def run(name: str, build: Build, checkpoints: Checkpoints | None) -> tuple:
        model, phases = build()
        history = tmp_path / name / "history.csv"
        loss = build_loss("bce", 2.0, 0.25)
        fit(model, phases, steps(20, 8), loss, patient, history, checkpoints)
        # With the layers trained last: stage train writes them.
        layers = describe_layers(model).to_csv().encode()
        return [np.asarray(v) for v in model.variables], history.read_bytes() + layers

    return run


def assert_same(one: tuple, two: tuple) -> None:
    assert one[1] == two[1]
    assert len(one[0]) == len(two[0])
    for first, second in zip(one[0], two[0], strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("network", ["cnn", "densenet169"])
@pytest.mark.promise("C18")
def test_killed_after_every_epoch_a_training_ends_in_the_same_bytes(
    network, train, tmp_path, request, capsys
):
    build = request.getfixturevalue(network)
    whole = train("whole", build, None)
    history = pd.read_csv(tmp_path / "whole" / "history.csv")
    if network == "cnn":
        assert len(history) < 9, "it does not stop early: the test says less"
        assert history["learning_rate"].nunique() > 1
    capsys.readouterr()
    for epoch in history["epoch"]:
        with pytest.raises(Killed):
            train("again", build, DyingAfter(tmp_path / "c", KEY, epoch))
        # DVC empties a stage's outputs before it runs it again.
        (tmp_path / "again" / "history.csv").unlink()
    assert_same(whole, train("again", build, Checkpoints(tmp_path / "c", KEY)))
    resumed = [line for line in capsys.readouterr().out.splitlines() if str(tmp_path / "c") in line]
    assert len(resumed) == len(history)
    assert all(f"epoch {n}," in line for n, line in zip(history["epoch"], resumed, strict=True))


def test_keeping_checkpoints_changes_nothing(cnn, train, tmp_path):
    kept = train("kept", cnn, Checkpoints(tmp_path / "c", KEY))
    assert_same(train("whole", cnn, None), kept)


@pytest.mark.promise("C20")
def test_a_damaged_checkpoint_costs_an_epoch_and_no_truth(cnn, train, tmp_path):
    whole = train("whole", cnn, None)
    with pytest.raises(Killed):
        train("again", cnn, DyingAfter(tmp_path / "c", KEY, 2))
    newest = max((tmp_path / "c").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    assert_same(whole, train("again", cnn, Checkpoints(tmp_path / "c", KEY)))


@pytest.mark.promise("C20")
def test_the_key_changes_with_all_that_changes_a_training(params, tmp_path, monkeypatch):
    config = params.training("cnn")
    one, two = source(6, 1), source(4, 2)

    def key(*data: Examples, weights: Path | None = None, **changes) -> str:
        return training_key(
            describe_training(dataclasses.replace(config, **changes), *data), weights
        )

    first = key(one, two)
    assert first == key(source(6, 1), source(4, 2))
    labels = one.labels.copy()
    labels[0] = 1 - labels[0]
    weights = one.weights.copy()
    weights[0] = 0.5
    pixels = one.cache.arrays["WRIST"].copy()
    pixels[0, 0, 0] ^= 1
    brighter = dataclasses.replace(one.cache, arrays={"WRIST": pixels})
    turned = dataclasses.replace(one, rows=one.rows[::-1].copy())
    others = {
        "seed": key(one, two, seed=1),
        "a section": key(one, two, train=params.train.model_copy(update={"plateau_factor": 0.9})),
        "validation": key(one, one),
        "a label": key(dataclasses.replace(one, labels=labels), two),
        "a weight": key(dataclasses.replace(one, weights=weights), two),
        "a pixel": key(dataclasses.replace(one, cache=brighter), two),
        "the order": key(turned, two),
    }
    (tmp_path / "weights.h5").write_bytes(b"pretrained")
    others["pretrained weights"] = key(one, two, weights=tmp_path / "weights.h5")
    monkeypatch.setattr(runtime, "environment", lambda: {"fingerprint": "another machine"})
    others["the machine"] = key(one, two)
    monkeypatch.undo()
    module = Path(resume.__file__)
    read = Path.read_bytes

    def changed(path: Path) -> bytes:
        return read(path) + b"#" * (path == module)

    monkeypatch.setattr(Path, "read_bytes", changed)
    assert key(one, two) == first, "what runs is what was read at first"
    resume.code.cache_clear()
    others["the code"] = key(one, two)
    resume.code.cache_clear()
    assert len({first, *others.values()}) == 1 + len(others)


OTHER = "cd" * 32


def state(epoch: int) -> State:
    arrays = {"network/0": np.arange(6, dtype=np.float32).reshape(2, 3) + epoch, "network/1": 7}
    return State({"done": epoch, "best": 0.1 + epoch}, {n: np.array(a) for n, a in arrays.items()})


def same(one: State, two: State) -> bool:
    return one.values == two.values and all(
        two.arrays[name].dtype == array.dtype and np.array_equal(two.arrays[name], array)
        for name, array in one.arrays.items()
    )


def test_a_state_reads_back_as_it_was(tmp_path):
    kept = Checkpoints(tmp_path / "c", KEY)
    assert kept.load() is None
    kept.write(1, state(1))
    assert same(state(1), kept.load())


def test_the_newest_and_the_one_before_are_kept(tmp_path):
    kept = Checkpoints(tmp_path, KEY)
    for epoch in (1, 2, 10):
        kept.write(epoch, state(epoch))
    assert [path.name[-17:] for path in sorted(tmp_path.iterdir())] == [
        "000002.checkpoint",
        "000010.checkpoint",
    ]
    assert same(state(10), kept.load())


@pytest.mark.promise("C20")
def test_a_checkpoint_of_another_training_is_not_used_and_goes_with_the_first_of_this(tmp_path):
    Checkpoints(tmp_path, OTHER).write(5, state(5))
    kept = Checkpoints(tmp_path, KEY)
    assert kept.load() is None
    assert len(list(tmp_path.iterdir())) == 1, "it may still be gone on with"
    kept.write(1, state(1))
    assert Checkpoints(tmp_path, OTHER).load() is None


@pytest.mark.promise("C20")
def test_a_checkpoint_under_the_name_of_another_is_not_used(tmp_path):
    Checkpoints(tmp_path, OTHER).write(5, state(5))
    (path,) = tmp_path.iterdir()
    path.rename(path.with_name(path.name.replace(OTHER[:16], KEY[:16])))
    assert Checkpoints(tmp_path, KEY).load() is None


@pytest.mark.promise("C20")
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_seen_wherever_it_is(at, bit):
    written = bytearray(encode(KEY, state(3)))
    written[at % len(written)] ^= 1 << bit
    with pytest.raises(ValueError):  # noqa: PT011
        decode(KEY, bytes(written))


@pytest.mark.promise("C20")
@given(length=st.integers(0, 10**6))
def test_a_torn_file_is_seen_wherever_it_ends(length):
    written = encode(KEY, state(3))
    with pytest.raises(ValueError):  # noqa: PT011
        decode(KEY, written[: length % len(written)])


@pytest.mark.promise("C20")
def test_after_a_damaged_checkpoint_the_one_before_is_used(tmp_path, capsys):
    kept = Checkpoints(tmp_path, KEY)
    for epoch in (1, 2):
        kept.write(epoch, state(epoch))
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    assert same(state(1), kept.load())
    assert str(newest) in capsys.readouterr().out


@pytest.mark.promise("C20")
def test_when_all_are_damaged_new_ones_are_kept_all_the_same(tmp_path):
    kept = Checkpoints(tmp_path, KEY)
    for epoch in (5, 6):
        kept.write(epoch, state(epoch))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert kept.load() is None
    kept.write(1, state(1))
    assert same(state(1), kept.load())


def test_of_a_training_that_is_over_the_newest_stays(tmp_path):
    kept = Checkpoints(tmp_path, KEY)
    for epoch in (1, 2):
        kept.write(epoch, state(epoch))
    two = kept.size_bytes()
    kept.prune()
    assert same(state(2), kept.load())
    assert kept.size_bytes() == two // 2


def test_one_that_was_half_written_when_its_process_was_killed_is_no_checkpoint(tmp_path):
    kept = Checkpoints(tmp_path, KEY)
    kept.write(1, state(1))
    half = tmp_path / f".partial-1-{KEY[:16]}-000002.checkpoint"
    half.write_bytes(encode(KEY, state(2))[:50])
    assert same(state(1), kept.load())
    kept.write(2, state(2))
    assert not half.exists()


def test_the_same_state_has_the_same_bytes():
    assert encode(KEY, state(1)) == encode(KEY, state(1))


def test_after_its_end_a_training_starts_over(tmp_path):
    kept = Checkpoints(tmp_path / "c", KEY)
    kept.write(1, state(1))
    delete_checkpoints(tmp_path / "c")
    assert kept.load() is None
