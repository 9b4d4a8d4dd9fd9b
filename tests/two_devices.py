"""What test_devices needs two devices for.

A process of its own, which prints what the functions below return as JSON.
TensorFlow cuts a CPU in two only before its first operation.
"""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers
from spots import STILL, source, table

from ulna import runtime
from ulna.errors import InputError
from ulna.networks import phases
from ulna.networks.devices import check_replicas, share, spread
from ulna.networks.inference import predict_images
from ulna.networks.losses import build_loss
from ulna.networks.phases import train_network
from ulna.params import DenseNet169, load_params

PARAMS = load_params(Path(__file__).parent / "params.yaml")


class OffOnTheSecond(layers.Layer):
    """Passes on what it gets, but on the second device a little more, or a gradient too small."""

    def __init__(self, factor: float, gradient: float) -> None:
        super().__init__()
        self.factor, self.gradient = factor, gradient

    def call(self, batch: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        number = context.replica_id_in_sync_group if context else 0
        factor, gradient = (
            tf.where(tf.equal(number, 1), fault, 1.0) for fault in (self.factor, self.gradient)
        )

        @tf.custom_gradient
        def passed(tensor: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return tensor * factor, lambda upstream: upstream * gradient

        return passed(batch)


def off(factor: float, gradient: float) -> keras.Model:
    inputs = keras.Input((4, 4, 1), dtype="uint8")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    x = layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(1))(x)
    return keras.Model(inputs, OffOnTheSecond(factor, gradient)(x))


def refusal(action: Callable[[], Any]) -> str:
    try:
        action()
    except InputError as error:
        return str(error)
    return "accepted"


def check(devices: list[str]) -> dict[str, str]:
    """What is said of bad devices, batches and precisions; good devices pass in `share`."""
    with share(devices, 2):
        strategy = tf.distribute.get_strategy()
    said = {
        "loss": refusal(lambda: check_replicas(strategy, lambda: off(1.1, 1.0))),
        "gradient": refusal(lambda: check_replicas(strategy, lambda: off(1.0, 0.9))),
    }
    with strategy.scope():
        one = tf.data.Dataset.from_tensors(([0.0], [0.0], [0.0]))
        said["few"] = refusal(lambda: spread(one, learning=False))
    said["odd"] = refusal(lambda: share(devices, 3).__enter__())
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    said["float16"] = refusal(lambda: share(devices, 2).__enter__())
    return said


def likeness(size_px: int, _: DenseNet169) -> keras.Model:
    """DenseNet169's names."""
    inputs = keras.Input((size_px, size_px, 1), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 255, name="rescale")(inputs)
    for number in (1, 2):
        x = layers.Conv2D(4, 3, name=f"conv{number}_conv")(x)
        x = layers.BatchNormalization(name=f"conv{number}_bn")(x)
    x = layers.GlobalAveragePooling2D(name="head_average_pooling")(x)
    x = layers.Dropout(0.3, name="head_dropout")(x)
    return keras.Model(inputs, layers.Dense(1, dtype="float32", name="head_logit")(x))


def train(devices: list[str]) -> dict[str, Any]:
    """The head on kept features, then from a frozen part on; batches end in odd ones."""
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    phases.list_gpus = lambda: devices
    phases.build_network = likeness
    network = PARAMS.densenet169.model_copy(
        update={
            "head_epochs": 1,
            "finetune_from": "conv2",
            "finetune_epochs": 1,
            "batch_normalization": "training",
            "batch_size": 8,
        }
    )
    with TemporaryDirectory() as folder:
        history = Path(folder) / "h.csv"
        model = train_network(
            network,
            None,
            source(21, 1),
            source(11, 2),
            loss=build_loss("bce", PARAMS.focal),
            train=PARAMS.train,
            augment=STILL,
            seed=3,
            history=history,
        )
        learnt = pd.read_csv(history)
    scored = predict_images(model, *table(11, 2))
    signs = 1 - 2 * scored["label"]
    with share(devices, 2):
        strategy = tf.distribute.get_strategy()
    copies = [strategy.experimental_local_results(weight.value) for weight in model.weights]
    return {
        "phases": learnt["phase"].tolist(),
        "best": learnt["best"].tolist(),
        "val_loss": learnt["val_loss"].min(),
        "loss_of_the_returned": float(np.logaddexp(0, signs * scored["logit"]).mean()),
        "copies": [len(each) for each in copies],
        "alike": all(bool((a.numpy() == b.numpy()).all()) for a, b in copies),
        "moved": float(np.abs(model.get_layer("conv2_bn").moving_mean.numpy()).max()),
    }


if __name__ == "__main__":
    (cpu,) = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    runtime.configure(seed=1)
    names = [device.name for device in tf.config.list_logical_devices("CPU")]
    print(json.dumps({"said": check(names), "trained": train(names)}))
