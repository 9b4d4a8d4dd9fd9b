"""The truths are the examples of DICOM PS3.3 C.11.2.1.2, sums by hand, and pydicom's functions."""

import numpy as np
import pytest
from dicom_files import lut, radiograph, shipped
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from ulna.core import InputError
from ulna.data.grey_levels import grey_table, is_raw, polarity_known

# The values of a picture do not matter: a table holds all that there could be.
EIGHT, SIXTEEN = np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint16)
SIGNED = SIXTEEN.astype(np.int16)


def table(values: np.ndarray, **elements: object) -> np.ndarray:
    levels = grey_table(radiograph(values, **elements))
    assert levels.dtype == np.uint8 and levels.shape == (2 ** (8 * values.itemsize),)
    return levels


def shown(values: np.ndarray, **elements: object):
    """Value -> grey level, of values as they are meant, signed ones included."""
    levels = table(values, **elements)
    return lambda value: int(levels[value % len(levels)])


# Stored values


def test_eight_bits_are_shown_as_they_are():
    assert np.array_equal(table(EIGHT), np.arange(256))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
def test_the_range_of_the_bits_stored_is_that_of_the_grey_levels(bits):
    levels = table(SIXTEEN, BitsStored=bits)
    white = 2**bits - 1
    # No half ever occurs: 510 x is even, (2k + 1) white is odd.
    assert np.array_equal(levels[: white + 1], np.rint(np.arange(white + 1) * 255 / white))


def test_bits_above_those_stored_do_not_count():
    levels = table(SIXTEEN, BitsStored=12)
    assert np.array_equal(levels.reshape(16, 4096), np.tile(levels[:4096], (16, 1)))


def test_the_least_of_signed_values_is_black():
    level = shown(SIGNED, BitsStored=12)
    assert [level(value) for value in (-2048, -1, 0, 2047)] == [0, 127, 128, 255]


# Modality: rescale and LUT


def test_a_rescale_moves_values_into_the_window():
    # 3 x - 100: the window 51 ... 200 spans 50.333 to 100.
    level = shown(
        SIXTEEN, RescaleSlope=3, RescaleIntercept=-100, WindowCenter=125.5, WindowWidth=150
    )
    assert [level(value) for value in (50, 51, 74, 100, 101)] == [0, 4, 122, 255, 255]
    assert level(74) == round((3 * 74 - 100 - 50.5) / 149 * 255)


def test_a_falling_rescale_turns_the_values_round():
    levels = table(EIGHT, RescaleSlope=-1, RescaleIntercept=255)
    assert np.array_equal(levels, 255 - np.arange(256))


def test_a_modality_lut_is_looked_up_and_goes_on_beyond_its_ends():
    level = shown(EIGHT, ModalityLUTSequence=[lut([0, 1023, 4095], first=10, bits=12)])
    assert [level(value) for value in (0, 10, 11, 12, 255)] == [0, 0, 64, 255, 255]


def test_a_lut_may_begin_below_zero():
    level = shown(SIGNED, VOILUTSequence=[lut([0, 100, 255], first=-1, bits=8)])
    assert [level(value) for value in (-9, -1, 0, 1, 9)] == [0, 0, 100, 255, 255]


# Windows. PS3.3 C.11.2.1.2.1 gives four examples in full.


@pytest.mark.parametrize(
    ("centre", "width", "black_to", "white_from", "slope"),
    [
        (2048, 4096, 0, 4095, lambda x: (x - 2047.5) / 4095 + 0.5),
        (2048, 1, 2047, 2048, None),
        (0, 100, -50, 49, lambda x: (x + 0.5) / 99 + 0.5),
        (0, 1, -1, 0, None),
    ],
)
def test_the_windows_of_the_standard(centre, width, black_to, white_from, slope):
    level = shown(SIGNED, WindowCenter=centre, WindowWidth=width)
    assert level(black_to) == level(black_to - 1) == 0
    assert level(white_from) == level(white_from + 1) == 255
    for value in range(black_to + 1, white_from, 7):
        assert abs(level(value) - 255 * slope(value)) <= 0.5


