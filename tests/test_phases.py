from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from spots import SIDE, likeness, source, table

from ulna.errors import InputError
from ulna.networks import runtime
from ulna.networks.dataset import steps, training_batches
from ulna.networks.losses import build_loss
from ulna.networks.models import build_network, freeze_backbone
from ulna.networks.training import TrainingData, finetune_phases, fit, scratch_phases, train_model
from ulna.params import Augment

LIVELY = Augment(
    rotation_degrees=10.0,
    horizontal_flip=True,
    shift_fraction=0.05,
    zoom_fraction=0.1,
    brightness=5.0,
    contrast_fraction=0.1,
)


def data(augment: Augment = LIVELY) -> TrainingData:
    return TrainingData(source(20, 1), source(10, 2), batch_size=8, seed=3, augment=augment)


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


@pytest.fixture
def run(params, tmp_path):
    def train(model, phases):
        loss = build_loss("bce", params.focal)
        fit(model, phases, steps(20, 8), loss, params.train, tmp_path / "h.csv")
        return pd.read_csv(tmp_path / "h.csv")

    return train


def test_the_cnn_learns_everything_in_one_phase(params):
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
    model = train_model(config, cache, rows[:20], rows[20:], history, tmp_path / "checkpoints")
    assert model.name == "cnn"
    assert list(pd.read_csv(tmp_path / "h.csv")["phase"]) == ["scratch", "scratch"]


def test_densenet169_learns_its_head_first(both):
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
def test_the_head_learns_from_kept_features_as_it_would_from_images(
    head_only, params, run, policy, request
):
    """With as many passes as epochs nothing is used twice: the same losses, the same weights."""
    request.addfinalizer(lambda: keras.mixed_precision.set_dtype_policy("float32"))
    keras.mixed_precision.set_dtype_policy(policy)
    kept, whole = likeness(), likeness()
    (phase,) = finetune_phases(kept, head_only, data())
    on_features = run(kept, [phase])
    freeze_backbone(whole)
    (scratch,) = scratch_phases(whole, params.cnn, data())
    on_images = run(whole, [replace(phase, begin=scratch.begin)])
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
    learnt = {layer.name for layer in model.layers if layer.trainable_weights}
    assert learnt == {"head_batch_normalization", "head_logit"}


def test_fine_tuning_sees_the_epochs_that_follow_those_of_the_head(both):
    _, finetune = finetune_phases(likeness(), both, data())
    images, *_ = next(iter(finetune.begin(3).training))
    expected, *_ = next(iter(training_batches(source(20, 1), 8, 3, LIVELY, first_epoch=3)))
    np.testing.assert_array_equal(images, expected)


def test_a_layer_that_is_not_needed_is_not_looked_for(head_only):
    absent = head_only.model_copy(update={"finetune_from": "conv9"})
    assert len(finetune_phases(likeness(), absent, data())) == 1
