import itertools
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from spots import SIDE, STILL, likeness, source, table

from ulna.core import InputError
from ulna.core.params import Augment
from ulna.networks import callbacks, runtime
from ulna.networks.dataset import Examples, plain_batches, training_batches
from ulna.networks.losses import build_loss
from ulna.networks.models import build_network, freeze_backbone
from ulna.networks.predict import predict_images
from ulna.networks.training import (
    Fit,
    Phase,
    TrainingData,
    finetune_phases,
    fit,
    scratch_phases,
    train_model,
)

LOSS = build_loss("bce", 2.0, 0.25)
# Weaker than that of `spots`: with that, fine-tuning is no better than the head alone.
LIVELY = Augment(
    rotation_degrees=10.0,
    horizontal_flip=True,
    shift_fraction=0.05,
    zoom_fraction=0.1,
    brightness=5.0,
    contrast_fraction=0.1,
)


@pytest.fixture
def model(params) -> keras.Model:
    cnn = params.cnn.model_copy(update={"filters": (4, 8), "dropout": 0.0})
    keras.utils.set_random_seed(3)
    return build_network("cnn", SIDE, cnn)


@pytest.fixture
def run(params, tmp_path):
    """Train in phases, on 20 images in batches of 8; give the history."""

    def train(model, phases, batches=3, history="h.csv", **updates) -> pd.DataFrame:
        section = params.train.model_copy(update=updates)
        fit(model, phases, batches, LOSS, section, tmp_path / history)
        return pd.read_csv(tmp_path / history)

    return train


def task(model: keras.Model, training: Examples, validation: Examples, epoch: int) -> Fit:
    return Fit(model, training_batches(training, 8, 3, STILL, epoch), plain_batches(validation, 8))


def scratch(
    model: keras.Model, epochs: int, rate: float = 2e-3, images: int = 20, **validation
) -> list[Phase]:
    """One phase; keywords change the validation images."""
    begin = partial(task, model, source(images, 1), replace(source(10, 2), **validation))
    return [Phase("scratch", epochs, rate, begin)]


@pytest.mark.promise("G37")
def test_a_tiny_network_overfits_one_batch(model, run):
    history = run(model, scratch(model, 30, 0.01))
    assert history["loss"].iloc[-1] < 0.1 < 0.5 < history["loss"].iloc[0]
    scored = predict_images(model, *table(20, 1))
    assert ((scored["probability"] > 0.5) == (scored["label"] == 1)).all()


def test_the_history_has_a_row_per_epoch_and_marks_the_lowest_validation_loss(model, run):
    history = run(model, scratch(model, 5, 0.05))
    assert list(history.columns) == [
        "epoch", "phase", "learning_rate", "loss", "accuracy", "auroc",
        "val_loss", "val_accuracy", "val_auroc", "best",
    ]  # fmt: skip
    assert list(history["epoch"]) == [1, 2, 3, 4, 5]
    assert history["best"].sum() == 1
    assert history["best"].idxmax() == history["val_loss"].idxmin()


def test_the_network_is_left_with_the_weights_of_its_best_epoch(model, run):
    history = run(model, scratch(model, 6, 0.3))
    best = history["val_loss"].min()
    assert history["val_loss"].iloc[-1] > best, "the last epoch is the best: the test says nothing"
    validation = source(10, 2)
    logits = [model.predict_on_batch(images) for images, _, _ in plain_batches(validation, 8)]
    logits = np.concatenate(logits)
    assert float(LOSS(validation.labels[:, None], logits)) == pytest.approx(best, rel=1e-4)
    # In the history a logit above 0 is predicted positive.
    kept = history[history["best"] == 1].iloc[0]
    correct = (logits[:, 0] > 0) == validation.labels
    assert kept["val_accuracy"] == pytest.approx(correct.mean())
    # Keras' AUROC is a sum over 200 thresholds.
    expected = roc_auc_score(validation.labels, logits[:, 0])
    assert kept["val_auroc"] == pytest.approx(expected, abs=0.02)


def test_a_logit_above_0_counts_as_abnormal(model, run):
    """All logits are 0.25 and all validation images abnormal."""
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([0 * kernel, bias + 0.25])
    history = run(model, scratch(model, 1, 1e-9, images=8, labels=np.ones(10, np.float32)), 1)
    assert history["val_accuracy"].tolist() == [1.0]


def test_training_slows_down_and_stops_when_validation_gets_worse(model, run):
    """Validation labels are inverted: training makes their loss worse."""
    history = run(
        model,
        scratch(model, 12, 0.05, labels=1 - source(10, 2).labels),
        early_stopping_epochs=3,
        plateau_epochs=1,
        plateau_factor=0.5,
        min_learning_rate=0.02,
    )
    assert len(history) == history["val_loss"].idxmin() + 1 + 3 < 12
    # Halved after each epoch that is no better, down to the least.
    assert history["learning_rate"].iloc[-3:].tolist() == pytest.approx([0.05, 0.025, 0.02])