def test_an_exact_window_is_half_wider_on_each_side():
    level = shown(SIGNED, WindowCenter=0, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    assert [level(value) for value in (-50, -49, 0, 49, 50)] == [0, 3, 128, 252, 255]


def test_a_sigmoid_is_that_of_the_standard():
    levels = table(SIXTEEN, WindowCenter=3000, WindowWidth=900, VOILUTFunction="SIGMOID")
    exact = 255 / (1 + np.exp(-4 * (np.arange(2**16) - 3000) / 900))
    assert np.abs(levels - exact).max() <= 0.5 + 1e-9
    assert levels[3000] == 128 and (levels[0], levels[-1]) == (0, 255)


def test_the_first_window_counts():
    one = table(SIXTEEN, WindowCenter=500, WindowWidth=200)
    several = table(SIXTEEN, WindowCenter=[500, 9000], WindowWidth=[200, 30])
    assert np.array_equal(several, one)


def test_a_lut_goes_before_a_window():
    entries = [7, 9, 200]
    with_window = table(EIGHT, VOILUTSequence=[lut(entries, 0, 8)], WindowCenter=3, WindowWidth=2)
    assert with_window[:5].tolist() == [7, 9, 200, 200, 200]


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5},
        {"WindowCenter": 100},
        {"WindowWidth": 100},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 9, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
    ],
)
def test_what_is_no_window_leaves_the_whole_range(window):
    assert np.array_equal(table(EIGHT, **window), np.arange(256))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    st.floats(-3000, 3000),
    st.floats(1, 5000),
    st.sampled_from([0.25, 1, 3]),
    st.integers(-500, 500),
)
def test_windows_are_those_of_pydicom(function, centre, width, slope, intercept):
    centre, width = round(centre, 3), round(width, 3)
    dataset = radiograph(
        SIGNED,
        BitsStored=12,
        WindowCenter=centre,
        WindowWidth=width,
        VOILUTFunction=function,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
    )
    values = np.arange(-2048, 2048)
    low, high = -2048 * slope + intercept, 2047 * slope + intercept
    with np.errstate(all="ignore"):
        expected = apply_voi_lut(apply_modality_lut(values, dataset), dataset)
    expected = (expected - low) / (high - low) * 255
    ours = grey_table(dataset)[values % 2**16]
    assert np.abs(ours - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm"])
def test_luts_of_real_files_are_those_of_pydicom(name):
    dataset = dcmread(shipped()[name])
    values = dataset.pixel_array
    expected = apply_voi_lut(apply_modality_lut(values, dataset), dataset) / 65535 * 255
    ours = grey_table(dataset)[values.astype(int) % 2**dataset.BitsAllocated]
    assert np.abs(ours - expected).max() <= 0.5


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_lut_may_come_as_bytes(order):
    from ulna.data.grey_levels import _look_up

    item = lut([0, 77, 4095], 0, 12)
    item.add_new("LUTData", "OW", np.array([0, 77, 4095], f"{order}u2").tobytes())
    item.set_original_encoding(False, order == "<")
    assert _look_up(item, np.arange(4.0), False)[0].tolist() == [0, 77, 4095, 4095]
    item.LUTDescriptor = [3, 0, 8]
    item.LUTData = bytes([0, 77, 255, 0])
    assert _look_up(item, np.arange(4.0), False)[0].tolist() == [0, 77, 255, 255]


# Inversion


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "known"),
    [
        ("MONOCHROME1", None, True, True),
        ("MONOCHROME1", "INVERSE", True, True),  # the pair that the standard asks for: once
        ("MONOCHROME2", None, False, True),
        ("MONOCHROME2", "IDENTITY", False, True),
        ("MONOCHROME2", "INVERSE", True, False),
        ("MONOCHROME1", "IDENTITY", True, False),
    ],
)
def test_an_image_is_inverted_once(photometric, shape, inverted, known):
    dataset = radiograph(EIGHT, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    assert np.array_equal(grey_table(dataset), np.arange(256)[:: -1 if inverted else 1])
    assert polarity_known(dataset) == known


def test_inversion_comes_after_the_window():
    window = {"WindowCenter": 300, "WindowWidth": 77, "BitsStored": 10}
    plain = table(SIXTEEN, **window)
    inverse = table(SIXTEEN, PhotometricInterpretation="MONOCHROME1", **window)
    assert np.array_equal(inverse, 255 - plain)


def test_a_raw_image_is_known_and_its_polarity_is_not():
    raw = radiograph(EIGHT, PresentationIntentType="FOR PROCESSING")
    shown = radiograph(EIGHT, PresentationIntentType="FOR PRESENTATION")
    assert is_raw(raw) and not polarity_known(raw)
    assert not is_raw(shown) and polarity_known(shown)


# Padding


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black(photometric):
    levels = table(EIGHT, PixelPaddingValue=200, PhotometricInterpretation=photometric)
    plain = table(EIGHT, PhotometricInterpretation=photometric)
    assert levels[200] == 0
    assert np.array_equal(np.delete(levels, 200), np.delete(plain, 200))


@pytest.mark.parametrize("ends", [(200, 210), (210, 200)])
def test_padding_may_be_a_range(ends):
    value, limit = ends
    levels = table(
        EIGHT,
        PixelPaddingValue=value,
        PixelPaddingRangeLimit=limit,
        PhotometricInterpretation="MONOCHROME1",
    )
    assert np.flatnonzero(levels == 0).tolist() == [*range(200, 211), 255]


@pytest.mark.parametrize("value", [-2000, 63536])
def test_signed_padding_may_be_written_as_unsigned(value):
    dataset = radiograph(SIGNED, PhotometricInterpretation="MONOCHROME1")
    dataset.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
    plain = table(SIGNED, PhotometricInterpretation="MONOCHROME1")
    assert np.flatnonzero(grey_table(dataset) != plain).tolist() == [63536]


def test_a_range_of_signed_padding_passes_zero():
    dataset = radiograph(SIGNED)
    dataset.add_new("PixelPaddingValue", "SS", -3)
    dataset.add_new("PixelPaddingRangeLimit", "SS", 2)
    changed = np.flatnonzero(grey_table(dataset) != table(SIGNED))
    assert changed.tolist() == [0, 1, 2, 2**16 - 3, 2**16 - 2, 2**16 - 1]


def test_padding_does_not_stretch_the_range():
    window = {"BitsStored": 12, "WindowCenter": 600, "WindowWidth": 300}
    padded = table(SIXTEEN, PixelPaddingValue=4095, **window)
    assert np.array_equal(padded[:4095], table(SIXTEEN, **window)[:4095])


# What makes no sense


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": 0, "RescaleIntercept": 0},
        {"VOILUTFunction": "CANARY", "WindowCenter": 1, "WindowWidth": 2},
        {"VOILUTSequence": [lut([1, 2, 3], 0, 17)]},
        {"ModalityLUTSequence": [lut([1, 2, 3], 0, 0)]},
    ],
)
def test_nonsense_is_refused_without_its_text(elements):
    with pytest.raises(InputError) as caught:
        table(EIGHT, **elements)
    assert "CANARY" not in str(caught.value)


def test_a_lut_shorter_than_it_says_is_refused():
    item = lut([1, 2, 3], 0, 8)
    item.LUTDescriptor = [9, 0, 8]
    with pytest.raises(InputError, match="cut off"):
        table(EIGHT, VOILUTSequence=[item])
