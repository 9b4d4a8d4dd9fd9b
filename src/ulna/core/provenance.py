"""Where a result comes from: the weights, the machine and the software.

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
NOT_IN_FINGERPRINT = ("python", "lock_sha256")
# Of a prediction table.
PROVENANCE = ("model_sha256", "environment", "predicted_on")


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
        16 hexadecimal digits: of SHA-256 over all of the record but `NOT_IN_FINGERPRINT` and an earlier
        fingerprint.
    """
    own = {
        name: record[name] for name in record if name not in (*NOT_IN_FINGERPRINT, "fingerprint")
    }
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


def read_provenance(path: Path) -> dict[str, Any]:
    """Read where a prediction table comes from.

    Args:
        path: The JSON file beside the table.

    Returns:
        model_sha256 (of the weights); environment (where these were trained, see
        `describe`); predicted_on (the fingerprint of where they scored).
        All are None where there is no such file, as for a table from elsewhere.
    """
    return dict.fromkeys(PROVENANCE) | (read_json(path) if path.exists() else {})


def write_provenance(
    path: Path,
    model_sha256: str | None,
    environment: Mapping[str, Any] | None,
    predicted_on: str | None,
) -> None:
    """Write where a prediction table comes from, see `read_provenance`."""
    write_json(path, dict(zip(PROVENANCE, (model_sha256, environment, predicted_on), strict=True)))
