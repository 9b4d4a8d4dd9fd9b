"""Train a network: what is trained in which order, in phases, keeping the best epoch."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from ulna.core import InputError, paths
from ulna.core.io import require_free_space, sha256, write_csv
from ulna.core.params import NETWORKS, Augment, Cnn, FineTuned, Section, Train, TrainingConfig
from ulna.core.stage import SECONDS_BETWEEN_LINES
from ulna.data.cache import Cache
from ulna.data.pretrained import find_weights
from ulna.networks import runtime
from ulna.networks.dataset import (
    Examples,
    augmented_batches,
    examples,
    plain_batches,
    plain_features,
    shuffled_features,
    steps,
    training_batches,
)
from ulna.networks.losses import build_loss, image_weights
from ulna.networks.models import (
    build_network,
    freeze_backbone,
    freeze_below,
    head_index,
    layer_index,
    load_backbone,
    split_model,
    unfreeze_from,
)
from ulna.networks.predict import make_predict_fn, predict_batches
from ulna.networks.resume import (
    MAX_TO_KEEP,
    Checkpointing,
    Checkpoints,
    restore_state,
    training_key,
)

MEASURES = ("loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc")


def train_model(
    config: TrainingConfig,
    cache: Cache,
    train: pd.DataFrame,
    val: pd.DataFrame,
    history: Path,
    checkpoints: Path,
) -> keras.Model:
    """Build a network and train it on cached images; resume a training that was killed.

    The process is set up anew (`ulna.networks.runtime.configure`): a network does not depend on
    those that the process has trained before it.

    Args:
        config: See `ulna.core.params.Params.training`.
        cache: The cached images.
        train: Rows of the training images, see `ulna.data.samples.join_samples`; their counts make the
            weights of both.
        val: Rows that choose the epoch.
        history: CSV file for the training curves.
        checkpoints: Folder that a killed training resumes from; to be removed once what came of it
            is on disk.

    Returns:
        The model with the weights of its best epoch.

    Raises:
        InputError: The loss is not finite, the parameters do not fit the network, its file of
            weights or the images, or the disk has no room for checkpoints.
    """
    runtime.configure(config.seed, config.precision)
    pretrained = find_weights(config, paths.PRETRAINED)
    source, choosing = (
        examples(cache, rows, image_weights(rows, train, config.loss, config.class_weights))
        for rows in (train, val)
    )
    settings: dict[str, Any] = {
        name: value.model_dump(mode="json") if isinstance(value, Section) else value
        for name, value in vars(config).items()
    }
    settings["pretrained"] = pretrained and sha256(pretrained)
    resumable = Checkpoints(checkpoints, training_key(settings, source, choosing))

    network = config.network
    model = build_network(config.name, cache.size_px, network)
    if pretrained is not None:
        load_backbone(model, pretrained)
    # With each weight its best value and two averages of Adam's, in 4 bytes each; a new file is
    # whole before an old one goes.
    needed = (MAX_TO_KEEP + 1) * 4 * 4 * model.count_params() - resumable.size_bytes()
    require_free_space(checkpoints, needed, "the checkpoints of a training", output=False)
    data = TrainingData(source, choosing, network.batch_size, config.seed, config.augment)
    phases = PHASES[NETWORKS[config.name].phases](model, network, data)
    epoch = steps(len(train), network.batch_size)
    loss = build_loss(config.loss, config.focal)
    fit(model, phases, epoch, loss, config.train, history, resumable)
    return model


@dataclass(frozen=True)
class TrainingData:
    """Images for a network, and how it is to see them: see `ulna.networks.dataset`."""

    training: Examples
    validation: Examples
    batch_size: int
    seed: int
    augment: Augment


@dataclass(frozen=True)
class Fit:
    """What a phase fits.

    Attributes:
        model: Shares the layers that are trained with the whole network.
        training: Endless batches of inputs, labels and weights.
        validation: Finite batches of the same form.
    """

    model: keras.Model
    training: tf.data.Dataset
    validation: tf.data.Dataset


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own learning rate and its own trainable layers.

    Attributes:
        name: scratch, head or finetune.
        epochs: At most so many.
        learning_rate: Adam's at the start.
        begin: Number of the first epoch, counted from 0 over all phases -> what to fit.
        prepare: Says which layers are trained. Of a phase that was over before the process was
            killed it is all that is done again: `begin` may take long.
    """

    name: str
    epochs: int
    learning_rate: float
    begin: Callable[[int], Fit]
    prepare: Callable[[], None] = lambda: None


