"""Decode compressed pixels in a process of its own, started by `ulna.data.dicom_pixels`.

Damaged JPEG-LS was seen to end the whole process (GDCM throws where nobody can catch), and damaged
lossless JPEG to give noise with no more than a line on stderr. Here the first costs this process,
which is replaced, and the second is noticed.

A request is a line of JSON, what pydicom calls the decoding options, then so many bytes. The answer
is a length in 8 bytes, then the pixels by rows; a length of 0 says that they are damaged. Nothing
but numbers comes back: this program may have run a stranger's bytes.
"""

import json
import os
import struct
import sys
import tempfile
from typing import BinaryIO

LENGTH = struct.Struct("<Q")
COMPLAINT = b"Corrupt JPEG data"  # of libjpeg in GDCM; it goes on nevertheless


def serve(requests: BinaryIO, answers: BinaryIO, complaints: BinaryIO) -> None:
    """Answer until the requests end; `complaints` is the file that stderr goes to."""
    sys.modules.update(dict.fromkeys(("dl", "DLFCN")))  # type: ignore[arg-type]  # see dicom.py
    from pydicom.pixels.decoders.base import get_decoder

    while line := requests.readline():
        options = json.loads(line)
        encoded = requests.read(options.pop("length"))
        syntax, plugin = options.pop("syntax"), options.pop("plugin")
        try:
            decoder = get_decoder(syntax)
            levels, _ = decoder.as_array(encoded, raw=True, decoding_plugin=plugin, **options)
            pixels = levels.tobytes()
        except Exception:
            pixels = b""
        complaints.seek(0)
        if COMPLAINT in complaints.read():
            pixels = b""
        complaints.seek(0)
        complaints.truncate()
        answers.write(LENGTH.pack(len(pixels)) + pixels)
        answers.flush()


if __name__ == "__main__":
    with tempfile.TemporaryFile() as stderr:
        os.dup2(stderr.fileno(), 2)
        serve(sys.stdin.buffer, sys.stdout.buffer, stderr)
