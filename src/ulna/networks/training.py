"""Train a network in phases, each with its own trainable layers, and keep the best epoch."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from ulna.core.params import NETWORKS, Augment, Cnn, FineTuned, Section, Train, TrainingConfig
from ulna.data import Cache
from ulna.networks import dataset, models, runtime
from ulna.networks.callbacks import BestEpoch, Checkpointing, ProgressLogger, tensorboard
from ulna.networks.graph import freeze_below, make_predict_fn, predict_batches, split_model
from ulna.networks.losses import build_loss, image_weights
from ulna.networks.resume import Checkpoints, State, training_key


def train_model(
    config: TrainingConfig,
    weights: Path | None,
    cache: Cache,
    train: pd.DataFrame,
    val: pd.DataFrame,
    history: Path,
    checkpoints: Path,
) -> keras.Model:
    """Build a network and train it on cached images; return it with the weights of its best epoch.

    The process is set up anew (`ulna.networks.runtime.configure`): a network does not depend on
    those that the process has trained before it.

    Args:
        config: See `ulna.core.params.Params.training`.
        weights: Pretrained ones of its backbone, see `ulna.data.pretrained.find_weights`.
        cache: Holds the images of both.
        train: See `ulna.data.samples.join_samples`; the weights in the loss are counted on them.
        val: Choose the epoch.
        history: CSV file for the training curves.
        checkpoints: Folder that a killed training resumes from; remove it once all is written.

    Raises:
        InputError: The loss is not finite, the parameters do not fit the network, its file of
            weights or the images, or the disk has no room for checkpoints.
    """
    runtime.configure(config.seed, config.train.mixed_precision)
    print(f"{config.name}: training {runtime.describe_device()}", flush=True)
    training, validation = (
        dataset.examples(cache, rows, image_weights(rows, train, config.loss, config.class_weights))
        for rows in (train, val)
    )
    settings = describe_training(config, training, validation)
    resumable = Checkpoints(checkpoints, training_key(settings, weights))

    network = config.network
    model = models.build_network(config.name, cache.size_px, network)
    if weights is not None:
        models.load_backbone(model, weights)
    resumable.require_space(model)
    data = TrainingData(training, validation, network.batch_size, config.seed, config.augment)
    phases = PHASES[NETWORKS[config.name].phases](model, network, data)
    loss = build_loss(config.loss, config.focal.gamma, config.focal.alpha)
    batches = dataset.steps(len(train), network.batch_size)
    fit(model, phases, batches, loss, config.train, history, resumable)
    return model


def describe_training(config: TrainingConfig, *data: dataset.Examples) -> dict[str, Any]:
    """List all that the bytes of a training depend on but its code and its file of weights."""
    settings = {
        name: value.model_dump(mode="json") if isinstance(value, Section) else value
        for name, value in vars(config).items()
    }
    machine = runtime.environment()["fingerprint"]
    return settings | {"data": dataset.digest(*data), "machine": machine}


@dataclass(frozen=True)
class TrainingData:
    """Images for a network, and how they are batched: see `ulna.networks.dataset`."""

    training: dataset.Examples
    validation: dataset.Examples
    batch_size: int
    seed: int
    augment: Augment


@dataclass(frozen=True)
class Fit:
    """Arguments of a phase's call of Keras' `fit`; batches hold inputs, labels and weights."""

    model: keras.Model  # shares its trainable layers with the whole network
    training: tf.data.Dataset  # endless
    validation: tf.data.Dataset


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own learning rate and its own trainable layers."""

    name: str  # scratch, head or finetune
    epochs: int  # at most
    learning_rate: float  # Adam's at the start
    begin: Callable[[int], Fit]  # of its first epoch, counted from 0 over all phases
    # Sets the trainable layers. Of a phase that was over before the process was killed it is all
    # that is done again: `begin` may take long.
    prepare: Callable[[], None] = lambda: None


def scratch_phases(model: keras.Model, network: Cnn, data: TrainingData) -> list[Phase]:
    """Plan one phase in which everything is trained."""
    begin = partial(_on_images, model, data)
    return [Phase("scratch", network.epochs, network.learning_rate, begin)]


def finetune_phases(model: keras.Model, network: FineTuned, data: TrainingData) -> list[Phase]:
    """Plan the head on a frozen backbone, then fine-tuning from a named layer."""
    phases = []
    if network.head_epochs:
        passes = min(network.head_passes, network.head_epochs)
        head = partial(_on_features, model, data, passes)
        # `head` fits a part of the model; the table of layers is made of the whole.
        freeze = partial(models.freeze_backbone, model)
        phases.append(Phase("head", network.head_epochs, network.head_learning_rate, head, freeze))
    if network.finetune_epochs:
        start = models.layer_index(model, network.finetune_from)

        def finetune(epoch: int) -> Fit:
            return _on_images(freeze_below(model, start), data, epoch)

        unfreeze = partial(models.unfreeze_from, model, start, network.batch_normalization)
        rate = network.finetune_learning_rate
        phases.append(Phase("finetune", network.finetune_epochs, rate, finetune, unfreeze))
    return phases


