"""Provenance of a result: the weights, the machine and the software.

Sums are rounded in an order that depends on the processor, on the number of threads and on the
library: the same inputs give the same bytes on machines of one class only, and a result says which.
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

from ulna.core.io import read_json, write_json

# They compute the weights, write them, or draw random numbers for them.
PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "opencv-python-headless")
# Instructions for which TensorFlow's libraries have code of their own.
VECTORS = (
    "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "sve", "bf16",
    "i8mm",
)  # fmt: skip
# Variables of the environment by which libraries compute otherwise.
SWITCHES = ("ONEDNN_MAX_CPU_ISA", "NVIDIA_TF32_OVERRIDE", "TF_XLA_FLAGS", "XLA_FLAGS")
# Of NVIDIA's driver, and of WSL2's.
GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
CPUINFO = Path("/proc/cpuinfo")
# Of x86, then of ARM.
CPU_FIELDS = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
LOCK = Path("requirements.lock")
# Recorded, but no part of the fingerprint: no sum depends on it, and the lock file may be missing.
NOT_IN_FINGERPRINT = ("python", "lock_sha256")
# Of a prediction table.
PROVENANCE = ("model_sha256", "environment", "predicted_on")


def describe(threads: int, devices: Sequence[str]) -> dict[str, Any]:
    """Describe the class of machine and the software; nothing names a computer or a person.

    `threads` are TensorFlow's, `devices` the names of the GPUs.
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
    record["lock_sha256"] = hash_lock(LOCK)
    return record | {"fingerprint": fingerprint(record)}


def has_gpu_driver() -> bool:
    """Whether the system offers an NVIDIA GPU, seen by TensorFlow or not."""
    return any(device.exists() for device in GPU_DEVICES)


def _version(package: str) -> str | None:
    """None of a package that came under another name, such as tensorflow-cpu."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def fingerprint(record: Mapping[str, Any]) -> str:
    """Hash a record of `describe`, 16 digits: the same where the same bytes are computed."""
    left_out = {*NOT_IN_FINGERPRINT, "fingerprint"}
    hashed = {name: value for name, value in record.items() if name not in left_out}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16]


def hash_lock(lock: Path) -> str | None:
    """Hash the entries of `PACKAGES` in a lock file of pip: a new linter changes nothing here."""
    if not lock.exists():
        return None
    entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8"))
    pinned = [entry.strip() for entry in entries if entry.split("==")[0] in PACKAGES]
    return hashlib.sha256("\n".join(pinned).encode()).hexdigest()


def read_cpu(cpuinfo: Path) -> tuple[str, str]:
    """Read model and vector instructions of the CPU, as ("AuthenticAMD 25 1", "avx avx2 fma")."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:  # not on Linux
        return platform.processor() or platform.machine(), ""
    pairs = [line.partition(":") for line in lines]
    # Backwards: the first processor's stay.
    fields = {name.strip(): value.strip() for name, _, value in reversed(pairs)}
    model = " ".join(fields[name] for name in CPU_FIELDS if name in fields)
    flags = fields.get("flags", fields.get("Features", "")).split()
    return model or platform.machine(), " ".join(name for name in VECTORS if name in flags)


def read_provenance(path: Path) -> dict[str, Any]:
    """Read the provenance of a prediction table from the JSON file beside it.

    Returns:
        model_sha256 (of the weights); environment (where these were trained, see `describe`);
        predicted_on (the fingerprint of where they scored). All are None where there is no such
        file, as for a table from elsewhere.
    """
    return dict.fromkeys(PROVENANCE) | (read_json(path) if path.exists() else {})


def write_provenance(
    path: Path,
    model_sha256: str | None,
    environment: Mapping[str, Any] | None,
    predicted_on: str | None,
) -> None:
    """Write the provenance of a prediction table, see `read_provenance`."""
    write_json(path, dict(zip(PROVENANCE, (model_sha256, environment, predicted_on), strict=True)))
