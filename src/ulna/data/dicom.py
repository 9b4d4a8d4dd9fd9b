"""Read the header of a DICOM radiograph (CR, DX): the few elements that count.

Only the elements of `KEYWORDS` are read, and no text of them reaches a message.
"""

import hashlib
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ulna.core import InputError
from ulna.data import damage_as_input_error

if TYPE_CHECKING:  # takes 0.3 s, and only DICOM files need it
    from pydicom import Dataset
    from pydicom.uid import UID

PREFIX_AT, PREFIX = 128, b"DICM"

# Of PS3.3 C.7.3.1.1.1; only these are put into a message, as the element could hold any text.
MODALITIES = ("CR", "DX")
OTHER_MODALITIES = frozenset(
    "AU BI BMD CT DG DOC ECG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN LS MG MR NM OAM OCT "
    "OP OPM OPT OPV OSS OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT "
    "RWV SEG SM SMR SR SRF STAIN TG US VA XA XC".split()
)

# Terms of PS3.16 Annex L for what is radiographed of bones. The first line is MURA's, of the same
# spelling; of the others a bundle can say that it was not trained on them. Nothing is translated:
# ARM may be the upper one or all of it, and nobody says whether MURA's FINGER has thumbs.
BODY_PARTS = frozenset(
    "ELBOW FINGER FOREARM HAND HUMERUS SHOULDER WRIST "
    "ANKLE ARM CALCANEUS CHEST CLAVICLE COCCYX CSPINE EXTREMITY FEMUR FOOT HEAD HIP JAW KNEE LEG "
    "LSPINE NECK PATELLA PELVIS RIB SCAPULA SKULL SPINE SSPINE STERNUM THIGH THUMB TOE "
    "TSPINE".split()
)

KEYWORDS = (
    "Modality BodyPartExamined StudyInstanceUID PresentationIntentType PresentationLUTShape "
    "PhotometricInterpretation SamplesPerPixel Rows Columns NumberOfFrames BitsAllocated "
    "BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleSlope "
    "RescaleIntercept ModalityLUTSequence VOILUTSequence WindowCenter WindowWidth VOILUTFunction "
    "ExtendedOffsetTable ExtendedOffsetTableLengths PixelData"
).split()

# Transfer syntax -> which of pydicom's plugins decodes it; "" for pixels that are not compressed.
# One for each, and not any that is installed: two decoders of lossy JPEG differ by a grey level.
# Pillow is always there. JPEG of 12 bits has none without the GPL.
DECODERS = {
    "1.2.840.10008.1.2": "",  # implicit, little endian
    "1.2.840.10008.1.2.1": "",  # explicit
    "1.2.840.10008.1.2.1.99": "",  # deflated
    "1.2.840.10008.1.2.2": "",  # big endian
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG
    "1.2.840.10008.1.2.4.51": "pillow",  # JPEG, up to 12 bits
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG, lossless
    "1.2.840.10008.1.2.4.70": "gdcm",  # JPEG, lossless
    "1.2.840.10008.1.2.4.80": "gdcm",  # JPEG-LS
    "1.2.840.10008.1.2.4.81": "gdcm",  # JPEG-LS
    "1.2.840.10008.1.2.4.90": "pillow",  # JPEG 2000
    "1.2.840.10008.1.2.4.91": "pillow",  # JPEG 2000
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # HTJ2K
    "1.2.840.10008.1.2.4.202": "pylibjpeg",  # HTJ2K
    "1.2.840.10008.1.2.4.203": "pylibjpeg",  # HTJ2K
}
DEFLATED = "1.2.840.10008.1.2.1.99"
DICOMDIR = "1.2.840.10008.1.3.10"
JPEG_12_BIT = "1.2.840.10008.1.2.4.51"
PACKAGES = {
    "gdcm": "python-gdcm",
    "pylibjpeg": "pylibjpeg pylibjpeg-openjpeg",
    "pillow": "pillow",
}

HEADER_BYTES = 2**24  # more than any header; bounds what a deflated file may grow to beside pixels


def is_dicom(data: bytes) -> bool:
    """Whether a file is DICOM by its content: `DICM` after a preamble of 128 bytes."""
    return data[PREFIX_AT : PREFIX_AT + len(PREFIX)] == PREFIX


def read_dicom(data: bytes, max_megapixels: float) -> tuple["Dataset", str]:
    """Read a radiograph: modality CR or DX, greyscale, one frame.

    Returns:
        Its elements of `KEYWORDS`, and the plugin of `DECODERS` for its pixels, both for
        `ulna.data.dicom_pixels.decode_pixels`.

    Raises:
        InputError: It is anything else, without pixels, too large (from its header, before memory
            is taken), of a transfer syntax without decoder, damaged or cut off; the message is the
            reason alone.
    """
    with damage_as_input_error():
        with _dl_hidden():
            import pydicom.pixels  # noqa: F401
        dataset, syntax = _read(data, max_megapixels)
        _check_kind(dataset)
        _check_size(dataset, max_megapixels)
        return dataset, _choose_decoder(dataset, syntax)


