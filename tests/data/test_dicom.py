import io
import logging
import os
import struct
import subprocess
import sys
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import ENCODERS, compress, encode, lut, make, radiograph, shipped
from mura_tree import small_studies, tables
from PIL import Image
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

import ulna
from ulna.checks.audit import GREYSCALE
from ulna.core import InputError
from ulna.data import damage_as_input_error
from ulna.data.cache import build_cache, load_cache
from ulna.data.dicom import BODY_PARTS, DECODERS, KEYWORDS, is_dicom, read_dicom
from ulna.data.dicom_pixels import decode_pixels
from ulna.data.images import decode
from ulna.data.mura import MURA_V1_1, check_files, read_index
from ulna.data.source import list_images, open_root

SRC = Path(__file__).resolve().parents[2] / "src"
RNG = np.random.default_rng(30)
EIGHT = RNG.integers(0, 256, (24, 18), np.uint8)
# Smooth, of 12 bits, its brightest above 2047: as a 16-bit PNG it is taken for 12 bits, too.
TWELVE = (np.add.outer(np.arange(80), 2 * np.arange(64)) * 18).astype(np.uint16)


def refusal(data: bytes, max_megapixels: float = 1) -> str:
    with pytest.raises(InputError) as caught:
        decode(data, max_megapixels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _nothing_is_printed(capfd, caplog):
    """Neither pydicom, nor a decoder below Python."""
    yield
    printed, complaints = capfd.readouterr()
    assert complaints == ""
    assert all(line.startswith("preprocess: ") for line in printed.splitlines())
    assert caplog.get_records("call") == []


# Recognised by content


def test_dicom_is_recognised_by_its_content():
    assert is_dicom(make(EIGHT))
    assert not is_dicom(b"DICM") and not is_dicom(bytes(200))
    assert refusal(make(EIGHT)[132:]) == "neither PNG nor JPEG nor DICOM by its content"


def test_pydicom_is_not_imported_without_a_dicom_file():
    program = (
        "import sys\n"
        "from ulna.core import InputError\n"
        "from ulna.data.images import decode\n"
        "try: decode(bytes(200), 1)\n"
        "except InputError: pass\n"
        "print([name for name in ('pydicom', 'pandas', 'gdcm') if name in sys.modules])\n"
    )
    source = {"PYTHONPATH": str(Path(ulna.__file__).parents[1])}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=source, capture_output=True, text=True
    )
    assert ended.stdout == "[]\n", ended.stderr


# A real radiograph: RG3_UNCR.dcm, a lower leg, MONOCHROME1, 10 bits, window 550/1024


def test_a_real_radiograph_is_shown_as_a_viewer_would():
    decoded = decode(shipped()["RG3_UNCR.dcm"].read_bytes(), 50)
    assert decoded.pixels.shape == (1760, 1760) and decoded.pixels.dtype == np.uint8
    assert (decoded.mode, decoded.bit_depth) == ("MONOCHROME1", 10)
    assert (decoded.body_part, decoded.notes, decoded.polarity_known) == ("EXTREMITY", (), True)
    dataset = dcmread(shipped()["RG3_UNCR.dcm"])
    viewer = 255 - apply_voi_lut(dataset.pixel_array, dataset) / 1023 * 255
    assert np.abs(decoded.pixels - viewer).max() <= 0.5 + 1e-9
    assert round(decoded.pixels.mean(), 1) == 177.5
    # Two bones side by side, brighter than the soft tissue around them.
    row = decoded.pixels[880].astype(int)
    assert row[900:].max() > 200


def test_its_twin_of_the_other_polarity_has_the_same_grey_levels():
    dataset = dcmread(shipped()["RG3_UNCR.dcm"])
    pixels = decode(encode(dataset), 50).pixels
    # Values and window turned round: the centre of LINEAR lies half a value off the middle.
    dataset.PixelData = (1023 - dataset.pixel_array).tobytes()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.WindowCenter, dataset.WindowWidth = 1023 - 550 + 1, 1024
    assert np.array_equal(decode(encode(dataset), 50).pixels, pixels)