def scratch_phases(model: keras.Model, network: Cnn, data: TrainingData) -> list[Phase]:
    """One phase in which everything is trained."""
    begin = partial(_on_images, model, data)
    return [Phase("scratch", network.epochs, network.learning_rate, begin)]


def finetune_phases(model: keras.Model, network: FineTuned, data: TrainingData) -> list[Phase]:
    """The head on a frozen backbone, then fine-tuning from a named layer.

    Raises:
        InputError: There is no such layer.
    """
    phases = []
    if network.head_epochs:
        passes = min(network.head_passes, network.head_epochs)

        def head(epoch: int) -> Fit:
            return _on_features(model, data, passes, epoch)

        # What is not trained is cut off in `head`; the table of layers knows it by `prepare`.
        freeze = partial(freeze_backbone, model)
        phases.append(Phase("head", network.head_epochs, network.head_learning_rate, head, freeze))
    if network.finetune_epochs:
        start = layer_index(model, network.finetune_from)

        def finetune(epoch: int) -> Fit:
            return _on_images(freeze_below(model, start), data, epoch)

        unfreeze = partial(unfreeze_from, model, start, network.batch_normalization)
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
        training_batches(data.training, data.batch_size, data.seed, data.augment, epoch),
        plain_batches(data.validation, data.batch_size),
    )


def _on_features(model: keras.Model, data: TrainingData, passes: int, epoch: int) -> Fit:
    """The head alone, on what the backbone, which is not trained, has given beforehand."""
    backbone, head = split_model(model, head_index(model))
    size = data.batch_size
    # One graph for all passes: tracing takes as long as 10 batches of 32 at 96 px.
    function = make_predict_fn(backbone)

    train_features = [
        predict_batches(
            function,
            augmented_batches(data.training, size, data.seed, data.augment, number),
            f"features, pass {number + 1} of {passes}",
        )
        for number in range(passes)
    ]
    val_features = predict_batches(function, plain_batches(data.validation, size), "features, val")
    return Fit(
        head,
        shuffled_features(train_features, data.training, size, data.seed, epoch),
        plain_features(val_features, data.validation, size),
    )


class BestEpoch(keras.callbacks.Callback):
    """Records every epoch of every phase and keeps the weights with the lowest validation loss.

    Keras' EarlyStopping knows one call of `fit`; the best epoch may lie in an earlier phase.
    """

    def __init__(self, network: keras.Model, history: Path) -> None:
        """Start a record.

        Args:
            network: All of what is trained; a phase may fit a part of it.
            history: CSV file, written anew after each epoch so that a run can be watched.
        """
        super().__init__()
        self.network = network
        self.history = history
        self.records: list[dict[str, Any]] = []
        self.phase = ""
        self.best_loss = float("inf")
        self.best_weights: list = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Take the time."""
        self._began = monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Record, compare with the best, print a line where there is no progress bar."""
        logs = logs or {}
        if not all(tf.math.is_finite(logs[name]) for name in ("loss", "val_loss")):
            raise InputError(
                f"the loss of epoch {epoch + 1} ({self.phase}) is not a finite number: lower the "
                "learning rate, or set train.mixed_precision to none"
            )
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        measured = {name: float(logs[name]) for name in MEASURES}
        if measured["val_loss"] < self.best_loss:
            self.best_loss = measured["val_loss"]
            self.best_weights = self.network.get_weights()
            self.records = [record | {"best": 0} for record in self.records]
            best = 1
        else:
            best = 0
        self.records.append(
            {"epoch": epoch + 1, "phase": self.phase, "learning_rate": rate}
            | measured
            | {"best": best}
        )
        self.write()
        if not sys.stdout.isatty():
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in measured.items())
            seconds = monotonic() - self._began
            of = f"{epoch + 1} of at most {self.params['epochs']}"
            print(f"{self.phase} epoch {of}: {numbers} ({seconds:.1f} s)", flush=True)

    def write(self) -> None:
        """Write the training curves so far."""
        write_csv(self.history, pd.DataFrame(self.records))

    def restore(self) -> None:
        """Put the best epoch's weights into the network."""
        if self.best_weights:
            self.network.set_weights(self.best_weights)


