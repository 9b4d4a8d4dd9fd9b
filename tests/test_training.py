import dataclasses
import itertools
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from spots import SIDE, STILL, source, table

from ulna.errors import InputError
from ulna.networks import training
from ulna.networks.dataset import Examples, plain_batches, steps, training_batches
from ulna.networks.losses import build_loss
from ulna.networks.models import build_network
from ulna.networks.predict import predict_images
from ulna.networks.training import Fit, Phase, fit


@pytest.fixture
def tiny(params):
    return params.cnn.model_copy(
        update={"filters": (4, 8), "epochs": 3, "batch_size": 8, "dropout": 0.0}
    )


def task(model: keras.Model, learn: Examples, choose: Examples, epoch: int) -> Fit:
    return Fit(model, training_batches(learn, 8, 3, STILL, epoch), plain_batches(choose, 8))


def trained(tiny, params, history, **updates) -> keras.Model:
    tiny = tiny.model_copy(update=updates)
    keras.utils.set_random_seed(3)
    model = build_network("cnn", SIDE, tiny)
    begin = partial(task, model, source(20, 1), source(10, 2))
    phases = [Phase("scratch", tiny.epochs, tiny.learning_rate, begin)]
    fit(model, phases, steps(20, 8), build_loss("bce", params.focal), params.train, history)
    return model


@pytest.mark.promise("G37")
def test_a_tiny_network_overfits_one_batch(tiny, params, tmp_path):
    model = trained(tiny, params, tmp_path / "h.csv", epochs=30, learning_rate=0.01)
    history = pd.read_csv(tmp_path / "h.csv")
    assert history["loss"].iloc[-1] < 0.1 < 0.5 < history["loss"].iloc[0]
    cache, images = table(20, 1)
    scored = predict_images(model, cache, images)
    assert ((scored["probability"] > 0.5) == (scored["label"] == 1)).all()


def test_the_history_has_a_row_an_epoch_and_marks_the_lowest_validation_loss(
    tiny, params, tmp_path
):
    trained(tiny, params, tmp_path / "h.csv", epochs=5, learning_rate=0.05)
    history = pd.read_csv(tmp_path / "h.csv")
    assert list(history.columns) == [
        "epoch", "phase", "learning_rate", "loss", "accuracy", "auroc",
        "val_loss", "val_accuracy", "val_auroc", "best",
    ]  # fmt: skip
    assert list(history["epoch"]) == [1, 2, 3, 4, 5]
    assert history["best"].sum() == 1
    assert history["best"].idxmax() == history["val_loss"].idxmin()


def test_the_network_is_left_with_the_weights_of_its_best_epoch(tiny, params, tmp_path):
    model = trained(tiny, params, tmp_path / "h.csv", epochs=6, learning_rate=0.3)
    history = pd.read_csv(tmp_path / "h.csv")
    best = history["val_loss"].min()
    assert history["val_loss"].iloc[-1] > best, "the last epoch is the best: the test says nothing"
    validation = source(10, 2)
    logits = [model.predict_on_batch(images) for images, _, _ in plain_batches(validation, 8)]
    logits = np.concatenate(logits)
    loss = build_loss("bce", params.focal)(validation.labels[:, None], logits)
    assert float(loss) == pytest.approx(best, rel=1e-4)
    # What the history says of this epoch: a logit above 0 is called abnormal.
    kept = history[history["best"] == 1].iloc[0]
    called = (logits[:, 0] > 0) == validation.labels
    assert kept["val_accuracy"] == pytest.approx(called.mean())
    # Keras' AUROC is a sum over 200 thresholds.
    expected = roc_auc_score(validation.labels, logits[:, 0])
    assert kept["val_auroc"] == pytest.approx(expected, abs=0.02)


def test_a_logit_above_0_counts_as_abnormal(tiny, params, tmp_path):
    """All logits are 0.25 and all validation images abnormal."""
    model = build_network("cnn", SIDE, tiny)
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([0 * kernel, bias + 0.25])
    abnormal = source(10, 2)
    abnormal = dataclasses.replace(abnormal, labels=np.ones(10, np.float32))
    begin = partial(task, model, source(8, 1), abnormal)
    loss = build_loss("bce", params.focal)
    fit(model, [Phase("scratch", 1, 1e-9, begin)], 1, loss, params.train, tmp_path / "h.csv")
    assert pd.read_csv(tmp_path / "h.csv")["val_accuracy"].tolist() == [1.0]


def test_a_long_epoch_in_a_log_says_how_far_it_is(tiny, params, tmp_path, monkeypatch, capsys):
    """A clock that goes on by 20 s at each look."""
    clock = itertools.count(0.0, 20.0)
    monkeypatch.setattr(training, "monotonic", lambda: next(clock))
    trained(tiny, params, tmp_path / "h.csv", epochs=2)
    lines = capsys.readouterr().out.splitlines()
    # 20 s after the start of an epoch, at its first batch, it is too early for a line.
    shown = [line for line in lines if "batches" in line]
    assert ["2 of 3" in line and "20 s" in line for line in shown] == [True, True]


