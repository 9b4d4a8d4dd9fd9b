"""The networks of a bundle in ONNX Runtime, one image at a time.

One image, because batches bring nothing on a CPU: on one thread each, the CNN took 1.3 ms an image
alone and 1.3 to 1.6 in batches of 8 and 32, DenseNet169 39 ms and 40 to 73. And so no image can
change a bit of another. (Batches of 2 to 64, and two threads, changed none of 64 logits of either
network on one machine; ONNX Runtime promises nothing of the kind.)
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from ulna.core import InputError
from ulna.inference.bundle import Bundle, Member

Pixels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

INPUT, LOGIT, MAP = "pixels", "logit", "map"
FATAL = 4  # of ONNX Runtime's levels of its log, which it writes to the terminal


class Networks:
    """The networks of a bundle, ready to run; threads may share it.

    Each call runs on the thread that makes it: with a network on several, the last bits of a logit
    could depend on their number.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Load the networks; those for maps are loaded when the first map is asked for.

        Raises:
            InputError: A file of the bundle is no network of this size that ONNX Runtime can run.
        """
        self._bundle = bundle
        self._networks = [_load(bundle, member, member.model, LOGIT) for member in bundle.members]
        self._map_networks: list[onnxruntime.InferenceSession] = []

    def logit(self, square: Pixels) -> float:
        """The logit of a letterboxed image (size_px, size_px): that of the ensemble, if it is one.

        Raises:
            InputError: It is not a finite number, or cannot be computed.
        """
        logits = [float(_run(network, LOGIT, square)[0, 0]) for network in self._networks]
        if not all(map(math.isfinite, logits)):
            raise InputError("the network gives no finite number for it")
        return combine(logits)

    def load_for_maps(self) -> None:
        """Load the networks for maps, unless they are.

        Raises:
            InputError: As at the beginning, of a file with maps.
        """
        if not self._map_networks:
            self._map_networks = [
                _load(self._bundle, member, member.maps, MAP) for member in self._bundle.members
            ]

    def map(self, square: Pixels) -> Map:
        """Where the logit of a letterboxed image comes from: (rows, columns), in its units.

        Several networks give the mean of their maps, each at the finest of their resolutions.

        Raises:
            InputError: The bundle has no maps, or this one cannot be computed.
        """
        if not self._bundle.has_maps:
            raise InputError(
                f"{self._bundle.source} has no maps, since those of its networks did not pass "
                "their test or were not made: use another bundle, or do without maps"
            )
        self.load_for_maps()
        maps = [_run(network, MAP, square)[0] for network in self._map_networks]
        rows, columns = (max(sides) for sides in zip(*(m.shape for m in maps), strict=True))
        mean: Map = np.mean([_enlarge(m, rows, columns) for m in maps], axis=0, dtype=np.float32)
        return mean


def combine(logits: Sequence[float]) -> float:
    """The logit of the mean of the networks' probabilities; one network's is its own.

    It is that of `ulna.evaluation.ensemble`, from the logits, since a probability that was rounded
    to 0 or 1 has none.

    Example:
        >>> round(combine([0.0, 1.0]), 4), combine([700.0])
        (0.4706, 700.0)
    """
    if len(logits) == 1:
        return logits[0]
    return _log_sum(list(map(_log_sigmoid, logits))) - _log_sum([_log_sigmoid(-x) for x in logits])


def _log_sigmoid(logit: float) -> float:
    return min(logit, 0.0) - math.log1p(math.exp(-abs(logit)))


def _log_sum(logarithms: Sequence[float]) -> float:
    """Logarithm of a sum, by the logarithms of its terms, without overflow."""
    highest = max(logarithms)
    return highest + math.log(math.fsum(math.exp(each - highest) for each in logarithms))


def _run(network: onnxruntime.InferenceSession, output: str, square: Pixels) -> Map:
    try:
        values: Map = network.run([output], {INPUT: square[np.newaxis, :, :, np.newaxis]})[0]
    # See `_load`.
    except Exception:
        raise InputError(
            "ONNX Runtime cannot run the network on it, for want of memory or as it is damaged"
        ) from None
    return values


def _load(
    bundle: Bundle, member: Member, model: bytes | None, output: str
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    size = bundle.size_px
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        taken = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
        given = {node.name: (node.type, node.shape[1:]) for node in session.get_outputs()}
        kind, sides = given[output]
        if taken != {INPUT: ("tensor(uint8)", [size, size, 1])} or kind != "tensor(float)":
            raise ValueError("other inputs or outputs")
        if not (sides == [1] if output == LOGIT else len(sides) == 2):
            raise ValueError("an output of another shape")
    # ONNX Runtime has an exception of its own for each of its error codes, without a common class.
    except Exception:
        raise InputError(
            f"{bundle.source}: {member.name} is no network for {size} x {size} pixels that ONNX "
            f"Runtime {onnxruntime.__version__} can run: make the bundle anew with `dvc repro`, or "
            "update onnxruntime"
        ) from None
    return session


def _enlarge(map_: Map, rows: int, columns: int) -> Map:
    if map_.shape == (rows, columns):
        return map_
    return np.asarray(Image.fromarray(map_).resize((columns, rows), Image.Resampling.BILINEAR))