class ProgressLogger(keras.callbacks.Callback):
    """Says in a log how far a long epoch is; on a terminal Keras draws a bar."""

    def __init__(self, phase: str) -> None:
        """Name the phase."""
        super().__init__()
        self.phase = phase
        self._epoch = 0
        self._began = self._last = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Take the time."""
        self._epoch = epoch
        self._began = self._last = monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Print a line every so many seconds."""
        now = monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        done, total = batch + 1, self.params["steps"]
        left = (now - self._began) / done * (total - done)
        print(
            f"{self.phase} epoch {self._epoch + 1} of at most {self.params['epochs']}: {done} of "
            f"{total} batches, about {left:.0f} s to go in this epoch",
            flush=True,
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
    from the best so far.

    Args:
        network: Its weights are changed.
        phases: In order.
        steps_per_epoch: Training batches per epoch.
        loss: Of labels and logits.
        train: Early stopping and reduction of the learning rate.
        history: CSV file for the training curves: epoch (from 1), phase, learning_rate, the
            measures on train and val (image level, train under augmentation), best.
        checkpoints: Where each epoch's end is kept; training goes on from the newest.

    Raises:
        InputError: The loss is not finite.
    """
    best = BestEpoch(network, history)
    state = checkpoints.load() if checkpoints else None
    if state is not None and checkpoints is not None:
        restore_state(best, state)
        best.write()
        print(
            f"resuming from epoch {len(best.records)}, from {checkpoints.folder} (to start over, "
            "delete it)",
            flush=True,
        )
    for number, phase in enumerate(phases):
        phase.prepare()
        done = began = len(best.records)
        if state is not None:
            if number < state.values["phase"]:
                continue
            began = state.values["began"]
            if state.values["stopped"] or done == began + phase.epochs:
                best.restore()
                state = None
                continue
        counting = _counting_callbacks(train)
        callbacks = [best, *progress_callbacks(phase.name), *counting, *tensorboard(history)]
        if checkpoints is not None:
            callbacks += [Checkpointing(checkpoints, best, counting, (number, began), state)]
        fitted = phase.begin(done)
        _compile(fitted.model, phase.learning_rate, loss)
        best.phase = phase.name
        fitted.model.fit(
            fitted.training,
            initial_epoch=done,
            epochs=began + phase.epochs,
            steps_per_epoch=steps_per_epoch,
            validation_data=fitted.validation,
            callbacks=callbacks,
            shuffle=False,
            verbose=1 if sys.stdout.isatty() else 0,
        )
        best.restore()
        state = None
    if checkpoints is not None:
        checkpoints.prune()


def _compile(model: keras.Model, learning_rate: float, loss: keras.losses.Loss) -> None:
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
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


def _counting_callbacks(train: Train) -> list[keras.callbacks.Callback]:
    """Those whose counts a checkpoint keeps, see `ulna.networks.resume.REMEMBERED`."""
    return [
        keras.callbacks.EarlyStopping("val_loss", patience=train.early_stopping_epochs),
        keras.callbacks.ReduceLROnPlateau(
            "val_loss",
            factor=train.plateau_factor,
            patience=train.plateau_epochs,
            min_lr=train.min_learning_rate,
        ),
    ]


def progress_callbacks(phase: str) -> list[keras.callbacks.Callback]:
    """What says in a log how far an epoch is; on a terminal Keras draws a bar."""
    return [] if sys.stdout.isatty() else [ProgressLogger(phase)]


def tensorboard(history: Path) -> list[keras.callbacks.Callback]:
    """The callback that writes logs for TensorBoard where `ULNA_TENSORBOARD` names a folder.

    Not a parameter: logs hold times, so they are no output, and asking for them must not train
    anything anew.

    Args:
        history: CSV file of the training curves; its name, or its folder's, tells runs apart.

    Returns:
        None or one.

    Raises:
        InputError: The package that writes them is not installed.
    """
    folder = os.environ.get("ULNA_TENSORBOARD")
    if not folder:
        return []
    if find_spec("tensorboard") is None:
        raise InputError(
            "ULNA_TENSORBOARD is set, but the package tensorboard is not installed: "
            "`pip install tensorboard`, or unset it"
        )
    name = history.parent.name if history.stem == "history" else history.stem
    return [keras.callbacks.TensorBoard(str(Path(folder) / name), write_graph=False)]
