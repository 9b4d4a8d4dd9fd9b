"""Seeds, determinism, threads and numeric precision of a process that runs a network.

The only module that touches global state; stages call it before anything else of TensorFlow.
"""

import json
import os
from typing import Any

import keras
import tensorflow as tf

from ulna.core import InputError
from ulna.core.provenance import describe, has_gpu_driver

# Bits depend on how sums are cut over threads: the count is fixed, not taken from the machine. Two
# threads run on any machine; a GPU does not use them.
THREADS = 2


def configure(seed: int, mixed_precision: str = "none") -> None:
    """Seed Python, NumPy and Keras, make TensorFlow deterministic, set the layers' precision.

    `mixed_precision` bfloat16 or float16 keeps weights float32; float16 needs a GPU to be faster
    and gets Keras' dynamic loss scaling.

    Raises:
        InputError: TF_CONFIG asks for training on several computers, or there are several GPUs.
    """
    _refuse_clusters()
    threading = tf.config.threading
    # TensorFlow refuses a change after its first operation, even to the value it has.
    if threading.get_intra_op_parallelism_threads() != THREADS:
        threading.set_inter_op_parallelism_threads(THREADS)
        threading.set_intra_op_parallelism_threads(THREADS)
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:
        # Bytes are promised of one device: several add their gradients up in another order.
        raise InputError(
            f"TensorFlow sees {len(gpus)} GPUs, but a network runs on one: choose it with "
            "CUDA_VISIBLE_DEVICES=0 (or another number)"
        )
    # TensorFlow would take all memory of the GPU. After its first operation it refuses this, except
    # for a GPU that is set so already.
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    # ~/.keras/keras.json may say otherwise.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    policy = "float32" if mixed_precision == "none" else f"mixed_{mixed_precision}"
    keras.mixed_precision.set_dtype_policy(policy)


def environment() -> dict[str, Any]:
    """Describe where this process computes, see `describe`; after `configure`."""
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return describe(tf.config.threading.get_intra_op_parallelism_threads(), gpus)


def describe_device() -> str:
    """Say in a few words what networks run on; after `configure`."""
    device = environment()["device"]
    if device != "CPU":
        return f"on {device}"
    unseen = "; there is an NVIDIA driver, but TensorFlow sees no GPU: ./ulna doctor says why"
    return f"on the CPU, {THREADS} threads{unseen * has_gpu_driver()}"


def _refuse_clusters() -> None:
    """Each computer would train a network of its own, and write it to the same files."""
    described = os.environ.get("TF_CONFIG", "")
    try:
        cluster = json.loads(described or "{}").get("cluster", {})
        tasks = sum(len(addresses) for addresses in cluster.values())
    except (ValueError, AttributeError, TypeError):
        message = f"TF_CONFIG is no description of a cluster: {described!r}: unset it"
        raise InputError(message) from None
    if tasks > 1:
        raise InputError(
            f"TF_CONFIG names {tasks} processes, but a network is trained by one: unset TF_CONFIG"
        )
