"""An epoch of DenseNet169's head on features computed once, against running the backbone each time.

    python -m benchmarks.frozen_backbone

Both see the same images, augmented alike, in the same order, and end with the same head inside the
tolerance. About a minute.
"""

import time
from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt

from benchmarks.made import cached
from benchmarks.timing import Row, command_line, ratio, spread
from ulna.core import paths
from ulna.core.params import load_params
from ulna.networks import runtime
from ulna.networks.dataset import (
    augmented_batches,
    plain_batches,
    shuffled_features,
    steps,
    training_batches,
)
from ulna.networks.graph import freeze_below, make_predict_fn, predict_batches, split_model
from ulna.networks.models import build_network, freeze_backbone, head_index

SIZE_PX, IMAGES, SEED, EPOCHS = 96, 160, 1, 4
AIM, TOLERANCE = 20, 1e-4


def fitted(fit: Callable[[keras.Model, keras.callbacks.Callback], None]) -> tuple[
    list[float], npt.NDArray[np.float32]
]:  # fmt: skip
    """Build the network anew, train its head, and take the time of each epoch.

    Args:
        fit: Trains the head of a network whose backbone is frozen.

    Returns:
        Seconds of each epoch but the first, which traces; the logits of some images after all.
    """
    runtime.configure(SEED)
    model = build_network("densenet169", SIZE_PX, load_params(paths.PARAMS).densenet169)
    freeze_backbone(model)

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            taken.append(time.perf_counter() - self.start)

    taken: list[float] = []
    fit(model, Clock())
    batches = plain_batches(cached(32, SIZE_PX), 32)
    return taken[1:], predict_batches(make_predict_fn(model), batches, "logits")


def run() -> list[Row]:
    """Train both ways."""
    params = load_params(paths.PARAMS)
    source, size = cached(IMAGES, SIZE_PX), params.densenet169.batch_size
    length = steps(IMAGES, size)

    def train(model: keras.Model, batches: object, clock: keras.callbacks.Callback) -> None:
        model.compile(
            optimizer=keras.optimizers.Adam(params.densenet169.head_learning_rate),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            jit_compile=False,
        )
        model.fit(
            batches,
            epochs=EPOCHS,
            steps_per_epoch=length,
            callbacks=[clock],
            verbose=0,
            shuffle=False,
        )

    def on_features(model: keras.Model, clock: keras.callbacks.Callback) -> None:
        backbone, head = split_model(model, head_index(model))
        function = make_predict_fn(backbone)
        passes = [
            predict_batches(
                function,
                augmented_batches(source, size, SEED, params.augment, number),
                f"features, pass {number + 1} of {EPOCHS}",
            )
            for number in range(EPOCHS)
        ]
        train(head, shuffled_features(passes, source, size, SEED, 0), clock)

    def on_images(model: keras.Model, clock: keras.callbacks.Callback) -> None:
        whole = freeze_below(model, head_index(model))
        train(whole, training_batches(source, size, SEED, params.augment), clock)

    once, logits = fitted(on_features)
    always, expected = fitted(on_images)
    times = ratio(always, once)
    difference = float(np.abs(logits - expected).max())
    return [
        Row(
            what=f"DenseNet169, {SIZE_PX} px, an epoch of the head, {IMAGES} images",
            ours=spread(once, 3),
            other=f"{spread(always, 3)} with the backbone",
            ratio=f"{times:.0f}",
            aim=f"at least {AIM}",
            met=times >= AIM,
        ),
        Row(
            what=f"the same logits after {EPOCHS} epochs, each pass augmented anew",
            ours=f"largest difference {difference:.1e}",
            aim=f"at most {TOLERANCE:.0e}",
            met=difference <= TOLERANCE,
        ),
    ]


if __name__ == "__main__":
    command_line(run)
