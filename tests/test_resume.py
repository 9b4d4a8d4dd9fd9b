"""A training that was killed and taken up gives the bytes of one that was not."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from spots import LIVELY, SIDE, likeness, source

from ulna.networks import resume
from ulna.networks.dataset import steps
from ulna.networks.losses import build_loss
from ulna.networks.models import build_network, describe_layers
from ulna.networks.resume import Checkpoints, State, training_key
from ulna.networks.training import Phase, TrainingData, finetune_phases, fit, scratch_phases

KEY = "ab" * 32
Build = Callable[[], tuple[keras.Model, list[Phase]]]


class Killed(Exception):
    """Stands for SIGKILL: nothing after it runs."""


@dataclasses.dataclass(frozen=True)
class DyingAfter(Checkpoints):
    """Is killed once it has written its checkpoint of an epoch."""

    epoch: int

    def save(self, number: int, state: State) -> None:
        super().save(number, state)
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
    """Two phases; the first learns from features of the frozen part."""
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
        loss = build_loss("bce", params.focal)
        fit(model, phases, steps(20, 8), loss, patient, history, checkpoints)
        # Which layers learnt last: stage train writes it.
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
    said = [line for line in capsys.readouterr().out.splitlines() if str(tmp_path / "c") in line]
    assert len(said) == len(history)
    assert all(f"epoch {n}," in line for n, line in zip(history["epoch"], said, strict=True))


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
def test_the_key_changes_with_all_that_changes_a_training(monkeypatch):
    one, two = source(6, 1), source(4, 2)
    first = training_key({"seed": 1}, one, two)
    assert first == training_key({"seed": 1}, source(6, 1), source(4, 2))
    labels = one.labels.copy()
    labels[0] = 1 - labels[0]
    weights = one.weights.copy()
    weights[0] = 0.5
    pixels = one.cache.arrays["WRIST"].copy()
    pixels[0, 0, 0] ^= 1
    brighter = dataclasses.replace(one.cache, arrays={"WRIST": pixels})
    turned = dataclasses.replace(one, rows=one.rows[::-1].copy())
    others = {
        "seed": training_key({"seed": 2}, one, two),
        "validation": training_key({"seed": 1}, one, one),
        "a label": training_key({"seed": 1}, dataclasses.replace(one, labels=labels), two),
        "a weight": training_key({"seed": 1}, dataclasses.replace(one, weights=weights), two),
        "a pixel": training_key({"seed": 1}, dataclasses.replace(one, cache=brighter), two),
        "the order": training_key({"seed": 1}, turned, two),
    }
    monkeypatch.setattr(resume, "environment", lambda: {"fingerprint": "another machine"})
    others["the machine"] = training_key({"seed": 1}, one, two)
    monkeypatch.undo()
    module = Path(resume.__file__)
    read = Path.read_bytes

    def changed(path: Path) -> bytes:
        return read(path) + b"#" * (path == module)

    monkeypatch.setattr(Path, "read_bytes", changed)
    assert training_key({"seed": 1}, one, two) == first, "what runs is what was read at first"
    resume.code.cache_clear()
    others["the code"] = training_key({"seed": 1}, one, two)
    resume.code.cache_clear()
    assert len({first, *others.values()}) == 1 + len(others)
