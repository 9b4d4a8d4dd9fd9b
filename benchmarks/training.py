"""An epoch of training on our batches, against the same step fed one batch that lies in memory.

    python -m benchmarks.training

What is missing to the limit is what the network waits for its images. Augmentation is that of
params.yaml. About three minutes, most of it DenseNet169.
"""

import time
from collections.abc import Callable

import keras
import tensorflow as tf

from benchmarks.made import cached
from benchmarks.timing import Row, command_line, in_turns, ratio, spread
from ulna.core import paths
from ulna.core.params import FineTuned, Params, load_params
from ulna.networks import runtime
from ulna.networks.dataset import training_batches
from ulna.networks.graph import freeze_below
from ulna.networks.models import build_network, layer_index, unfreeze_from

SIZE_PX, SEED, AIM = 96, 1, 0.97
STEPS = {"cnn": 16, "densenet169": 8}
ROUNDS = {"cnn": 9, "densenet169": 9}


def learner(arch: str, params: Params) -> keras.Model:
    """The network as the longest phase of its training has it."""
    network = params.training(arch).network
    model = build_network(arch, SIZE_PX, network)
    if isinstance(network, FineTuned):
        start = layer_index(model, network.finetune_from)
        unfreeze_from(model, start, network.batch_normalization)
        model = freeze_below(model, start)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


def epoch(model: keras.Model, batches: tf.data.Dataset, steps: int) -> Callable[[], float]:
    """Seconds of an epoch after the first batch, which an iterator waits for once in a run."""

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            self.end = time.perf_counter()
            if batch == 0:
                self.start = self.end

    def seconds() -> float:
        clock = Clock()
        model.fit(batches, steps_per_epoch=steps + 1, verbose=0, callbacks=[clock], shuffle=False)
        return clock.end - clock.start

    return seconds


def run() -> list[Row]:
    """Alternate both, for each network."""
    runtime.configure(SEED)
    params = load_params(paths.PARAMS)
    rows = []
    for arch, steps in STEPS.items():
        size = params.training(arch).network.batch_size
        source = cached((steps + 1) * size, SIZE_PX)
        batches = training_batches(source, size, SEED, params.augment)
        constant = tf.data.Dataset.from_tensors(next(iter(batches))).repeat()
        model = learner(arch, params)
        contenders = {
            "ours": epoch(model, batches, steps),
            "constant": epoch(model, constant, steps),
        }
        in_turns(contenders, 1)  # traced here
        taken = in_turns(contenders, ROUNDS[arch])
        share = ratio(taken["constant"], taken["ours"])
        images = steps * size
        rows.append(
            Row(
                what=f"{arch}, {SIZE_PX} px, {images} images",
                ours=spread([images / taken for taken in taken["ours"]], 1, "images/s"),
                other=spread([images / taken for taken in taken["constant"]], 1, "images/s")
                + " on one batch",
                ratio=f"{share:.3f}",
                aim=f"at least {AIM}",
                met=share >= AIM,
            )
        )
    return rows


if __name__ == "__main__":
    command_line(run)
