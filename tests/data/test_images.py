import hashlib
import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, PngImagePlugin

from ulna.core import InputError
from ulna.data.images import (
    BIT_DEPTHS,
    REGIONS,
    Decoded,
    centre_box,
    content_box,
    content_boxes,
    crop_padding,
    decode,
    letterbox,
    mask_region,
    measure,
)

ODD = Path(__file__).resolve().parents[3] / "shared/data/odd-images"
ODD_IMAGES_NEEDED = pytest.mark.skipif(
    not ODD.is_dir(), reason=f"no {ODD.name} beside the checkout"
)
SRC = Path(__file__).resolve().parents[2] / "src"

RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 256, (30, 20), np.uint8)

pixels_of_any_shape = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60)), elements=st.integers(0, 255)
)


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            *extra,
            png_chunk(b"IDAT", zlib.compress(rows, 9)),
            png_chunk(b"IEND", b""),
        )
    )


def grey_16_bit(levels: np.ndarray) -> bytes:
    return encode(Image.fromarray(levels.astype(np.uint16)))


# decode: what is accepted


def test_an_8_bit_grey_png_keeps_its_levels():
    decoded = decode(encode(Image.fromarray(PICTURE)), 1)
    assert decoded.pixels.dtype == np.uint8
    assert np.array_equal(decoded.pixels, PICTURE)
    assert (decoded.mode, decoded.bit_depth) == ("L", 8)


def test_grey_saved_as_colour_keeps_its_levels():
    every_level = np.arange(256, dtype=np.uint8).reshape(16, 16)
    decoded = decode(encode(Image.fromarray(np.stack([every_level] * 3, axis=-1))), 1)
    assert np.array_equal(decoded.pixels, every_level)
    assert decoded.mode == "RGB"


def test_colour_becomes_the_luma_of_itu_r_601():
    colours = RNG.integers(0, 256, (9, 7, 3), np.uint8)
    luma = colours @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(encode(Image.fromarray(colours)), 1).pixels - luma).max() <= 0.51


def test_transparent_pixels_lie_on_black():
    alpha = RNG.integers(0, 256, PICTURE.shape, np.uint8)
    for mode, channels in (("LA", [PICTURE, alpha]), ("RGBA", [PICTURE] * 3 + [alpha])):
        image = Image.merge(mode, [Image.fromarray(channel) for channel in channels])
        decoded = decode(encode(image), 1)
        assert decoded.mode == mode
        assert np.abs(decoded.pixels - PICTURE * (alpha / 255)).max() < 1


def test_opaque_alpha_changes_nothing():
    image = Image.fromarray(PICTURE)
    image.putalpha(255)
    assert np.array_equal(decode(encode(image), 1).pixels, PICTURE)


def test_a_palette_is_looked_up():
    indices = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "L").convert("P")
    indices.putpalette([0, 0, 0, 90, 90, 90, 255, 255, 255])
    decoded = decode(encode(indices), 1)
    assert decoded.mode == "P"
    assert decoded.pixels.tolist() == [[0, 90], [255, 90]]


def test_a_transparent_palette_entry_is_black():
    indices = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "L").convert("P")
    indices.putpalette([200, 200, 200, 90, 90, 90, 255, 255, 255])
    assert decode(encode(indices, transparency=0), 1).pixels.tolist() == [[0, 90], [255, 90]]
    alphas = bytes([255, 0, 255])
    assert decode(encode(indices, transparency=alphas), 1).pixels.tolist() == [[200, 0], [255, 0]]


def test_a_transparent_grey_level_is_black():
    levels = np.array([[7, 9], [200, 7]], np.uint8)
    grey = encode(Image.fromarray(levels), transparency=7)
    assert decode(grey, 1).pixels.tolist() == [[0, 9], [200, 0]]
    sixteen = encode(Image.fromarray(levels.astype(np.uint16)), transparency=200)
    assert decode(sixteen, 1).pixels.tolist() == [[7, 9], [0, 7]]


