import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_files import compress, make
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless

from ulna.data import decoder
from ulna.data.dicom_pixels import encode_request

VALUES = (np.add.outer(np.arange(80), 2 * np.arange(64)) * 18).astype(np.uint16)


def request(folder: Path, syntax: str, plugin: str = "gdcm", broken: bool = False) -> bytes:
    path = folder / "file.dcm"
    path.write_bytes(compress(make(VALUES), syntax, folder))
    dataset = dcmread(path)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if broken:
        # Ended too early: GDCM fills up the picture, and says so on stderr.
        frame = frame[:-200] + b"\xff\xd9" * 100
    return encode_request(frame, dataset, plugin)


def answers(requests: bytes, folder: Path) -> list[bytes]:
    done = subprocess.run(
        [sys.executable, "-P", decoder.__file__], input=requests, cwd=folder, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    pixels, rest = [], done.stdout
    while rest:
        (length,) = decoder.LENGTH.unpack(rest[: decoder.LENGTH.size])
        rest = rest[decoder.LENGTH.size :]
        pixels.append(rest[:length])
        rest = rest[length:]
    return pixels


def test_requests_are_answered_in_turn_until_they_end(tmp_path):
    asked = [
        request(tmp_path, JPEGLSLossless),
        request(tmp_path, JPEGLosslessSV1, broken=True),
        request(tmp_path, JPEGLosslessSV1),
        request(tmp_path, JPEGLSLossless, plugin="none"),
    ]
    (tmp_path / "dl").mkdir()  # python-gdcm asks for a module of this name
    pixels = VALUES.tobytes()
    assert answers(b"".join(asked), tmp_path) == [pixels, b"", pixels, b""]


def test_no_request_is_no_answer(tmp_path):
    assert answers(b"", tmp_path) == []


def test_it_imports_nothing_of_ulna():
    """It is run as a script, wherever the package lies."""
    assert "from ulna" not in Path(decoder.__file__).read_text()


@pytest.mark.parametrize("damage", [b"{", b"{}\n", b"[]\n"])
def test_a_request_that_makes_no_sense_ends_it(damage, tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", decoder.__file__], input=damage, capture_output=True
    )
    assert done.returncode != 0 and done.stdout == b""
