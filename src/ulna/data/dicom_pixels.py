"""Decode the pixels of a DICOM radiograph.

The decoders of compressed pixels are C and C++ code. What is refused before they see it (sizes that
disagree, too many pixels) bounds their memory; those that were seen to crash run in a process of
their own. That is no sandbox: whoever finds a flaw of theirs has the rights of the user.
"""

import atexit
import json
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ulna.core import InputError
from ulna.data import damage_as_input_error

if TYPE_CHECKING:
    from pydicom import Dataset

Stored = npt.NDArray[np.unsignedinteger[Any]]

IN_PROCESS = ("", "pydicom", "pillow")  # plugins; the others run in `ulna.data.decoder`
PROGRAM = Path(__file__).with_name("decoder.py")
LENGTH = struct.Struct("<Q")  # of its answers
DECODING_SECONDS = 60.0  # of one file, 50 megapixels of JPEG-LS take 2


def decode_pixels(dataset: "Dataset", plugin: str) -> Stored:
    """Decode what `ulna.data.dicom.read_dicom` has read and checked.

    Returns:
        The values as they are stored, (height, width), 8 or 16 bits, read as unsigned, as
        `ulna.data.grey_levels.grey_table` is indexed.

    Raises:
        InputError: They are damaged or cut off; the message is the reason alone.
    """
    with damage_as_input_error():
        from pydicom.encaps import generate_frames
        from pydicom.pixels.decoders.base import get_decoder

        syntax = dataset.file_meta.TransferSyntaxUID
        shape = dataset.Rows, dataset.Columns
        if plugin:
            frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
            if plugin == "pydicom":
                check_run_lengths(frame, dataset.Rows * dataset.Columns)
            elif codestream_size(frame) != (dataset.Columns, dataset.Rows):
                raise InputError(
                    "damaged: the compressed pixels are of another size than the header's"
                )
        if plugin in IN_PROCESS:
            levels, _ = get_decoder(syntax).as_array(dataset, raw=True, decoding_plugin=plugin)
        else:
            levels = DECODER.decode(frame, dataset, plugin)
        bytes_per_pixel = dataset.BitsAllocated // 8
        if levels.shape != shape or levels.itemsize > bytes_per_pixel:
            raise InputError("damaged or cut off")
        # Of the byte order of this machine, and as wide as allocated, which a compressed pixel of
        # few bits is not.
        own = levels.astype(f"{levels.dtype.kind}{bytes_per_pixel}")
        unsigned: Stored = own.view(f"u{bytes_per_pixel}")
        return unsigned


def check_run_lengths(frame: bytes, pixels: int) -> None:
    """Refuse (InputError) RLE that makes more of one byte per pixel than there are pixels."""
    count, *starts = struct.unpack("<16L", frame[:64])
    for start, end in pairwise((*starts[:count], len(frame))):
        at, length = start, 0
        while at < end:
            # 0 to 127: so many bytes and one more follow; 129 to 255: the next one, 257 - n times.
            n = frame[at]
            at += n + 2 if n < 128 else 2 if n > 128 else 1
            length += n + 1 if n < 128 else 257 - n if n > 128 else 0
            if length > pixels + 128:
                raise InputError("damaged: run lengths of more pixels than the header's")


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG, JPEG-LS or JPEG 2000 states itself, None for anything else.

    A decoder takes memory by these, not by the header that was checked.
    """
    siz = frame.find(b"\xff\x4f\xff\x51") if frame[:2] != b"\xff\xd8" else -1
    if siz >= 0:
        right, bottom, left, top = (
            int.from_bytes(frame[siz + at : siz + at + 4]) for at in (8, 12, 16, 20)
        )
        return right - left, bottom - top
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        # SOF, but for DHT, JPG and DAC, which lie among them; 0xF7 is that of JPEG-LS.
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = (int.from_bytes(frame[at + i : at + i + 2]) for i in (5, 7))
            return width, height
        at += 1 if marker == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4])
    return None


class DecoderProcess:
    """The process of `ulna.data.decoder`: started when first needed, replaced when it dies."""

    def __init__(self) -> None:
        """Without a process yet."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def decode(self, frame: bytes, dataset: "Dataset", plugin: str) -> npt.NDArray[Any]:
        """Decode a frame by a plugin of pydicom: values (height, width), signed or not.

        Raises:
            InputError: It is damaged; the message is the reason alone.
        """
        request = encode_request(frame, dataset, plugin)
        size = dataset.Rows * dataset.Columns
        with self._lock:
            process = self._start()
            alarm = threading.Timer(DECODING_SECONDS, process.kill)
            alarm.start()
            try:
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(request)
                process.stdin.flush()
                (length,) = LENGTH.unpack(process.stdout.read(LENGTH.size))
                if length not in (0, size, 2 * size):
                    raise OSError
                pixels = process.stdout.read(length)
            except BaseException as error:
                self.close()  # else what is left of this answer would be taken for the next one
                if isinstance(error, OSError | struct.error):
                    raise InputError("damaged, so that its decoder failed") from None
                raise
            finally:
                alarm.cancel()
        if len(pixels) not in (size, 2 * size):
            raise InputError("damaged or cut off")
        kind = "i" if dataset.PixelRepresentation else "u"
        levels = np.frombuffer(pixels, f"{kind}{len(pixels) // size}")
        return levels.reshape(dataset.Rows, dataset.Columns)

    def _start(self) -> "subprocess.Popen[bytes]":
        # After a fork the other process goes on to use the one there is.
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.close()
            pipe = subprocess.PIPE
            # -P: what lies in its folder must not shadow the standard library.
            self._process = subprocess.Popen(
                [sys.executable, "-P", PROGRAM],
                stdin=pipe,
                stdout=pipe,
                stderr=subprocess.DEVNULL,
            )
            self._owner = os.getpid()
        return self._process

    def close(self) -> None:
        """End it; it ends by itself with the process that started it."""
        if (process := self._process) is not None:
            if self._owner == os.getpid():
                process.kill()
                process.communicate()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what was not sent can no longer be
                        pipe.close()
        self._process = None


DECODER = DecoderProcess()
atexit.register(DECODER.close)


def encode_request(frame: bytes, dataset: "Dataset", plugin: str) -> bytes:
    """A request to `ulna.data.decoder`, which describes it."""
    from pydicom.encaps import encapsulate

    encoded = encapsulate([frame])
    options = {
        "syntax": dataset.file_meta.TransferSyntaxUID,
        "plugin": plugin,
        "length": len(encoded),
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": dataset.BitsAllocated,
        "bits_stored": dataset.BitsStored,
        "pixel_representation": dataset.PixelRepresentation,
        "photometric_interpretation": dataset.PhotometricInterpretation,
        "pixel_keyword": "PixelData",
    }
    return json.dumps(options).encode() + b"\n" + encoded