def test_a_jpeg_2000_of_it_is_the_same_picture():
    files = shipped()
    for name in ("RG3", "RG1"):
        lossless, lossy = (
            decode(files[f"{name}_{kind}.dcm"].read_bytes(), 50) for kind in ("J2KR", "J2KI")
        )
        original = decode(files[f"{name}_UNCR.dcm"].read_bytes(), 50)
        assert np.array_equal(lossless.pixels, original.pixels)
        assert 0 < np.abs(lossy.pixels - original.pixels.astype(float)).mean() < 2


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda syntax: syntax.name)
def test_it_is_the_same_in_every_transfer_syntax_that_can_be_made(syntax, tmp_path):
    data = shipped()["RG3_UNCR.dcm"].read_bytes()
    compressed = compress(data, syntax, tmp_path)
    assert dcmread(io.BytesIO(compressed)).file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(decode(compressed, 50).pixels, decode(data, 50).pixels)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
def test_uncompressed_values_are_the_same_in_every_transfer_syntax(syntax, kind):
    values = RNG.integers(-9000 if kind is np.int16 else 0, 250, (9, 8)).astype(kind)
    dataset = radiograph(
        values, WindowCenter=3, WindowWidth=600, VOILUTSequence=[lut([0, 5, 99, 300], 7, 9)]
    )
    dataset.add_new("PixelPaddingValue", "SS" if kind is np.int16 else "US", 7)
    plain = decode(encode(dataset), 1)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = values.byteswap().tobytes()
    file = io.BytesIO()
    big = syntax == ExplicitVRBigEndian
    implicit = syntax == ImplicitVRLittleEndian
    dataset.set_original_encoding(implicit, not big)
    dataset.save_as(file, implicit_vr=implicit, little_endian=not big, force_encoding=True)
    assert np.array_equal(decode(file.getvalue(), 1).pixels, plain.pixels)


# Every file with pixels that pydicom brings; their modality set aside


def _with_pixels() -> list[str]:
    names = []
    for name, path in sorted(shipped().items()):
        with path.open("rb") as file:
            if is_dicom(file.read(132)) and path.suffix in ("", ".dcm"):
                names.append(name)
    return names


# Refused, and rightly: of `DICOM in colour` and so on.
DAMAGED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "of another size",  # its width is overwritten
    "MR_truncated.dcm": "cut off",
    "rtplan_truncated.dcm": "without pixels",
    "JPGExtended.dcm": "JPEG of 12 bits",
    "JPEG-lossy.dcm": "JPEG of 12 bits",
}
REFUSED = (
    "DICOMDIR",
    "in colour",
    "frames: save one",
    "bits in",
    "without pixels",
    "transfer syntax",
)


def test_every_file_of_pydicom_gives_its_values_or_a_reason(caplog):
    read: dict[str, int] = {}
    for name in _with_pixels():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(shipped()[name])
            dataset.Modality = "CR"
            try:
                data = encode(dataset)
            except TypeError:  # SC_rgb_jpeg.dcm, which pydicom cannot write
                continue
            try:
                stored = decode_pixels(*read_dicom(data, 50))
            except InputError as error:
                reasons = (DAMAGED[name],) if name in DAMAGED else (*REFUSED, "cut off")
                assert any(reason in str(error) for reason in reasons), (name, str(error))
                continue
            assert name not in DAMAGED
            expected = dataset.pixel_array.astype(int) % 2**dataset.BitsAllocated
        assert np.array_equal(stored, expected), name
        syntax = dataset.file_meta.TransferSyntaxUID
        read[syntax] = read.get(syntax, 0) + 1
    caplog.clear()  # of this test's own reading
    # JPEG of 8 bits has colour pictures alone there, lossless .57 and HTJ2K none.
    untried = {syntax for syntax in DECODERS if syntax not in read}
    assert {syntax.rpartition(".")[2] for syntax in untried} == {
        "50", "51", "57", "201", "202", "203"
    }  # fmt: skip
    assert sum(read.values()) >= 70