def test_a_phase_trains_its_layers_and_starts_from_the_best_epoch_so_far(model, run):
    begun = []
    first_layer = model.get_layer("block1_convolution").get_weights()[0]

    def begin(trainable: bool, epoch: int) -> Fit:
        model.get_layer("block1_convolution").trainable = trainable
        begun.append((epoch, model.get_weights()))
        return task(model, source(20, 1), source(10, 2), epoch)

    history = run(
        model,
        # The second phase's rate is so high that it can only spoil the first.
        [
            Phase("head", 3, 0.02, partial(begin, False)),
            Phase("finetune", 2, 1.0, partial(begin, True)),
        ],
    )
    assert list(history["epoch"]) == [1, 2, 3, 4, 5]
    assert list(history["phase"]) == ["head"] * 3 + ["finetune"] * 2
    assert history["best"].idxmax() < 3, "the second phase was the better: the test says nothing"
    assert [epoch for epoch, _ in begun] == [0, 3]
    before_the_second = begun[1][1]
    np.testing.assert_array_equal(before_the_second[0], first_layer)
    for kept, final in zip(before_the_second, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, final)


def test_a_loss_that_is_not_finite_stops_with_advice(model, run):
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(InputError, match="learning rate"):
        run(model, scratch(model, 3))


def test_a_validation_loss_that_is_not_finite_stops_too(model, run):
    """It is never the lowest: nothing would be kept, and nobody told."""
    with pytest.raises(InputError, match="epoch 1 "):
        run(model, scratch(model, 3, weights=np.full(10, np.nan, np.float32)))


def test_a_long_epoch_logs_its_progress(model, run, monkeypatch, capsys):
    """The clock advances by 20 s at each call."""
    clock = itertools.count(0.0, 20.0)
    monkeypatch.setattr(callbacks, "monotonic", lambda: next(clock))
    run(model, scratch(model, 2))
    lines = capsys.readouterr().out.splitlines()
    # 20 s after the start of an epoch, at its first batch, it is too early for a line.
    shown = [line for line in lines if "batches" in line]
    assert ["2 of 3" in line and "20 s" in line for line in shown] == [True, True]


def test_a_line_per_epoch_is_logged(model, run, capsys):
    run(model, scratch(model, 2))
    lines = [line for line in capsys.readouterr().out.splitlines() if "epoch" in line]
    assert ["scratch epoch" in line for line in lines] == [True, True]