# By the names that `ulna.core.params.NetworkSpec.phases` may have: (model, its section, its data).
PHASES: Mapping[str, Callable[[keras.Model, Any, TrainingData], list[Phase]]] = {
    "scratch": scratch_phases,
    "head_then_finetune": finetune_phases,
}


def _on_images(model: keras.Model, data: TrainingData, epoch: int) -> Fit:
    return Fit(
        model,
        dataset.training_batches(data.training, data.batch_size, data.seed, data.augment, epoch),
        dataset.plain_batches(data.validation, data.batch_size),
    )


def _on_features(model: keras.Model, data: TrainingData, passes: int, epoch: int) -> Fit:
    """The head alone, on features that the frozen backbone gives beforehand."""
    backbone, head = split_model(model, models.head_index(model))
    size = data.batch_size
    # One graph for all passes: tracing takes as long as 10 batches of 32 at 96 px.
    predict = make_predict_fn(backbone)
    train_features = [
        predict_batches(
            predict,
            dataset.augmented_batches(data.training, size, data.seed, data.augment, number),
            f"features, pass {number + 1} of {passes}",
        )
        for number in range(passes)
    ]
    validation = dataset.plain_batches(data.validation, size)
    val_features = predict_batches(predict, validation, "features, val")
    return Fit(
        head,
        dataset.shuffled_features(train_features, data.training, size, data.seed, epoch),
        dataset.plain_features(val_features, data.validation, size),
    )


def fit(
    network: keras.Model,
    phases: Sequence[Phase],
    steps_per_epoch: int,
    loss: keras.losses.Loss,
    train: Train,
    history: Path,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train a network in phases and leave it with the weights of its best epoch.

    The best epoch is the one with the lowest validation loss over all phases; each phase starts
    from the best so far. `loss` is of labels and logits; one that is not finite is an InputError.
    `history`, the CSV file of the training curves: epoch (from 1), phase, learning_rate, `MEASURES`
    (image level, train under augmentation), best. A checkpoint is written after each epoch;
    training resumes from the newest.
    """
    best = BestEpoch(network, history)
    state = _resume(best, checkpoints) if checkpoints else None
    resumed = state.values["phase"] if state else 0
    for number, phase in enumerate(phases):
        phase.prepare()
        if number < resumed:
            continue
        began = state.values["began"] if state else len(best.records)
        if not (state and _is_over(state, phase)):
            stateful = _plateau_callbacks(train)
            callbacks = [best, ProgressLogger(phase.name), *stateful, *tensorboard(history)]
            if checkpoints:
                place = (number, began)
                callbacks.append(Checkpointing(checkpoints, best, stateful, place, state))
            _fit_phase(phase, began, best, steps_per_epoch, loss, callbacks)
        best.restore_weights()
        state = None
    if checkpoints:
        checkpoints.prune()


def _resume(best: BestEpoch, checkpoints: Checkpoints) -> State | None:
    state = checkpoints.load()
    if state is not None:
        best.restore_state(state)
        print(
            f"resuming from epoch {len(best.records)}, from {checkpoints.folder} (to start over, "
            "delete it)",
            flush=True,
        )
    return state


def _is_over(state: State, phase: Phase) -> bool:
    """Whether the phase that a checkpoint was written in had ended with it."""
    epochs = len(state.values["records"]) - state.values["began"]
    return state.values["stopped"] or epochs == phase.epochs


def _fit_phase(
    phase: Phase,
    began: int,
    best: BestEpoch,
    steps_per_epoch: int,
    loss: keras.losses.Loss,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    epoch = len(best.records)
    fitted = phase.begin(epoch)
    fitted.model.compile(
        optimizer=keras.optimizers.Adam(phase.learning_rate),
        loss=loss,
        metrics=[
            keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
            keras.metrics.AUC(name="auroc", from_logits=True),
        ],
        # Keras refuses XLA where determinism is asked for, and XLA then has no gradient of max
        # pooling. Forced on two cores (the CNN without determinism), a step was slower: 0.6 to
        # 0.9 s against 0.4 to 0.6 for the CNN, 3.4 against 2.2 in fine-tuning DenseNet169, the
        # first 33 to 42 s against 9 to 21, and 100 against 40.
        jit_compile=False,
    )
    best.phase = phase.name
    fitted.model.fit(
        fitted.training,
        initial_epoch=epoch,
        epochs=began + phase.epochs,
        steps_per_epoch=steps_per_epoch,
        validation_data=fitted.validation,
        callbacks=callbacks,
        shuffle=False,
        verbose=1 if sys.stdout.isatty() else 0,
    )


def _plateau_callbacks(train: Train) -> list[keras.callbacks.Callback]:
    """Those whose counts a checkpoint keeps, see `ulna.networks.callbacks.CARRIED`."""
    return [
        keras.callbacks.EarlyStopping("val_loss", patience=train.early_stopping_epochs),
        keras.callbacks.ReduceLROnPlateau(
            "val_loss",
            factor=train.plateau_factor,
            patience=train.plateau_epochs,
            min_lr=train.min_learning_rate,
        ),
    ]