def test_a_jpeg_of_8_bits_is_read():
    jpeg = io.BytesIO()
    Image.fromarray(TWELVE.astype(np.uint8)).save(jpeg, "JPEG", quality=90)
    dataset = radiograph(TWELVE.astype(np.uint8), PixelData=encapsulate([jpeg.getvalue()]))
    for end in ("50", "51"):
        dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{end}"
        dataset["PixelData"].is_undefined_length = True
        pixels = decode(encode(dataset), 1).pixels
        assert np.array_equal(pixels, decode(jpeg.getvalue(), 1).pixels)


# Refused


@pytest.mark.parametrize("modality", ["MR", "NM", "US", "CT", "SR", "MG", "XA", "OT"])
def test_other_modalities_are_refused_by_name(modality):
    assert f"modality {modality}:" in refusal(make(EIGHT, Modality=modality))


def test_the_list_of_a_disc_is_refused():
    assert "DICOMDIR" in refusal(shipped()["DICOMDIR"].read_bytes())


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG-LL.dcm", "test-SR.dcm"])
def test_files_of_other_modalities_are_refused(name):
    assert "only radiographs are read" in refusal(shipped()[name].read_bytes())


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": None}, "without a modality"),
        ({"Modality": ""}, "without a modality"),
        ({"Modality": "CANARY"}, "of another modality"),
        ({"PixelData": None}, "without pixels"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "in colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "in colour"),
        ({"PhotometricInterpretation": None}, "in colour"),
        ({"SamplesPerPixel": 3}, "in colour"),
        ({"NumberOfFrames": 3}, "3 frames: save one"),
        ({"NumberOfFrames": 0}, "no rows, columns or frames"),
        ({"Rows": 0}, "no rows, columns or frames"),
        ({"Rows": None}, "damaged or cut off"),
        ({"BitsAllocated": 32}, "8 bits in 32"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1 bits in 1"),
        ({"BitsStored": 9}, "9 bits in 8"),
        ({"BitsStored": 0, "HighBit": 0}, "0 bits in 8"),
        ({"BitsStored": 7, "HighBit": 7}, "highest bit"),
        ({"PixelRepresentation": 2}, "neither signed nor unsigned"),
        ({"PixelData": EIGHT.tobytes()[:-9]}, "damaged or cut off"),
    ],
)
def test_what_is_no_greyscale_radiograph_is_refused(elements, reason):
    assert reason in refusal(make(EIGHT, **elements))


def test_one_frame_may_be_called_one():
    assert np.array_equal(decode(make(EIGHT, NumberOfFrames=1), 1).pixels, EIGHT)


def test_a_frame_too_many_is_no_reason_to_take_memory():
    data = make(EIGHT, Rows=60_000, Columns=60_000)
    assert (
        refusal(data, 50) == "60000 x 60000 pixels are more than image.max_megapixels (50) allows"
    )
    assert "18 x 24 x 9999" in refusal(make(EIGHT, NumberOfFrames=9999))


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    whole = make(TWELVE, BitsStored=12)
    for data in (whole, *(compress(whole, syntax, tmp_path) for syntax in ENCODERS)):
        pixels_end = len(data) - 16
        for length in (133, 150, 300, len(data) // 2, pixels_end - 40, pixels_end - 400):
            assert refusal(data[:length])


@pytest.mark.parametrize("end", ["57", "70", "80", "201"])
def test_a_missing_decoder_is_named_with_what_brings_it(end, monkeypatch):
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "available_plugins", property(lambda self: ()))
    dataset = radiograph(EIGHT, PixelData=encapsulate([b"\xff\xd8"]))
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{end}"
    dataset["PixelData"].is_undefined_length = True
    reason = refusal(encode(dataset))
    assert dataset.file_meta.TransferSyntaxUID.name in reason
    package = "pylibjpeg pylibjpeg-openjpeg" if end == "201" else "python-gdcm"
    assert f"`pip install {package}` brings it" in reason
    assert "pylibjpeg-libjpeg" not in reason  # under the GPL


def test_every_decoder_is_installed_by_the_extra():
    from pydicom.pixels.decoders.base import get_decoder

    for syntax, plugin in DECODERS.items():
        assert not plugin or plugin in get_decoder(syntax).available_plugins


