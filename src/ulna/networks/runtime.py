"""Seeds, determinism, threads and numeric precision of a process that runs a network.

The only module that touches global state; stages call it before anything else of TensorFlow.

It also describes the machine and the software that a result came from: sums are rounded in an order
that depends on the processor, on the number of threads and on the library, so the same inputs give
the same bytes on machines of one class only, and a result says which.
"""

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ulna.core import InputError

# Bits depend on how sums are cut over threads: the count is fixed, not taken from the machine. Two
# threads run on any machine; a GPU does not use them.
THREADS = 2

# What computes, writes or draws at random what is learnt.
PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "opencv-python-headless")
# Instructions for which TensorFlow's libraries have code of their own.
VECTORS = (
    "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "sve", "bf16",
    "i8mm",
)  # fmt: skip
# Variables of the environment by which libraries compute otherwise.
SWITCHES = ("ONEDNN_MAX_CPU_ISA", "NVIDIA_TF32_OVERRIDE", "TF_XLA_FLAGS", "XLA_FLAGS")
CPUINFO = Path("/proc/cpuinfo")
LOCK = Path("requirements.lock")
# Recorded, but no part of the fingerprint: no sum depends on it, and the lock file may be missing.
BESIDE = ("python", "lock_sha256")


def configure(seed: int, mixed_precision: str = "none") -> None:
    """Make what follows a function of the seed, and set the numeric precision of the layers.

    Args:
        seed: For Python, NumPy and Keras: weight initialisation and dropout.
        mixed_precision: none, or bfloat16 or float16 (weights stay float32; float16 needs a GPU to
            be faster and gets Keras' dynamic loss scaling).

    Raises:
        InputError: TF_CONFIG asks for training on several computers, or there are several GPUs.
    """
    _refuse_other_computers()
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
    # TensorFlow would take all memory of the GPU. After its first operation it refuses this, but
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


def _refuse_other_computers() -> None:
    """Each would train a network of its own, and write it to the same files."""
    described = os.environ.get("TF_CONFIG", "")
    try:
        cluster = json.loads(described or "{}").get("cluster", {})
        tasks = sum(len(addresses) for addresses in cluster.values())
    except (ValueError, AttributeError, TypeError):
        raise InputError(
            f"TF_CONFIG is no description of a cluster: {described!r}: unset it"
        ) from None
    if tasks > 1:
        raise InputError(
            f"TF_CONFIG names {tasks} processes, but a network is trained by one: unset TF_CONFIG"
        )


def describe(threads: int, devices: Sequence[str]) -> dict[str, Any]:
    """Describe where this process computes.

    Args:
        threads: That TensorFlow computes with.
        devices: Names of the GPUs; none on a CPU.

    Returns:
        system, machine, cpu (vendor, family, model), vectors, threads, onednn, device, switches
        (variables of the environment that change what is computed), python, the version of each of
        `PACKAGES`, lock_sha256 and fingerprint, see the functions that follow. Nothing in it names
        a computer or a person.
    """
    cpu, vectors = read_cpu(CPUINFO)
    record: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu,
        "vectors": vectors,
        "threads": threads,
        # On unless it is switched off, as TensorFlow itself has it.
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0",
        "device": ", ".join(devices) or "CPU",
        "switches": " ".join(f"{s}={os.environ[s]}" for s in SWITCHES if s in os.environ),
        "python": ".".join(map(str, sys.version_info[:2])),
    }
    record |= {name.split("-")[0]: _version(name) for name in PACKAGES}
    record["lock_sha256"] = hash_of_lock(LOCK)
    return record | {"fingerprint": fingerprint(record)}


def _version(package: str) -> str | None:
    """None of a package that came under another name, such as tensorflow-cpu."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def fingerprint(record: Mapping[str, Any]) -> str:
    """Name the class of machines, and of software, that gives the same bytes.

    Args:
        record: See `describe`.

    Returns:
        16 hexadecimal digits: of SHA-256 over all of the record but `BESIDE` and an earlier
        fingerprint.
    """
    own = {name: record[name] for name in record if name not in (*BESIDE, "fingerprint")}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]


def hash_of_lock(lock: Path) -> str | None:
    """Hash what a lock file says of `PACKAGES`: a new version of a linter changes nothing here.

    Args:
        lock: As pip's `--require-hashes` takes it.

    Returns:
        SHA-256 of their entries, which hold version and hashes; None where there is no such file.
    """
    if not lock.exists():
        return None
    entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8"))
    kept = [entry.strip() for entry in entries if entry.split("==")[0] in PACKAGES]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()


def read_cpu(cpuinfo: Path) -> tuple[str, str]:
    """Read the kind of processor and which vector instructions it offers.

    Args:
        cpuinfo: Linux's /proc/cpuinfo; elsewhere it is missing, and Python's word is taken.

    Returns:
        Such as ("AuthenticAMD 25 1", "avx avx2 fma").
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine(), ""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    named = [fields[name] for name in ("vendor_id", "cpu family", "model") if name in fields]
    # ARM's names.
    named = named or [fields[n] for n in ("CPU implementer", "CPU part") if n in fields]
    offered = fields.get("flags", fields.get("Features", "")).split()
    return " ".join(named) or platform.machine(), " ".join(v for v in VECTORS if v in offered)
