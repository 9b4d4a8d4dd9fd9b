"""DICOM radiographs made here, and those that pydicom brings."""

import importlib.metadata
import io
from functools import cache
from pathlib import Path

import numpy as np
import pydicom.data
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

# Those that can be made of a file here; the name is GDCM's, None for pydicom's own encoder.
ENCODERS = {
    RLELossless: None,
    JPEG2000Lossless: None,
    JPEGLossless: "JPEGLosslessProcess14",
    JPEGLosslessSV1: "JPEGLosslessProcess14_1",
    JPEGLSLossless: "JPEGLSLossless",
}


def radiograph(values: np.ndarray, **elements: object) -> FileDataset:
    """A CR image of these values (height, width); an element of value None is left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    bits = values.dtype.itemsize * 8
    given = {
        "Modality": "CR",
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": "1.2.3.4",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": int(elements.get("BitsStored", bits)) - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "PixelData": values.tobytes(),
    } | elements
    with disable_value_validation():  # of what is wrong on purpose
        for keyword, value in given.items():
            if value is not None:
                setattr(made, keyword, value)
    if "PixelData" in made:
        made["PixelData"].VR = "OW" if bits > 8 else "OB"
    return made


def lut(entries: list[int], first: int, bits: int) -> Dataset:
    """An item of a LUT sequence, from the value `first` on."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


def encode(dataset: Dataset) -> bytes:
    """The bytes of its file."""
    file = io.BytesIO()
    with disable_value_validation():
        dataset.save_as(file, enforce_file_format=False)
    return file.getvalue()


def make(values: np.ndarray, **elements: object) -> bytes:
    """The bytes of a `radiograph`."""
    return encode(radiograph(values, **elements))


def compress(data: bytes, syntax: str, folder: Path) -> bytes:
    """The same pixels, without loss, in a transfer syntax of `ENCODERS`."""
    name = ENCODERS[syntax]
    if name is None:
        dataset = dcmread(io.BytesIO(data))
        dataset.compress(syntax)
        return encode(dataset)
    import gdcm

    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(data)
    reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target.read_bytes()


@cache
def shipped() -> dict[str, Path]:
    """Name -> path of the files of pydicom and of pydicom-data; none is fetched."""
    own = (Path(pydicom.data.__file__).parent / "test_files").rglob("*")
    distribution = importlib.metadata.distribution("pydicom-data")
    more = (Path(distribution.locate_file(file)) for file in distribution.files)
    return {path.name: path for path in (*own, *more) if path.is_file()}