@pytest.mark.parametrize("syntax", ["", "1.2.3.4", "1.2.840.10008.1.2.4.100", "CANARY"])
def test_an_unknown_transfer_syntax_is_refused(syntax):
    dataset = radiograph(EIGHT)
    data = encode(dataset)
    uid = dataset.file_meta.TransferSyntaxUID.encode()
    reason = refusal(
        data.replace(uid + b"\0", syntax.encode()[: len(uid)].ljust(len(uid) + 1, b"\0"))
    )
    assert "transfer syntax" in reason and "CANARY" not in reason


# Bombs and damage


@pytest.mark.promise("D26")
def test_a_deflated_file_that_grows_is_refused():
    dataset = radiograph(EIGHT)
    data = encode(dataset)
    at = data.index(b"\x08\x00\x16\x00")
    dataset.file_meta.TransferSyntaxUID = uid = DeflatedExplicitVRLittleEndian
    deflated = encode(dataset)
    head = deflated[: deflated.index(uid.encode()) + len(uid)]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    filler = b"\x09\x00\x10\x00UN\0\0" + struct.pack("<L", 2**25) + bytes(2**25)
    bomb = head + deflater.compress(data[at:] + filler) + deflater.flush()
    assert len(bomb) < 400_000
    assert "grows beyond" in refusal(bomb)


@pytest.mark.promise("D26")
def test_run_lengths_that_grow_are_refused():
    bomb = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x00" * 2**20  # 128 MiB of black
    dataset = radiograph(EIGHT, PixelData=encapsulate([bomb]))
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset["PixelData"].is_undefined_length = True
    assert "run lengths of more pixels" in refusal(encode(dataset))


@pytest.mark.promise("D26")
@pytest.mark.parametrize("syntax", [s for s in ENCODERS if s != RLELossless])
def test_a_codestream_of_another_size_than_the_header_is_refused(syntax, tmp_path):
    dataset = dcmread(io.BytesIO(compress(make(TWELVE), syntax, tmp_path)))
    dataset.Rows, dataset.Columns = 50, 24
    assert "of another size" in refusal(encode(dataset))


def test_a_precision_at_which_gdcm_ends_its_process_is_refused():
    dataset = dcmread(shipped()["JPEGLSNearLossless_08.dcm"])
    dataset.Modality = "CR"
    data = encode(dataset)
    at = data.index(b"\xff\xd8\xff\xf7") + 6
    assert data[at] == 8
    assert "its decoder failed" in refusal(data[:at] + b"\xc8" + data[at + 1 :])


def test_damaged_lossless_jpeg_is_refused(tmp_path):
    data = compress(shipped()["RG3_UNCR.dcm"].read_bytes(), JPEGLosslessSV1, tmp_path)
    # The rest of the codestream lost, the file whole: GDCM gives noise, and a line on stderr.
    start, end = len(data) // 2, data.rindex(b"\xff\xd9")
    assert refusal(data[:start] + bytes(end - start) + data[end:], 50) == "damaged or cut off"


# Folders in the working directory that shadow modules


@pytest.mark.parametrize("how", ["-c", "script", "-P"])
def test_folders_in_the_working_directory_shadow_nothing(how, tmp_path):
    data = compress(make(TWELVE), JPEGLosslessSV1, tmp_path)
    (tmp_path / "view.dcm").write_bytes(data)
    for name in ("dl", "DLFCN", "onnx"):
        (tmp_path / name).mkdir()
    program = (
        f"import sys; sys.path.insert(0, {str(SRC)!r})\n"
        "from pathlib import Path\n"
        "from ulna.data.images import decode\n"
        "print(decode(Path('view.dcm').read_bytes(), 1).pixels.sum())\n"
    )
    (tmp_path / "program.py").write_text(program)
    arguments = {"-c": ["-c", program], "script": ["program.py"], "-P": ["-P", "program.py"]}[how]
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert ended.stderr == ""
    assert int(ended.stdout) == decode(data, 1).pixels.sum()


# What is known of the file


@pytest.mark.parametrize("part", sorted(set(MURA_V1_1["train"]) - {"all"}))
def test_the_body_parts_of_mura_are_known_by_their_names(part):
    for written in (part, part.lower(), f" {part} "):
        assert decode(make(EIGHT, BodyPartExamined=written.strip()), 1).body_part == part


