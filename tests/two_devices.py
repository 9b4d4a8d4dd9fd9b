"""What test_devices needs two devices for.

A process of its own, run with names of functions below; what these return is printed as JSON.
TensorFlow cuts a CPU in two only before its first operation.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers
from spots import SIDE, STILL, source, table

from ulna import runtime
from ulna.errors import InputError
from ulna.networks import phases
from ulna.networks.devices import check_replicas, share, spread
from ulna.networks.inference import predict_images
from ulna.networks.losses import build_loss
from ulna.networks.phases import TrainingData, densenet169_phases, train_network
from ulna.networks.training import fit
from ulna.params import load_params

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
    """What is said of good and bad devices, batches and precisions."""
    strategy = tf.distribute.MirroredStrategy(devices)
    said = {
        "good": refusal(lambda: check_replicas(strategy)),
        "loss": refusal(lambda: check_replicas(strategy, lambda: off(1.1, 1.0))),
        "gradient": refusal(lambda: check_replicas(strategy, lambda: off(1.0, 0.9))),
    }
    with strategy.scope():
        odd = tf.data.Dataset.from_tensor_slices(([0.0] * 3, [0.0] * 3, [0.0] * 3)).batch(3)
        said["odd"] = refusal(lambda: spread(odd, learning=True))
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    said["float16"] = refusal(lambda: share(devices).__enter__())
    return said


def likeness() -> keras.Model:
    """DenseNet169's names; no dropout, and no batch normalisation that learns."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 255, name="rescale")(inputs)
    for number in (1, 2):
        x = layers.Conv2D(4, 3, name=f"conv{number}_conv")(x)
        x = layers.BatchNormalization(name=f"conv{number}_bn")(x)
    x = layers.GlobalAveragePooling2D(name="head_average_pooling")(x)
    return keras.Model(inputs, layers.Dense(1, name="head_logit")(x))


def head_and_finetune(devices: list[str]) -> list[dict[str, Any]]:
    """History and weights of a run on one device and on two; its batches end in odd ones."""
    network = PARAMS.densenet169.model_copy(
        update={"head_epochs": 1, "finetune_from": "conv2", "finetune_epochs": 1}
    )
    data = TrainingData(source(21, 1), source(11, 2), batch_size=8, seed=3, augment=STILL)
    runs = []
    for used in ([], devices):
        with TemporaryDirectory() as folder, share(used):
            history = Path(folder) / "h.csv"
            model = likeness()
            loss = build_loss("bce", PARAMS.focal)
            fit(model, densenet169_phases(model, network, data), 3, loss, PARAMS.train, history)
            runs.append(
                {
                    "history": pd.read_csv(history).drop(columns="phase").to_dict("list"),
                    "weights": [weight.ravel().tolist() for weight in model.get_weights()],
                }
            )
    return runs


def cnn(devices: list[str]) -> dict[str, Any]:
    """With dropout and batch normalisation, in bfloat16, as a stage would train it."""
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    phases.list_gpus = lambda: devices
    network = PARAMS.cnn.model_copy(update={"filters": (4, 8), "epochs": 1, "batch_size": 8})
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
    with share(devices):
        strategy = tf.distribute.get_strategy()
    copies = [strategy.experimental_local_results(weight.value) for weight in model.weights]
    return {
        "val_loss": learnt.loc[learnt["best"] == 1, "val_loss"].item(),
        "loss_of_the_returned": float(np.logaddexp(0, signs * scored["logit"]).mean()),
        "copies": [len(each) for each in copies],
        "alike": all(bool((a.numpy() == b.numpy()).all()) for a, b in copies),
    }


if __name__ == "__main__":
    (cpu,) = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    runtime.configure(seed=1)
    names = [device.name for device in tf.config.list_logical_devices("CPU")]
    print(json.dumps({name: globals()[name](names) for name in sys.argv[1:]}))