def test_a_transparent_colour_is_black():
    colours = np.array([[[9, 9, 9], [9, 9, 8]]], np.uint8)
    data = encode(Image.fromarray(colours), transparency=(9, 9, 9))
    assert decode(data, 1).pixels.tolist() == [[0, 9]]


def test_one_bit_becomes_black_and_white():
    bits = RNG.integers(0, 2, (9, 17)).astype(bool)
    decoded = decode(encode(Image.fromarray(bits)), 1)
    assert np.array_equal(decoded.pixels, bits * 255)
    assert (decoded.mode, decoded.bit_depth) == ("1", 1)


@pytest.mark.parametrize("bits", [2, 4])
def test_fewer_bits_fill_the_range(bits):
    # One row of all levels, packed from the left; black is 0 and white is 255.
    levels = range(2**bits)
    packed = int("".join(f"{level:0{bits}b}" for level in levels), 2)
    row = b"\0" + packed.to_bytes(2**bits * bits // 8, "big")
    pixels = decode(png(2**bits, 1, bits, 0, row), 1).pixels
    assert pixels.tolist() == [[level * 255 // (2**bits - 1) for level in levels]]


@pytest.mark.parametrize("bits", BIT_DEPTHS)
def test_16_bit_files_are_scaled_by_the_bits_in_use(bits):
    white = 2**bits - 1
    ramp = np.linspace(0, white, 512).round().reshape(16, 32)
    decoded = decode(grey_16_bit(ramp), 1)
    assert (decoded.mode, decoded.bit_depth) == ("I;16", bits)
    assert np.abs(decoded.pixels - ramp * (255 / white)).max() <= 0.5
    assert (decoded.pixels.min(), decoded.pixels.max()) == (0, 255)


@pytest.mark.parametrize("brightest, bits", [(255, 8), (256, 10), (1024, 12), (4096, 14), (0, 8)])
def test_the_bit_depth_is_the_smallest_that_holds_the_brightest_pixel(brightest, bits):
    assert decode(grey_16_bit(np.array([[0, brightest]])), 1).bit_depth == bits


def test_8_bit_levels_in_a_16_bit_file_stay_as_they_are():
    assert np.array_equal(decode(grey_16_bit(PICTURE), 1).pixels, PICTURE)


def test_cmyk_is_accepted():
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[..., 3] = 155
    decoded = decode(encode(Image.fromarray(ink, "CMYK"), "JPEG", quality=100), 1)
    assert decoded.mode == "CMYK"
    assert np.abs(decoded.pixels.astype(int) - 100).max() <= 2


TURNS = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("levels", [PICTURE, PICTURE.astype(np.uint16) * 257])
def test_exif_orientation_is_applied(orientation, levels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encode(Image.fromarray(levels), exif=exif), 1)
    assert np.array_equal(decoded.pixels, TURNS[orientation](PICTURE))


def test_a_jpeg_is_accepted_with_its_orientation():
    left_half_white = np.zeros((16, 32), np.uint8)
    left_half_white[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: left becomes top
    decoded = decode(encode(Image.fromarray(left_half_white), "JPEG", exif=exif), 1)
    assert decoded.pixels.shape == (32, 16)
    assert decoded.pixels[:15].min() > 250 and decoded.pixels[17:].max() < 5


# decode: what is refused


def refusal(data: bytes, max_megapixels: float = 1) -> str:
    with pytest.raises(InputError) as caught:
        decode(data, max_megapixels)
    return str(caught.value)


def test_an_empty_file_is_refused():
    assert refusal(b"")


@pytest.mark.parametrize("file_format", ["WEBP", "TIFF", "BMP", "GIF", "PPM", "ICO"])
def test_other_formats_are_refused(file_format):
    assert "PNG" in refusal(encode(Image.fromarray(PICTURE), file_format))


def test_text_is_refused():
    assert "PNG" in refusal(b"<html>404 Not Found</html>")


# The last four bytes of a PNG file are the checksum of an empty end mark: no pixel needs them.
@pytest.mark.parametrize("file_format, spare", [("PNG", 4), ("JPEG", 0)])
def test_a_file_cut_off_anywhere_is_refused(file_format, spare):
    data = encode(Image.fromarray(PICTURE), file_format)
    for length in range(1, len(data) - spare):
        assert refusal(data[:length])


def test_no_flipped_bit_changes_a_png_unnoticed():
    data = encode(Image.fromarray(PICTURE))
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        try:
            pixels = decode(bytes(damaged), 1).pixels
        except InputError:
            continue
        assert np.array_equal(pixels, PICTURE), position


def test_noise_in_a_jpeg_raises_nothing_but_input_error():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(PICTURE), "JPEG", exif=exif)
    draw = random.Random(5)
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[draw.randrange(len(data))] = draw.randrange(256)
        try:
            assert decode(bytes(damaged), 1).pixels.ndim == 2
        except InputError:
            pass


def test_16_bit_colour_is_refused_because_half_of_it_would_be_lost():
    assert "16 bits" in refusal(png(1, 1, 16, 2, bytes(7)))
    assert "16 bits" in refusal(png(1, 1, 16, 4, bytes(5)))


def test_an_animation_is_refused():
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    data = encode(frames[0], save_all=True, append_images=frames[1:])
    assert "animation" in refusal(data)


def test_the_limit_is_on_megapixels():
    data = encode(Image.fromarray(np.zeros((100, 101), np.uint8)))
    assert decode(data, 0.0101).pixels.shape == (100, 101)
    reason = refusal(data, 0.01)
    assert "101 x 100" in reason and "image.max_megapixels (0.01)" in reason


def test_the_limit_can_be_above_that_of_pillow(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(encode(Image.fromarray(PICTURE)), 1).pixels.shape == PICTURE.shape


@pytest.mark.promise("D26")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc for its size")
def test_a_small_file_that_claims_196_megapixels_is_refused_in_small_memory(tmp_path):
    # One bit a pixel, all black: a sound file of 24 KB that takes 196 MB as grey levels.
    bomb = png(14_000, 14_000, 1, 0, bytes(14_000 * (1 + 14_000 // 8)))
    assert len(bomb) < 30_000
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb)
    # Addresses for 64 MB more than the process has after its imports.
    program = f"""
import resource, sys
sys.path.insert(0, {str(SRC)!r})
from pathlib import Path
from ulna.core import InputError
from ulna.data.images import decode

def refused(max_megapixels):
    try:
        decode(Path({str(path)!r}).read_bytes(), max_megapixels)
    except InputError as error:
        print(error)
    except MemoryError:
        print("out of memory")

before = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (before + 64 * 2**20,) * 2)
refused(50)
refused(200)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr == ""
    # The second line proves that the limit of the first was one.
    assert ended.stdout.splitlines() == [
        "14000 x 14000 pixels are more than image.max_megapixels (50) allows",
        "out of memory",
    ]


def test_a_png_that_claims_more_than_pillow_allows_is_refused_too():
    bomb = png(60_000, 60_000, 8, 0, b"")
    assert "60000 x 60000" in refusal(bomb, 50)


@pytest.mark.promise("E29")
def test_text_chunks_reach_neither_measurements_nor_reasons():
    text = PngImagePlugin.PngInfo()
    text.add_text("PatientName", "CANARY^JANE")
    text.add_text("CANARY", "CANARY", zip=True)
    data = encode(Image.fromarray(PICTURE), pnginfo=text)
    assert b"CANARY" in data
    assert "CANARY" not in repr(measure(decode(data, 1)))
    for length in range(1, len(data), 5):
        try:
            decode(data[:length], 1)
        except InputError as error:
            assert "CANARY" not in str(error)
    # A chunk name that is none: Pillow quotes it in its message.
    assert "CANA" not in refusal(data.replace(b"IDAT", b"CA\0A"))


# letterbox and the boxes


@given(pixels_of_any_shape, st.integers(1, 40), st.sampled_from(["pad", "stretch"]))
def test_a_square_holds_no_level_that_the_image_and_the_padding_do_not_span(pixels, size, fit):
    square = letterbox(pixels, size, fit)
    assert square.shape == (size, size) and square.dtype == np.uint8
    assert square.max() <= pixels.max()
    if fit == "stretch":
        assert square.min() >= pixels.min()


@given(arrays.arrays(np.uint8, (12, 12), elements=st.integers(0, 255)))
def test_an_image_of_the_right_size_is_unchanged(pixels):
    assert np.array_equal(letterbox(pixels, 12, "pad"), pixels)
    assert np.array_equal(letterbox(pixels, 12, "stretch"), pixels)


@pytest.mark.fault("cropping")
def test_an_image_whose_longer_side_fits_is_only_padded():
    square = letterbox(PICTURE, 30, "pad")
    assert np.array_equal(square[:, 5:25], PICTURE)
    assert not square[:, :5].any() and not square[:, 25:].any()


@pytest.mark.fault("cropping")
def test_stretching_fills_the_square():
    assert (letterbox(np.full((10, 40), 77, np.uint8), 32, "stretch") == 77).all()


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.fault("nearest")
def test_a_checkerboard_becomes_mid_grey(factor):
    side = 16 * factor
    board = (np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)
    inside = letterbox(board, 16, "pad")[1:-1, 1:-1].astype(int)
    # Nearest-neighbour resizing gives 0 and 255. 14.2 = 255 / 18 is the triangle's rest at odd 3.
    assert np.abs(inside - 127.5).max() <= (0.5 if factor % 2 == 0 else 14.7)


def test_scaling_down_keeps_the_mean():
    smooth = np.add.outer(np.arange(96), np.arange(96)).astype(np.uint8)
    assert abs(letterbox(smooth, 32, "pad").mean() - smooth.mean()) < 0.5


def triangle_weights(source: int, target: int) -> np.ndarray:
    """(target, source) weights of the triangle filter, widened by the factor of shrinking."""
    factor = source / target
    support = max(factor, 1)
    centres = (np.arange(target)[:, None] + 0.5) * factor
    distance = np.abs(np.arange(source)[None, :] + 0.5 - centres) / support
    weights = np.maximum(1 - distance, 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [7, 13, 25, 48])
def test_scaling_is_the_triangle_filter(size):
    exact = triangle_weights(30, size) @ PICTURE @ triangle_weights(20, size).T
    assert np.abs(letterbox(PICTURE, size, "stretch") - exact).max() <= 1.01


def test_a_turned_image_gives_the_turned_square():
    square = letterbox(PICTURE, 10, "stretch").astype(int)
    for turn in (np.transpose, np.fliplr, np.flipud):
        # Each direction is rounded on its own.
        assert np.abs(letterbox(turn(PICTURE), 10, "stretch") - turn(square)).max() <= 1


SIDES = st.integers(1, 700)
SIZES = st.integers(32, 128)
FITS = st.sampled_from(["pad", "stretch"])


@given(SIDES, SIDES, SIZES, FITS)
def test_the_box_is_what_letterbox_fills(width, height, size_px, fit):
    square = letterbox(np.full((height, width), 255, np.uint8), size_px, fit)
    left, top, right, bottom = content_box(width, height, size_px, fit)
    expected = np.zeros_like(square)
    expected[top:bottom, left:right] = 255
    np.testing.assert_array_equal(square, expected)
    inside = crop_padding(square, width, height, fit)
    assert inside.shape == (bottom - top, right - left) and (inside == 255).all()


@given(SIDES, SIDES, SIZES)
def test_padding_keeps_the_aspect_ratio_and_centres(width, height, size_px):
    """In whole numbers: no rounding of the test's own."""
    left, top, right, bottom = content_box(width, height, size_px, "pad")
    longer = max(width, height)
    for side, low, high in ((width, left, right), (height, top, bottom)):
        assert high - low == 1 or 2 * abs((high - low) * longer - side * size_px) <= longer
        assert size_px - high - low in (0, 1)
    assert max(right - left, bottom - top) == size_px


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (200, 200, (0, 0, 96, 96)),
        (512, 128, (0, 36, 96, 60)),
        (1, 500, (47, 0, 48, 96)),
        (500, 99, (0, 38, 96, 57)),  # 19.008 rows: 19, 38 above and 39 below
    ],
)
def test_boxes_computed_by_hand(width, height, box):
    assert content_box(width, height, 96, "pad") == box
    assert content_box(width, height, 96, "stretch") == (0, 0, 96, 96)


def test_the_crop_is_the_image():
    pixels = np.random.default_rng(1).integers(0, 256, (96, 40), np.uint8)
    square = letterbox(pixels, 96, "pad")
    np.testing.assert_array_equal(crop_padding(square, 40, 96, "pad"), pixels)
    assert crop_padding(square, 40, 96, "stretch").shape == (96, 96)


# frame and centre: equal in area, complements, and the padding is part of neither


property_of_shapes = settings(deadline=None, max_examples=60)


def boxes_of(width_px: int, height_px: int, size_px: int, fit: str) -> np.ndarray:
    images = pd.DataFrame({"width_px": [width_px], "height_px": [height_px]})
    return content_boxes(images, size_px, fit)


@property_of_shapes
@given(SIDES, SIDES, st.integers(32, 96), st.sampled_from(["pad", "stretch"]))
def test_every_pixel_of_a_image_is_hidden_once_and_no_padding_ever(width, height, size, fit):
    """The picture by the function that makes squares, not by the one that is used."""
    white = letterbox(np.full((height, width), 255, np.uint8), size, fit)[np.newaxis]
    halves = {r: mask_region(white, boxes_of(width, height, size, fit), r) for r in REGIONS}
    np.testing.assert_array_equal(halves["frame"] | halves["centre"], white)
    assert not (halves["frame"] & halves["centre"]).any()


@property_of_shapes
@given(SIDES, SIDES, st.integers(32, 96))
def test_the_halves_have_equal_areas_to_half_a_row_of_the_centre(width, height, size):
    [box] = boxes_of(width, height, size, "pad")
    left, top, right, bottom = centre_box(box)
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert abs((right - left) * (bottom - top) - area / 2) <= (bottom - top) / 2


@property_of_shapes
@given(SIDES, SIDES, st.integers(32, 96))
def test_the_centre_lies_in_the_middle_and_has_the_proportions_of_the_image(width, height, size):
    [box] = boxes_of(width, height, size, "pad")
    left, top, right, bottom = centre_box(box)
    for before, after in ((left - box[0], box[2] - right), (top - box[1], box[3] - bottom)):
        assert 0 <= before <= after <= before + 1
    if min(box[2] - box[0], box[3] - box[1]) >= 8:
        assert (right - left) / (box[2] - box[0]) == pytest.approx(0.5**0.5, abs=0.08)
        assert (bottom - top) / (box[3] - box[1]) == pytest.approx(0.5**0.5, abs=0.08)


def test_a_square_loses_14_6_percent_of_its_side_at_each_end():
    left, top, right, bottom = centre_box((0, 0, 1000, 1000))
    assert (left, top, right, bottom) == (146, 146, 853, 853)


def test_images_are_hidden_each_in_its_own_box_and_left_as_they_were():
    draw = np.random.default_rng(0)
    images = draw.integers(1, 256, (2, 64, 64, 1), np.uint8)
    before = images.copy()
    boxes = np.array([(0, 16, 64, 48), (0, 0, 64, 64)])
    hidden = mask_region(images, boxes, "centre")
    np.testing.assert_array_equal(images, before)
    assert hidden.dtype == np.uint8
    for k, box in enumerate(boxes):
        left, top, right, bottom = centre_box(box)
        mask = np.zeros((64, 64, 1), bool)
        mask[top:bottom, left:right] = True
        np.testing.assert_array_equal(hidden[k], np.where(mask, 0, before[k]))


def test_what_is_beside_a_image_stays_in_its_square():
    """Padding is black in the cache; here it is white, so that touching it would show."""
    white = np.full((1, 64, 64), 255, np.uint8)
    for region in REGIONS:
        hidden = mask_region(white, np.array([(10, 0, 54, 64)]), region)
        assert (hidden[0, :, :10] == 255).all() and (hidden[0, :, 54:] == 255).all()


def test_of_no_images_there_are_no_boxes():
    none = pd.DataFrame({"width_px": [], "height_px": []})
    assert content_boxes(none, 64, "pad").shape == (0, 4)


# measure


def test_measurements_are_of_the_full_size():
    row = measure(decode(encode(Image.fromarray(PICTURE)), 1))
    assert (row.mode, row.bit_depth, row.width_px, row.height_px) == ("L", 8, 20, 30)
    assert row.mean == round(int(PICTURE.sum()) / 600, 4)
    assert row.pixel_sha256 == hashlib.sha256(b"30 x 20\n" + PICTURE.tobytes()).hexdigest()


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 3))),
    st.sampled_from([1, 256, 257, 600]),
)
def test_the_mean_is_of_all_levels_however_tall_and_bright_the_image(block, times):
    for pixels in (np.tile(block, (times, 1)), np.full((times, 2), 255, np.uint8)):
        total = sum(int(level) for level in pixels.flat)
        assert measure(Decoded(pixels, "L", 8)).mean == round(total / pixels.size, 4)