@pytest.mark.parametrize("written", ["", "UP_EXM", "CANARY", "WRISTS", "LEFT WRIST", "HAND\\WRIST"])
def test_other_text_is_no_body_part(written):
    assert decode(make(EIGHT, BodyPartExamined=written), 1).body_part is None
    assert decode(make(EIGHT), 1).body_part is None


def test_body_parts_are_terms_of_one_word():
    assert all(part.isalpha() and part.isupper() and len(part) <= 16 for part in BODY_PARTS)


def test_a_study_is_known_by_the_hash_of_its_uid():
    one, same, other = (
        decode(make(EIGHT, StudyInstanceUID=uid), 1).study_key
        for uid in ("1.2.3", "1.2.3", "1.2.4")
    )
    assert one == same != other
    assert len(one) == 16 and decode(make(EIGHT), 1).study_key is None


def test_a_raw_image_is_noted():
    assert decode(make(EIGHT, PresentationIntentType="FOR PROCESSING"), 1).notes == (
        "for_processing",
    )


# Nothing of the header's text gets out

TEXT = frozenset("AE AS CS LO LT PN SH ST UC UT".split())
CANARY = "CANARY"


def _canaries() -> bytes:
    """A radiograph with a canary in each text element of the dictionary that is not read."""
    dataset = radiograph(EIGHT)
    read = {*KEYWORDS, "SpecificCharacterSet"}
    with disable_value_validation():
        for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
            if vr in TEXT and keyword and not retired and keyword not in read and tag >> 16 > 2:
                dataset.add_new(tag, vr, CANARY)
    block = dataset.private_block(0x0009, CANARY, create=True)
    block.add_new(0x01, "LO", CANARY)
    dataset.add_new(0x60004000, "LT", CANARY)  # an overlay's comments
    dataset.add_new(0x60001500, "LO", CANARY)  # its label
    item = radiograph(EIGHT, PatientName=CANARY, PixelData=None)
    dataset.OtherPatientIDsSequence = Sequence([item])
    dataset.file_meta.SourceApplicationEntityTitle = CANARY
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = CANARY.encode()
    data = encode(dataset)
    assert data.count(CANARY.encode()) > 1000
    return data


# Text where the code looks for numbers and codes; pydicom quotes it in warnings and errors.
MALFORMED = (
    "Modality PhotometricInterpretation PresentationLUTShape PresentationIntentType "
    "BodyPartExamined VOILUTFunction"
).split()
NUMBERS = "RescaleSlope RescaleIntercept WindowCenter WindowWidth NumberOfFrames".split()


def _outcome(data: bytes) -> str:
    """All that could be printed of a file."""
    try:
        decoded = decode(data, 1)
    except InputError as error:
        return str(error) + repr(error) + traceback.format_exc()
    return repr(decoded)


@pytest.mark.promise("D29")
def test_canaries_reach_neither_messages_nor_records(recwarn):
    data = _canaries()
    assert CANARY not in _outcome(data)
    for length in range(140, len(data), 1009):
        assert CANARY not in _outcome(data[:length])
    assert not recwarn.list


@pytest.mark.promise("D29")
@pytest.mark.parametrize("keyword", MALFORMED + NUMBERS + ["StudyInstanceUID", "Rows"])
def test_text_in_the_wrong_place_reaches_nothing(keyword, recwarn):
    dataset = radiograph(EIGHT, BodyPartExamined="WRIST", WindowCenter="99", WindowWidth="9")
    with disable_value_validation():
        dataset.add_new(keyword, "LO", f"{CANARY}^JANE" + "\\x" * 40)
        data = encode(dataset)
    # As the dictionary has it, so that pydicom takes it for what it is not.
    vr = {"Rows": b"US", "StudyInstanceUID": b"UI", "NumberOfFrames": b"IS"}.get(
        keyword, b"CS" if keyword in MALFORMED else b"DS"
    )
    tag = next(t for t in DicomDictionary if keyword_for_tag(t) == keyword)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    for file in (data, data.replace(head + b"LO", head + vr)):
        assert CANARY.encode() in file
        assert CANARY not in _outcome(file)
    assert not recwarn.list


