"""Compile, fit in phases, keep the best epoch."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from ulna.dataset import Examples, plain_batches, steps, training_batches
from ulna.errors import InputError
from ulna.files import write_csv
from ulna.models import build_network, freeze_backbone, load_backbone, unfreeze_from
from ulna.params import Augment, Cnn, DenseNet169, Train

MEASURES = ("loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc")


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own learning rate and its own trainable layers.

    Attributes:
        name: scratch, head or finetune.
        epochs: At most so many.
        learning_rate: Adam's at the start.
        prepare: Sets which layers of the model learn.
    """

    name: str
    epochs: int
    learning_rate: float
    prepare: Callable[[keras.Model], None]


def cnn_phases(cnn: Cnn) -> list[Phase]:
    """One phase in which everything learns."""
    return [Phase("scratch", cnn.epochs, cnn.learning_rate, lambda model: None)]


def densenet169_phases(densenet169: DenseNet169) -> list[Phase]:
    """The head on a frozen backbone, then fine-tuning from a named layer."""

    def finetune(model: keras.Model) -> None:
        unfreeze_from(model, densenet169.finetune_from, densenet169.batch_normalization)

    phases = [
        Phase("head", densenet169.head_epochs, densenet169.head_learning_rate, freeze_backbone),
        Phase(
            "finetune", densenet169.finetune_epochs, densenet169.finetune_learning_rate, finetune
        ),
    ]
    return [phase for phase in phases if phase.epochs > 0]


class BestEpoch(keras.callbacks.Callback):
    """Records every epoch of every phase and keeps the weights with the lowest validation loss.

    Keras' EarlyStopping knows one call of `fit`; the best epoch may lie in an earlier phase.
    """

    def __init__(self, history: Path) -> None:
        """Start a record.

        Args:
            history: CSV file, written anew after each epoch so that a run can be watched.
        """
        super().__init__()
        self.history = history
        self.records: list[dict[str, Any]] = []
        self.phase = ""
        self.best_loss = float("inf")
        self.best_weights: list | None = None
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Take the time."""
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Record, compare with the best, print a line where there is no progress bar."""
        logs = logs or {}
        if not all(tf.math.is_finite(logs[name]) for name in ("loss", "val_loss")):
            raise InputError(
                f"the loss of epoch {epoch + 1} ({self.phase}) is not a finite number: lower the "
                "learning rate, or set train.mixed_precision to none"
            )
        rate = float(self.model.optimizer.learning_rate)
        measured = {name: float(logs[name]) for name in MEASURES}
        if measured["val_loss"] < self.best_loss:
            self.best_loss = measured["val_loss"]
            self.best_weights = self.model.get_weights()
            self.records = [record | {"best": 0} for record in self.records]
            best = 1
        else:
            best = 0
        self.records.append(
            {"epoch": epoch + 1, "phase": self.phase, "learning_rate": rate}
            | measured
            | {"best": best}
        )
        write_csv(self.history, pd.DataFrame(self.records))
        if not sys.stdout.isatty():
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in measured.items())
            seconds = time.monotonic() - self._began
            print(f"{self.phase} epoch {epoch + 1}: {numbers} ({seconds:.1f} s)", flush=True)

    def restore(self) -> None:
        """Put the best epoch's weights into the model."""
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


def train_network(
    network: Cnn | DenseNet169,
    pretrained: Path | None,
    training: Examples,
    validation: Examples,
    *,
    loss: keras.losses.Loss,
    train: Train,
    augment: Augment,
    seed: int,
    history: Path,
) -> keras.Model:
    """Build a network and train it.

    Args:
        network: The section of the parameters that describes it.
        pretrained: Weights of DenseNet169's backbone, or None for random ones.
        training: Images to learn from.
        validation: Images to choose the epoch by.
        loss: Of labels and logits.
        train: Early stopping, reduction of the learning rate.
        augment: Ranges of the changes to training images.
        seed: Of the order of images and their changes; initial weights and dropout follow from
            `ulna.runtime.configure`.
        history: CSV file for the learning curves.

    Returns:
        The model with the weights of its best epoch.

    Raises:
        InputError: The loss is not finite, or the parameters do not fit the network or its file.
    """
    model = build_network(training.cache.size_px, network)
    if pretrained is not None:
        load_backbone(model, pretrained)
    phases = cnn_phases(network) if isinstance(network, Cnn) else densenet169_phases(network)
    fit(
        model,
        phases,
        lambda epoch: training_batches(training, network.batch_size, seed, augment, epoch),
        steps(len(training), network.batch_size),
        plain_batches(validation, network.batch_size),
        loss,
        train,
        history,
    )
    return model


def fit(
    model: keras.Model,
    phases: Sequence[Phase],
    training: Callable[[int], tf.data.Dataset],
    steps_per_epoch: int,
    validation: tf.data.Dataset,
    loss: keras.losses.Loss,
    train: Train,
    history: Path,
) -> None:
    """Train a network in phases and leave it with the weights of its best epoch.

    The best epoch is the one with the lowest validation loss over all phases; each phase starts
    from the best so far.

    Args:
        model: Uncompiled; its weights are changed.
        phases: In order.
        training: Gives endless batches of images, labels and weights from an epoch on, counted from
            0; epochs are numbered on over phases.
        steps_per_epoch: Training batches an epoch.
        validation: Finite batches of the same form.
        loss: Of labels and logits.
        train: Early stopping and reduction of the learning rate.
        history: CSV file for the learning curves: epoch (from 1), phase, learning_rate, the
            measures on train and val (image level, train under augmentation), best.

    Raises:
        InputError: The loss is not finite.
    """
    for phase in phases:
        # A layer that is not there is named before the first phase, not after it.
        phase.prepare(model)
    best = BestEpoch(history)
    done = 0
    for phase in phases:
        phase.prepare(model)
        model.compile(
            optimizer=keras.optimizers.Adam(phase.learning_rate),
            loss=loss,
            metrics=[
                keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
                keras.metrics.AUC(name="auroc", from_logits=True),
            ],
            # XLA refuses to run where determinism is asked for.
            jit_compile=False,
        )
        best.phase = phase.name
        model.fit(
            training(done),
            initial_epoch=done,
            epochs=done + phase.epochs,
            steps_per_epoch=steps_per_epoch,
            validation_data=validation,
            callbacks=[
                best,
                keras.callbacks.EarlyStopping("val_loss", patience=train.early_stopping_epochs),
                keras.callbacks.ReduceLROnPlateau(
                    "val_loss",
                    factor=train.plateau_factor,
                    patience=train.plateau_epochs,
                    min_lr=train.min_learning_rate,
                ),
            ],
            shuffle=False,
            verbose=1 if sys.stdout.isatty() else 0,
        )
        best.restore()
        done = len(best.records)
