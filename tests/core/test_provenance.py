"""Provenance of a result."""

import json
import platform
from importlib.metadata import version

import pytest

from ulna.core import provenance
from ulna.core.provenance import NOT_IN_FINGERPRINT, describe, fingerprint, hash_lock, read_cpu

AMD = """processor	: 0
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 1
model name	: AMD EPYC
flags		: fpu sse2 fma avx avx2 sha_ni

processor	: 1
vendor_id	: Another
"""
ARM = "processor : 0\nFeatures : fp asimd sve i8mm\nCPU implementer : 0x41\nCPU part : 0xd0c\n"
LOCK = """absl-py==2.5.0 \\
    --hash=sha256:aa
keras==3.15.1 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via -r requirements.txt
keras-hub==1.0
numpy==2.4.6 ; python_version < '3.14' \\
    --hash=sha256:dd
"""


def test_the_record_says_what_computes_and_names_no_computer():
    record = describe(2, [])
    assert record["threads"] == 2
    assert record["device"] == "CPU"
    assert record["tensorflow"] == version("tensorflow")
    assert record["opencv"] == version("opencv-python-headless")
    assert platform.node() not in json.dumps(record)


def test_a_processor_is_known_by_vendor_family_model_and_instructions(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(AMD)
    assert read_cpu(path) == ("AuthenticAMD 25 1", "avx avx2 fma")
    path.write_text(ARM)
    assert read_cpu(path) == ("0x41 0xd0c", "asimd sve i8mm")
    assert read_cpu(tmp_path / "none")[1] == ""


@pytest.mark.parametrize(
    "name", sorted(set(describe(2, [])) - {"fingerprint", *NOT_IN_FINGERPRINT})
)
def test_another_class_of_machine_or_software_has_another_fingerprint(name):
    record = describe(2, [])
    assert fingerprint(record) == record["fingerprint"]
    assert fingerprint(record | {name: "another"}) != record["fingerprint"]


@pytest.mark.parametrize("name", NOT_IN_FINGERPRINT)
def test_what_no_sum_depends_on_is_not_in_the_fingerprint(name):
    record = describe(2, [])
    assert fingerprint(record | {name: "another"}) == record["fingerprint"]


def test_onednn_switched_off_is_another_class(monkeypatch):
    one = describe(2, [])
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    other = describe(2, [])
    assert (one["onednn"], other["onednn"]) == (True, False)
    assert one["fingerprint"] != other["fingerprint"]


def test_a_switch_of_a_library_is_another_class(monkeypatch):
    one = describe(2, [])
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    other = describe(2, [])
    assert other["switches"] == "ONEDNN_MAX_CPU_ISA=SSE41"
    assert one["fingerprint"] != other["fingerprint"]


def test_a_package_under_another_name_is_no_fault(monkeypatch):
    monkeypatch.setattr("ulna.core.provenance.PACKAGES", ("numpy", "tensorflow-of-another-make"))
    assert describe(2, [])["tensorflow"] is None


def test_the_lock_is_hashed_for_what_computes_alone(tmp_path):
    path = tmp_path / "requirements.lock"
    assert hash_lock(path) is None
    path.write_text(LOCK)
    first = hash_lock(path)
    path.write_text(LOCK.replace("aa", "ab").replace("keras-hub==1.0", "keras-hub==1.1"))
    assert hash_lock(path) == first
    for old, new in (("cc", "ce"), ("dd", "de"), ("3.15.1", "3.15.2")):
        path.write_text(LOCK.replace(old, new))
        assert hash_lock(path) != first


@pytest.mark.parametrize("name", ["nvidiactl", "dxg", None])
def test_a_driver_of_a_gpu_is_seen_by_its_device(tmp_path, monkeypatch, name):
    devices = tuple(tmp_path / path.name for path in provenance.GPU_DEVICES)
    monkeypatch.setattr(provenance, "GPU_DEVICES", devices)
    if name:
        (tmp_path / name).touch()
    assert provenance.has_gpu_driver() == bool(name)