@pytest.mark.promise("D29")
def test_the_study_is_not_to_be_seen():
    decoded = decode(make(EIGHT, StudyInstanceUID="1.2.3"), 1)
    assert decoded.study_key not in repr(decoded)


def test_what_was_silenced_is_heard_again(recwarn, caplog):
    """Also of threads of which the first to begin is the first to end."""
    filters, level = list(warnings.filters), logging.getLogger("pydicom").level
    first, second = damage_as_input_error(), damage_as_input_error()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warnings.warn(CANARY, stacklevel=1)
    logging.getLogger("pydicom.pixels").warning(CANARY)
    second.__exit__(None, None, None)
    assert not recwarn.list and not caplog.records
    assert (list(warnings.filters), logging.getLogger("pydicom").level) == (filters, level)


# Training


def _tree(folder: Path, suffix: str, images: dict[str, bytes]) -> Path:
    """A data set like MURA's whose images have this suffix."""
    for name, text in tables(small_studies()).items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace(".png", suffix))
    for name, data in images.items():
        path = folder / name.replace(".png", suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def _pictures() -> dict[str, np.ndarray]:
    lines = [
        line.split("/", 1)[1]
        for name, text in tables(small_studies()).items()
        if name.endswith("image_paths.csv")
        for line in text.split()
    ]
    # Some of 8 bits, some of 12 that reach their upper half.
    return {
        name: EIGHT + np.uint8(k) if k % 2 else np.minimum(TWELVE + 37 * k, 4095).astype(np.uint16)
        for k, name in enumerate(lines)
    }


def _png(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


IMAGE = {"size_px": 16, "fit": "pad", "max_bad_fraction": 0.5, "max_megapixels": 1.0}


def _cached(root: Path, folder: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray], pd.DataFrame]:
    images = read_index(open_root(root))
    assert check_files(images, list_images(open_root(root))) == 0
    rejected = build_cache(images[["image", "body_part"]], root, folder, **IMAGE)
    cache = load_cache(folder)
    return cache.images, {part: np.array(cache.arrays[part]) for part in cache.arrays}, rejected


def test_training_images_may_be_dicom(tmp_path):
    pictures = _pictures()
    bits = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 12}
    kinds = [{}, {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}]
    files = {}
    for k, (name, values) in enumerate(pictures.items()):
        stored = bits[values.dtype]
        turned = (2**stored - 1 - values).astype(values.dtype) if k % 3 == 0 else values
        files[name] = make(turned, BitsStored=stored, Modality="DX", **kinds[k % 3 == 0])
    root = _tree(tmp_path / "dicom", ".dcm", files)
    table, arrays, rejected = _cached(root, tmp_path / "a")
    pngs = {name: _png(values) for name, values in pictures.items()}
    other, same, _ = _cached(_tree(tmp_path / "png", ".png", pngs), tmp_path / "b")
    assert rejected.empty
    assert all(np.array_equal(arrays[part], same[part]) for part in same)
    assert arrays["WRIST"].any()
    measured = ["bit_depth", "width_px", "height_px", "mean", "pixel_sha256"]
    assert table[measured].equals(other[measured])
    assert set(table["mode"]) == {"MONOCHROME1", "MONOCHROME2"} <= set(GREYSCALE)


@pytest.mark.promise("D29")
def test_canaries_reach_no_table_of_the_cache(tmp_path):
    pictures = _pictures()
    bad = {"Modality": CANARY}, {"WindowCenter": None, "Rows": 99}, {"PixelData": None}
    files = {name: _canaries() for name in pictures}
    for name, elements in zip(pictures, bad, strict=False):
        files[name] = make(EIGHT, PatientName=CANARY, BodyPartExamined=CANARY, **elements)
    root = _tree(tmp_path / "set", ".DCM", files)
    table, _, rejected = _cached(root, tmp_path / "cache")
    assert len(rejected) == 3 and len(table) == len(pictures) - 3
    for path in (tmp_path / "cache").iterdir():
        assert CANARY.encode() not in path.read_bytes()