def test_the_hash_is_of_the_pixels_not_of_the_file():
    def digest(pixels: np.ndarray, **options: object) -> str:
        return measure(decode(encode(Image.fromarray(pixels), **options), 1)).pixel_sha256

    assert digest(PICTURE, compress_level=0) == digest(PICTURE, compress_level=9)
    assert digest(PICTURE) == digest(np.stack([PICTURE] * 3, axis=-1))
    assert digest(PICTURE) != digest(PICTURE.reshape(20, 30))
    changed = PICTURE.copy()
    changed[0, 0] ^= 1
    assert digest(PICTURE) != digest(changed)


# Real and broken files: name -> (mode, bit depth, width, height) or None: refused.
ODD_OUTCOMES = {
    "IMG0004134.jpg": None,
    "IMG0004143.jpg": None,
    "IMG0004308.jpg": None,
    "constant.png": ("L", 8, 373, 454),
    "exif-orientation6.jpg": ("L", 8, 454, 373),
    "float.tif": None,
    "huge-2304x2880.jpg": ("L", 8, 2304, 2880),
    "huge-9216x11520.png": None,
    "i16.png": ("I;16", 12, 373, 454),
    "inverted.png": ("L", 8, 373, 454),
    "jpeg-named.png": ("L", 8, 373, 454),
    "onebit.png": ("1", 1, 373, 454),
    "progressive.jpg": ("L", 8, 373, 454),
    "rgba.png": ("RGBA", 8, 373, 454),
    "text.png": None,
    "tiny-1x1.png": ("L", 8, 1, 1),
    "truncated.png": None,
    "webp.webp": None,
    "zero-bytes.png": None,
}