def test_training_slows_down_and_stops_when_validation_gets_worse(tiny, params, tmp_path):
    """Validation labels are turned round: what is learnt makes them worse."""
    turned = source(10, 2)
    turned = dataclasses.replace(turned, labels=1 - turned.labels)
    keras.utils.set_random_seed(3)
    model = build_network("cnn", SIDE, tiny)
    fit(
        model,
        [Phase("scratch", 12, 0.05, partial(task, model, source(20, 1), turned))],
        steps(20, 8),
        build_loss("bce", params.focal),
        params.train.model_copy(
            update={
                "early_stopping_epochs": 3,
                "plateau_epochs": 1,
                "plateau_factor": 0.5,
                "min_learning_rate": 0.02,
            }
        ),
        tmp_path / "h.csv",
    )
    history = pd.read_csv(tmp_path / "h.csv")
    assert len(history) == history["val_loss"].idxmin() + 1 + 3 < 12
    # Halved after each epoch that is no better, down to the least.
    assert history["learning_rate"].iloc[-3:].tolist() == pytest.approx([0.05, 0.025, 0.02])


def test_a_phase_trains_its_layers_and_starts_from_the_best_epoch_so_far(tiny, params, tmp_path):
    begun = []
    keras.utils.set_random_seed(3)
    model = build_network("cnn", SIDE, tiny)
    first_layer = model.get_layer("block1_convolution").get_weights()[0]

    def begin(learns: bool, epoch: int) -> Fit:
        model.get_layer("block1_convolution").trainable = learns
        begun.append((epoch, model.get_weights()))
        return task(model, source(20, 1), source(10, 2), epoch)

    fit(
        model,
        # The second phase's rate is so high that it can only spoil what the first has learnt.
        [
            Phase("head", 3, 0.02, partial(begin, False)),
            Phase("finetune", 2, 1.0, partial(begin, True)),
        ],
        steps(20, 8),
        build_loss("bce", params.focal),
        params.train,
        tmp_path / "h.csv",
    )
    history = pd.read_csv(tmp_path / "h.csv")
    assert list(history["epoch"]) == [1, 2, 3, 4, 5]
    assert list(history["phase"]) == ["head"] * 3 + ["finetune"] * 2
    assert history["best"].idxmax() < 3, "the second phase was the better: the test says nothing"
    assert [epoch for epoch, _ in begun] == [0, 3]
    before_the_second = begun[1][1]
    np.testing.assert_array_equal(before_the_second[0], first_layer)
    for kept, final in zip(before_the_second, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, final)


def test_a_loss_that_is_no_number_stops_with_a_remedy(tiny, params, tmp_path):
    with pytest.raises(InputError, match="learning rate"):
        model = build_network("cnn", SIDE, tiny)
        weights = [np.full_like(weight, np.nan) for weight in model.get_weights()]
        model.set_weights(weights)
        begin = partial(task, model, source(16, 1), source(16, 1))
        phases = [Phase("scratch", 3, 1e-3, begin)]
        fit(model, phases, 2, build_loss("bce", params.focal), params.train, tmp_path / "h.csv")


def test_a_validation_loss_that_is_no_number_stops_too(tiny, params, tmp_path):
    """It is never the lowest: nothing would be kept, and nobody told."""
    unknown = source(10, 2)
    unknown = dataclasses.replace(unknown, weights=np.full(10, np.nan, np.float32))
    model = build_network("cnn", SIDE, tiny)
    begin = partial(task, model, source(16, 1), unknown)
    with pytest.raises(InputError, match="epoch 1 "):
        fit(
            model,
            [Phase("scratch", 3, 1e-3, begin)],
            2,
            build_loss("bce", params.focal),
            params.train,
            tmp_path / "h.csv",
        )


def test_a_line_an_epoch_is_printed_into_a_log(tiny, params, tmp_path, capsys):
    trained(tiny, params, tmp_path / "h.csv", epochs=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "epoch" in line]
    assert ["scratch epoch" in line for line in lines] == [True, True]


def test_logs_for_tensorboard_are_written_where_asked_and_change_nothing(
    tiny, params, tmp_path, monkeypatch
):
    monkeypatch.delenv("ULNA_TENSORBOARD", raising=False)
    without = trained(tiny, params, tmp_path / "plain" / "history.csv")
    monkeypatch.setenv("ULNA_TENSORBOARD", str(tmp_path / "logs"))
    logged = trained(tiny, params, tmp_path / "cnn" / "history.csv")
    assert list((tmp_path / "logs" / "cnn" / "validation").glob("events.*"))
    histories = [(tmp_path / name / "history.csv").read_bytes() for name in ("plain", "cnn")]
    assert histories[0] == histories[1]
    for one, two in zip(without.get_weights(), logged.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_without_the_package_the_wish_for_its_logs_is_answered(tiny, params, tmp_path, monkeypatch):
    monkeypatch.setenv("ULNA_TENSORBOARD", str(tmp_path))
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="tensorboard"):
        trained(tiny, params, tmp_path / "h.csv")
