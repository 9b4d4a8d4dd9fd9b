"""Grey level of each value that a DICOM radiograph can store, as a viewer would show it.

The order is that of DICOM PS3.3 C.7.6.3 and C.11: stored values, modality LUT or rescale, VOI LUT
or window, the output range to 0 .. 255, one inversion. It is one table per file, so the pixels are
the same on every processor, and all 65,536 values take 2 ms.
"""

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ulna.core import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]


def grey_table(dataset: "Dataset") -> Pixels:
    """Grey level of every value that a pixel can hold: 256 or 65,536 uint8, by its unsigned bits.

    Without a VOI LUT or a valid window the whole range that the stored bits can hold is shown; an
    image's own darkest and brightest pixel never matter. Pixel padding is black, as the padding of
    a square is. Bits above those stored (of old overlays) do not count.

    Raises:
        InputError: A rescale or LUT that makes no sense; the message is the reason alone.
    """
    held = np.arange(2**dataset.BitsAllocated)
    bits, signed = dataset.BitsStored, bool(dataset.PixelRepresentation)
    values = held & (2**bits - 1)
    if signed:
        values[values >= 2 ** (bits - 1)] -= 2**bits
    outputs, low, high = _apply_modality(dataset, values.astype(float), signed)
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError("a rescale slope or intercept that makes no sense")
    levels = _apply_voi(dataset, outputs, low, high)
    if any(_inversions(dataset)):
        levels = 255 - levels
    levels[_padding(dataset, held)] = 0
    return levels


def polarity_known(dataset: "Dataset") -> bool:
    """Whether the two elements on inversion agree; those of raw images are not to be relied on."""
    monochrome1, inverse = _inversions(dataset)
    agree = monochrome1 == inverse or not dataset.get("PresentationLUTShape")
    return agree and not is_raw(dataset)


def is_raw(dataset: "Dataset") -> bool:
    """Whether the image is what the detector gave, not yet processed to be looked at."""
    return bool(dataset.get("PresentationIntentType") == "FOR PROCESSING")


def _inversions(dataset: "Dataset") -> tuple[bool, bool]:
    # They go together (PS3.3 C.8.11.3.1.2): two of them are one inversion.
    photometric = dataset.PhotometricInterpretation
    return photometric == "MONOCHROME1", dataset.get("PresentationLUTShape") == "INVERSE"


def _apply_modality(
    dataset: "Dataset", values: Values, signed: bool
) -> tuple[Values, float, float]:
    """Outputs, and the least and the largest that there can be (PS3.3 C.11.1)."""
    if sequence := dataset.get("ModalityLUTSequence"):
        outputs, high = _look_up(sequence[0], values, signed)
        return outputs, 0, high
    slope, intercept = (
        float(default if (given := dataset.get(name)) is None else given)
        for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    outputs = values * slope + intercept
    return outputs, float(outputs.min()), float(outputs.max())


def _apply_voi(dataset: "Dataset", values: Values, low: float, high: float) -> Pixels:
    """Grey levels of the outputs of the modality step (PS3.3 C.11.2)."""
    if sequence := dataset.get("VOILUTSequence"):
        values, high = _look_up(sequence[0], np.floor(values + 0.5), low < 0)
        low = 0
    elif window := _first_window(dataset):
        function, centre, width = window
        if function == "SIGMOID":
            edges = centre + width / 4 * _logits_of_steps()
            return np.searchsorted(edges, values, side="right").astype(np.uint8)
        if function == "LINEAR":
            centre, width = centre - 0.5, width - 1
        low, high = centre - width / 2, centre + width / 2
        if width == 0:
            return np.where(values > centre, 255, 0).astype(np.uint8)
    shares = np.clip((values - low) / (high - low), 0, 1)
    return np.floor(shares * 255 + 0.5).astype(np.uint8)


def _first_window(dataset: "Dataset") -> tuple[str, float, float] | None:
    """Function, centre, width; None where they are missing or no window (a width of 0, say)."""
    window = []
    for name in ("WindowCenter", "WindowWidth"):
        element = dataset.get(name)
        if element is None or element == "":
            return None
        first = element if isinstance(element, (int, float)) else element[0]
        window.append(float(first))
    centre, width = window
    function = dataset.get("VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise InputError("a VOI LUT function that is not LINEAR, LINEAR_EXACT or SIGMOID")
    wide_enough = width >= 1 if function == "LINEAR" else width > 0
    return (function, centre, width) if np.isfinite(window).all() and wide_enough else None


@cache
def _logits_of_steps() -> Values:
    """Where a sigmoid passes from each grey level to the next, in quarters of a width.

    By decimals, as the exponential function has other last bits on other processors.
    """
    shares = [(Decimal(level) + Decimal("0.5")) / 255 for level in range(255)]
    return np.array([float((share / (1 - share)).ln()) for share in shares])


def _look_up(item: "Dataset", values: Values, signed: bool) -> tuple[Values, float]:
    """Outputs of a LUT for whole numbers, and its largest possible; ends go on (C.11.1.1)."""
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count or 2**16
    if signed and first >= 2**15:  # read as unsigned
        first -= 2**16
    if not 1 <= bits <= 16:
        raise InputError("a LUT of more than 16 bits")
    content = item.LUTData
    if isinstance(content, bytes):
        # Entries of 8 bits lie one or two to a word of 16.
        narrow = len(content) < 2 * count
        order = "<" if item.original_encoding[1] in (True, None) else ">"
        table = np.frombuffer(content, np.uint8 if narrow else f"{order}u2")
    else:
        table = np.atleast_1d(np.asarray(content))
    if len(table) < count:
        raise InputError("a LUT that is cut off")
    at = np.clip(values - first, 0, count - 1).astype(int)
    return np.minimum(table[:count], 2**bits - 1).astype(float)[at], 2.0**bits - 1


def _padding(dataset: "Dataset", held: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which values mark pixels beside the image (PS3.3 C.7.5.1.1.2)."""
    bits = dataset.BitsAllocated
    ends = [dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return np.zeros(held.shape, bool)
    # Files give negative values as unsigned, and the other way round.
    whole = [int(ends[0] if end is None else end) % 2**bits for end in ends]
    if dataset.PixelRepresentation:
        half = 2 ** (bits - 1)
        held, whole = (held + half) % 2**bits, [(end + half) % 2**bits for end in whole]
    inside: npt.NDArray[np.bool_] = (held >= min(whole)) & (held <= max(whole))
    return inside
