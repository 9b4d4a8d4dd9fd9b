import io
import os
import signal
import struct
import threading

import numpy as np
import pytest
from dicom_files import compress, make
from PIL import Image
from pydicom.uid import JPEGLSLossless

from ulna.core import InputError
from ulna.data import dicom_pixels
from ulna.data.dicom_pixels import DECODER, check_run_lengths, codestream_size
from ulna.data.images import decode

TWELVE = (np.add.outer(np.arange(80), 2 * np.arange(64)) * 18).astype(np.uint16)


def test_the_size_of_a_codestream_is_what_it_states():
    for name, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG2000", {})):
        stream = io.BytesIO()
        Image.new("L", (300, 7)).save(stream, name, **options)
        assert codestream_size(stream.getvalue()) == (300, 7)
    for nothing in (b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\x4f\xff\x51", bytes(99)):
        assert codestream_size(nothing) in (None, (0, 0))


def test_run_lengths_are_counted():
    """By hand: 3 bytes as they are, one byte 5 times, a byte that says nothing."""
    runs = b"\x02abc" + b"\xfcx" + b"\x80"
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + runs * 40
    check_run_lengths(frame, pixels=40 * 8 - 128)
    with pytest.raises(InputError, match="run lengths of more pixels"):
        check_run_lengths(frame, pixels=40 * 8 - 129)


def test_a_decoder_that_crashes_costs_one_file(tmp_path, monkeypatch):
    data = compress(make(TWELVE), JPEGLSLossless, tmp_path)
    pixels = decode(data, 1).pixels
    first = DECODER._process
    first.kill()
    first.wait()
    assert np.array_equal(decode(data, 1).pixels, pixels)
    # One that never answers is ended.
    monkeypatch.setattr(dicom_pixels, "DECODING_SECONDS", 0.3)
    os.kill(DECODER._process.pid, signal.SIGSTOP)
    with pytest.raises(InputError, match="its decoder failed"):
        decode(data, 1)
    monkeypatch.setattr(dicom_pixels, "DECODING_SECONDS", 60.0)
    assert np.array_equal(decode(data, 1).pixels, pixels)


def test_threads_share_the_decoder(tmp_path):
    files = [compress(make(TWELVE + k), JPEGLSLossless, tmp_path) for k in range(6)]
    expected = [decode(make(TWELVE + k), 1).pixels for k in range(6)]
    results: dict[int, np.ndarray] = {}

    def work(k: int) -> None:
        for _ in range(5):
            results[k] = decode(files[k], 1).pixels

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[k], expected[k]) for k in range(6))