@ODD_IMAGES_NEEDED
@pytest.mark.parametrize("name", ODD_OUTCOMES)
def test_odd_images_end_as_expected(name):
    expected = ODD_OUTCOMES[name]
    data = (ODD / name).read_bytes()
    if expected is None:
        assert refusal(data, 50)
        return
    row = measure(decode(data, 50))
    assert (row.mode, row.bit_depth, row.width_px, row.height_px) == expected


@ODD_IMAGES_NEEDED
def test_every_odd_image_is_expected():
    assert {path.name for path in ODD.iterdir()} == set(ODD_OUTCOMES)


@ODD_IMAGES_NEEDED
def test_one_image_saved_in_many_ways_looks_the_same():
    # All made from one radiograph: inverted, turned, 12 bits in a 16-bit file, progressive.
    def pixels(name: str) -> np.ndarray:
        return decode((ODD / name).read_bytes(), 50).pixels.astype(int)

    plain = 255 - pixels("inverted.png")
    for other in (
        pixels("jpeg-named.png"),
        pixels("progressive.jpg"),
        np.rot90(pixels("exif-orientation6.jpg"), 1),
    ):
        assert np.abs(plain - other).mean() < 3
    assert np.corrcoef(plain.ravel(), pixels("i16.png").ravel())[0, 1] > 0.999