def body_part(dataset: "Dataset") -> str | None:
    """The body part, if it is one of `BODY_PARTS`: the element could hold any text."""
    named = str(dataset.get("BodyPartExamined") or "").strip().upper()
    return named if named in BODY_PARTS else None


def study_key(dataset: "Dataset") -> str | None:
    """16 hex digits of the SHA-256 of the study's UID; None without one."""
    uid = str(dataset.get("StudyInstanceUID") or "").strip()
    return hashlib.sha256(uid.encode()).hexdigest()[:16] if uid else None


@contextmanager
def _dl_hidden() -> Iterator[None]:
    # python-gdcm begins with `import dl`, else `import DLFCN`, modules of Python 2: it would take
    # a folder of that name in the working directory for them, and fail.
    names = [name for name in ("dl", "DLFCN") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: not to be found
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def _read(data: bytes, max_megapixels: float) -> tuple["Dataset", "UID"]:
    """Elements of `KEYWORDS`, and the transfer syntax."""
    from pydicom import dcmread
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    file = io.BytesIO(data)
    file.seek(PREFIX_AT + len(PREFIX))
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    if meta.get("MediaStorageSOPClassUID") == DICOMDIR:
        raise InputError("a DICOMDIR, the list of what is on a disc: name the images")
    syntax = UID(str(meta.get("TransferSyntaxUID") or ""))
    if syntax not in DECODERS:
        # Its name is that of the standard, or of nobody.
        name = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "unknown"
        raise InputError(f"DICOM of a transfer syntax that nothing here reads ({name})")
    if syntax == DEFLATED:
        limit = int(max_megapixels * 2e6) + HEADER_BYTES
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[file.tell() :], limit + 1)
        if len(inflated) > limit:
            raise InputError("deflated DICOM that grows beyond what image.max_megapixels allows")
        del inflated
    dataset = dcmread(io.BytesIO(data), specific_tags=KEYWORDS)
    if not dataset:  # pydicom drops all of a file that ends within an element
        raise InputError("damaged or cut off")
    return dataset, syntax


def _check_kind(dataset: "Dataset") -> None:
    modality = str(dataset.get("Modality") or "").strip().upper()
    if modality not in MODALITIES:
        of = f"of modality {modality}" if modality in OTHER_MODALITIES else "of another modality"
        of = of if modality else "without a modality"
        raise InputError(f"DICOM {of}: only radiographs are read, {' and '.join(MODALITIES)}")
    if "PixelData" not in dataset:
        raise InputError("DICOM without pixels, or cut off before them")
    photometric = dataset.get("PhotometricInterpretation")
    if (
        photometric not in ("MONOCHROME1", "MONOCHROME2")
        or _whole(dataset, "SamplesPerPixel", 1) != 1
    ):
        raise InputError("DICOM in colour, which no CR or DX radiograph is: export the original")


def _check_size(dataset: "Dataset", max_megapixels: float) -> None:
    height, width = _whole(dataset, "Rows"), _whole(dataset, "Columns")
    frames = _whole(dataset, "NumberOfFrames", 1)
    if min(height, width, frames) < 1:
        raise InputError("DICOM of no rows, columns or frames")
    if height * width * frames > max_megapixels * 1e6:
        by = f"{width} x {height}" + (f" x {frames}" if frames > 1 else "")
        raise InputError(
            f"{by} pixels are more than image.max_megapixels ({max_megapixels:g}) allows"
        )
    if frames > 1:
        raise InputError(f"DICOM of {frames} frames: save one of them")
    allocated, stored = _whole(dataset, "BitsAllocated"), _whole(dataset, "BitsStored")
    if allocated not in (8, 16) or not 1 < stored <= allocated:
        raise InputError(f"DICOM of {stored} bits in {allocated}: expected up to 16, in 8 or 16")
    if _whole(dataset, "HighBit", stored - 1) != stored - 1:
        raise InputError("DICOM whose highest bit is not the last of those stored")
    if _whole(dataset, "PixelRepresentation") not in (0, 1):
        raise InputError("DICOM of pixels neither signed nor unsigned")


def _whole(dataset: "Dataset", name: str, default: int | None = None) -> int:
    """A whole number of the header; ValueError, which means damage, if it is anything else."""
    value: Any = dataset.get(name)
    if value is None or value == "":
        value = default
    if not isinstance(value, int):
        raise ValueError
    return int(value)


def _choose_decoder(dataset: "Dataset", syntax: "UID") -> str:
    """The plugin of `DECODERS`, if it is installed."""
    from pydicom.pixels.decoders.base import get_decoder

    plugin = DECODERS[syntax]
    if plugin and plugin not in get_decoder(syntax).available_plugins:
        raise InputError(
            f"DICOM compressed as {syntax.name}, which needs a decoder: "
            f"`pip install {PACKAGES[plugin]}` brings it"
        )
    if syntax == JPEG_12_BIT and dataset.BitsStored > 8:
        raise InputError(
            "DICOM compressed as JPEG of 12 bits, which nothing here reads: convert it"
        )
    return plugin