def test_logs_for_tensorboard_are_written_where_asked_and_change_nothing(
    model, run, tmp_path, monkeypatch
):
    start, weights = model.get_weights(), {}
    for name in ("plain", "cnn"):
        monkeypatch.setenv("ULNA_TENSORBOARD", str(tmp_path / "logs") if name == "cnn" else "")
        model.set_weights(start)
        run(model, scratch(model, 2), history=f"{name}/cnn.csv")
        weights[name] = model.get_weights()
    assert list((tmp_path / "logs" / "cnn" / "validation").glob("events.*"))
    histories = [(tmp_path / name / "cnn.csv").read_bytes() for name in weights]
    assert histories[0] == histories[1]
    for one, two in zip(*weights.values(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_logs_for_tensorboard_need_its_package(model, run, tmp_path, monkeypatch):
    monkeypatch.setenv("ULNA_TENSORBOARD", str(tmp_path))
    monkeypatch.setattr(callbacks, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="tensorboard"):
        run(model, scratch(model, 1))


def data() -> TrainingData:
    return TrainingData(source(20, 1), source(10, 2), batch_size=8, seed=3, augment=LIVELY)


@pytest.fixture
def head_only(params):
    return params.densenet169.model_copy(
        update={
            "batch_size": 8,
            "head_epochs": 2,
            "head_passes": 2,
            "finetune_from": "conv2",
            "finetune_epochs": 0,
        }
    )


@pytest.fixture
def both(head_only):
    return head_only.model_copy(update={"head_epochs": 1, "finetune_epochs": 2})


def test_the_cnn_is_trained_in_one_phase(params):
    cnn = params.cnn.model_copy(update={"filters": (4, 8), "epochs": 7})
    model = build_network("cnn", SIDE, cnn)
    (phase,) = scratch_phases(model, cnn, data())
    assert (phase.name, phase.epochs, phase.learning_rate) == ("scratch", 7, cnn.learning_rate)
    task = phase.begin(0)
    assert task.model is model
    assert len(model.trainable_weights) == 8


def test_a_network_is_built_and_trained_from_its_section_of_the_parameters(
    params, tmp_path, monkeypatch
):
    cnn = params.cnn.model_copy(
        update={"filters": (4, 8), "epochs": 2, "batch_size": 8, "dropout": 0.0}
    )
    # A process that has used TensorFlow cannot be given another number of threads.
    monkeypatch.setattr(runtime, "configure", lambda seed, _: keras.utils.set_random_seed(seed))
    config = replace(params.training("cnn"), network=cnn)
    cache, rows = table(30, 1)
    history = tmp_path / "h.csv"
    folder = tmp_path / "checkpoints"
    model = train_model(config, None, cache, rows[:20], rows[20:], history, folder)
    assert model.name == "cnn"
    assert list(pd.read_csv(tmp_path / "h.csv")["phase"]) == ["scratch", "scratch"]


def test_the_head_of_densenet169_is_trained_first(both):
    phases = finetune_phases(likeness(), both, data())
    assert [phase.name for phase in phases] == ["head", "finetune"]
    alone = both.model_copy(update={"head_epochs": 0})
    assert [phase.name for phase in finetune_phases(likeness(), alone, data())] == ["finetune"]


def test_a_wrong_layer_is_named_before_anything_is_trained(params):
    wrong = params.densenet169.model_copy(update={"finetune_from": "conv9"})
    with pytest.raises(InputError, match="conv9"):
        finetune_phases(likeness(), wrong, data())


@pytest.mark.parametrize(
    ("batch_normalization", "finetuned"),
    [("inference", ["conv2_conv"]), ("training", ["conv2_conv", "conv2_bn"])],
)
def test_each_phase_changes_the_layers_it_names_and_no_others(
    both, run, batch_normalization, finetuned
):
    model, untrained = likeness(), likeness()
    network = both.model_copy(
        update={"batch_normalization": batch_normalization, "finetune_learning_rate": 1e-3}
    )
    history = run(model, finetune_phases(model, network, data()))
    assert list(history["phase"]) == ["head", "finetune", "finetune"]
    assert list(history["epoch"]) == [1, 2, 3]
    assert history["best"].idxmax() > 0, "fine-tuning was no better: the test says nothing"
    changed = [
        layer.name
        for layer, before in zip(model.layers, untrained.layers, strict=True)
        if any(
            (old != new).any()
            for old, new in zip(before.get_weights(), layer.get_weights(), strict=True)
        )
    ]
    assert changed == [*finetuned, "head_batch_normalization", "head_logit"]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_head_is_trained_on_kept_features_as_on_images(head_only, params, run, policy, request):
    """With as many passes as epochs nothing is used twice: the same losses, the same weights."""
    request.addfinalizer(lambda: keras.mixed_precision.set_dtype_policy("float32"))
    keras.mixed_precision.set_dtype_policy(policy)
    kept, whole = likeness(), likeness()
    (phase,) = finetune_phases(kept, head_only, data())
    on_features = run(kept, [phase])
    freeze_backbone(whole)
    (on_all,) = scratch_phases(whole, params.cnn, data())
    on_images = run(whole, [replace(phase, begin=on_all.begin)])
    pd.testing.assert_frame_equal(on_features, on_images, rtol=1e-5)
    for ours, theirs in zip(kept.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_more_epochs_than_passes_run_the_backbone_no_more(head_only, run, capsys):
    model = likeness()
    history = run(
        model,
        finetune_phases(model, head_only.model_copy(update={"head_epochs": 3}), data()),
    )
    assert len(history) == 3
    shown = capsys.readouterr().out
    assert shown.count("pass 1 of 2") == shown.count("pass 2 of 2") == 1
    assert "pass 3" not in shown


def test_a_pass_that_no_epoch_would_use_is_not_made(head_only, capsys):
    more = head_only.model_copy(update={"head_passes": 5})
    finetune_phases(likeness(), more, data())[0].begin(0)
    assert "pass 2 of 2" in capsys.readouterr().out


def test_after_the_head_alone_the_table_of_layers_calls_the_backbone_frozen(head_only, run):
    model = likeness()
    run(model, finetune_phases(model, head_only, data()))
    trainable = {layer.name for layer in model.layers if layer.trainable_weights}
    assert trainable == {"head_batch_normalization", "head_logit"}


def test_fine_tuning_sees_the_epochs_that_follow_those_of_the_head(both):
    _, finetune = finetune_phases(likeness(), both, data())
    images, *_ = next(iter(finetune.begin(3).training))
    expected, *_ = next(iter(training_batches(source(20, 1), 8, 3, LIVELY, first_epoch=3)))
    np.testing.assert_array_equal(images, expected)


def test_a_layer_that_is_not_needed_is_not_looked_for(head_only):
    absent = head_only.model_copy(update={"finetune_from": "conv9"})
    assert len(finetune_phases(likeness(), absent, data())) == 1
