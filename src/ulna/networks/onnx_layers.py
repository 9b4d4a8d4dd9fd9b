"""A network as an ONNX file, written layer by layer.

Keras' own export of DenseNet169 asks for the mean and the variance of its `Normalization` as two
more inputs and cannot be run, and nothing says so (Keras 3.15.1, tf2onnx 1.17.0).
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import activations, layers
from onnx import TensorProto

from ulna.networks.onnx_graph import LOGIT, PIXELS, Graph, Shape, unmapped

Floats = npt.NDArray[np.float64]


def export_network(model: keras.Model) -> bytes:
    """Write a network as an ONNX file in single precision, whatever it was trained in.

    Its input pixels is (n, size_px, size_px, 1) uint8, its output logit (n, 1) float32, for any n.
    The same weights give the same bytes in every process.

    Raises:
        InputError: A layer is not one of `CONVERTERS`, or set otherwise; it is named.
    """
    graph, _ = trace_layers(model)
    return graph.serialize(model.input.shape[1], LOGIT)


def trace_layers(model: keras.Model) -> tuple[Graph, dict[str, str]]:
    """Write the nodes of a network of `ulna.networks.models` in inference mode.

    Batch normalisation that alone follows a convolution becomes part of its weights: one node
    stands for both, and the convolution has no output of its own.

    Returns:
        The graph, and name of a layer -> name of its output in the graph.

    Raises:
        InputError: See `export_network`.
    """
    graph = Graph()
    users: dict[int, list[keras.Layer]] = {}
    for layer in model.operations:
        for tensor in keras.tree.flatten(layer.input):
            users.setdefault(id(tensor), []).append(layer)
    names: dict[int, str] = {}
    for position, layer in enumerate(model.operations):
        if id(layer.output) in names:
            continue  # part of the convolution before it
        convert = CONVERTERS.get(type(layer))
        inputs = [names.get(id(tensor), "") for tensor in keras.tree.flatten(layer.input)]
        # Of a layer that is used twice, the second output has no name.
        if convert is None or not (all(inputs) or type(layer) is layers.InputLayer):
            raise unmapped(layer, "is of another kind or used twice")
        norm = _normalization_after(layer, users.get(id(layer.output), []))
        last = norm or layer
        output = LOGIT if last.output is model.output else _name(last, position)
        arguments = (norm,) if norm else ()
        names[id(last.output)] = convert(graph, layer, inputs, output, *arguments)
    return graph, {
        layer.name: names[id(layer.output)]
        for layer in model.operations
        if id(layer.output) in names
    }


def _name(layer: keras.Layer, position: int) -> str:
    """The layer's own; one that Keras numbers would depend on what the process built before."""
    kind = type(layer).__name__
    numbered = re.fullmatch(rf"{kind}\d*", layer.name.replace("_", ""), re.IGNORECASE)
    return f"{kind}_{position}" if numbered else layer.name


def _normalization_after(layer: keras.Layer, users: list[keras.Layer]) -> keras.Layer | None:
    convolution = type(layer) in (layers.Conv2D, layers.DepthwiseConv2D)
    if not convolution or layer.activation is not activations.linear:
        return None
    return users[0] if [type(user) for user in users] == [layers.BatchNormalization] else None


def channels_first(layer: keras.Layer) -> Shape:
    """The shape of a layer's output in the graph."""
    *sides, channels = layer.output.shape[1:]
    return (channels, *sides)


def _require(layer: keras.Layer, **expected: Any) -> None:
    for name, value in expected.items():
        if getattr(layer, name) != value:
            raise unmapped(layer, f"has {name} {getattr(layer, name)!r}, expected {value!r}")


def _weight(layer: keras.Layer, name: str) -> Floats:
    """In double precision: a folded weight is rounded once."""
    return np.asarray(keras.ops.convert_to_numpy(getattr(layer, name)), np.float64)


def read_pixels(graph: Graph, layer: keras.Layer, _: Sequence[str], output: str) -> str:
    """InputLayer: one channel, so that no pixel has to be moved to put it first."""
    if layer.output.dtype != "uint8" or layer.output.shape[-1] != 1:
        raise unmapped(layer, "is no image of one channel of uint8")
    shape = channels_first(layer)
    target = graph.constant(f"{output}/shape", [0, *shape], np.int64)
    moved = graph.add("Reshape", [PIXELS, target], f"{output}/channels_first", layer, shape)
    return graph.add("Cast", [moved], f"{output}/float", layer, shape, to=TensorProto.FLOAT)


def _scale_and_shift(
    graph: Graph, layer: keras.Layer, source: str, output: str, scale: Floats, shift: Floats
) -> str:
    shape = channels_first(layer)
    columns = [np.reshape(values, (-1, *(1,) * (len(shape) - 1))) for values in (scale, shift)]
    factor, term = (
        graph.constant(f"{output}/{name}", column)
        for name, column in zip(("scale", "shift"), columns, strict=True)
    )
    scaled = graph.add("Mul", [source, factor], f"{output}/scaled", layer, shape)
    return graph.add("Add", [scaled, term], output, layer, shape)


def rescale(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """Rescaling."""
    scale, offset = (np.asarray(value, np.float64) for value in (layer.scale, layer.offset))
    return _scale_and_shift(graph, layer, inputs[0], output, scale, offset)


def normalize(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """Normalization of channels by a given mean and variance."""
    _require(layer, invert=False)
    if layer.axis not in ((-1,), (len(layer.output.shape) - 1,)) or layer.input_mean is None:
        raise unmapped(layer, "is not of the last axis by a given mean and variance")
    # Its own mean and variance are rounded where the layer computes in bfloat16.
    given = (layer.input_mean, layer.input_variance)
    mean, variance = (np.asarray(value, np.float64) for value in given)
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    return _scale_and_shift(graph, layer, inputs[0], output, scale, -mean * scale)


def _normalization(layer: keras.Layer) -> dict[str, Floats]:
    """Scale, shift, mean and variance of a batch normalisation, (channels,) each."""
    if layer.axis not in (-1, len(layer.output.shape) - 1):
        raise unmapped(layer, f"has axis {layer.axis}, expected the last")
    mean, variance = _weight(layer, "moving_mean"), _weight(layer, "moving_variance")
    return {
        "scale": _weight(layer, "gamma") if layer.scale else np.ones_like(mean),
        "shift": _weight(layer, "beta") if layer.center else np.zeros_like(mean),
        "mean": mean,
        "variance": variance,
    }


def batch_normalize(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """BatchNormalization that no convolution takes in, as DenseNet169's before its ReLUs."""
    # As Mul and Add, which ONNX Runtime takes out of its own order of channels, an image of 96 px
    # cost DenseNet169 17.5 ms of CPU instead of 15.2 (tf2onnx's graph: 18.1).
    values = _normalization(layer).items()
    names = [graph.constant(f"{output}/{name}", value) for name, value in values]
    options = {"epsilon": layer.epsilon}
    shape = channels_first(layer)
    return graph.add("BatchNormalization", [*inputs, *names], output, layer, shape, **options)


def convolve(
    graph: Graph,
    layer: keras.Layer,
    inputs: Sequence[str],
    output: str,
    norm: keras.Layer | None = None,
) -> str:
    """Conv2D or DepthwiseConv2D, and the batch normalisation after it."""
    _require(layer, data_format="channels_last")
    kernel = _weight(layer, "kernel")  # (rows, columns, inputs, outputs)
    if type(layer) is layers.DepthwiseConv2D:
        groups = kernel.shape[2]
        kernel = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
    else:
        groups, kernel = layer.groups, kernel.transpose(3, 2, 0, 1)
    bias = _weight(layer, "bias") if layer.use_bias else np.zeros(len(kernel))
    if norm is not None:
        folded = _normalization(norm)
        scale = folded["scale"] / np.sqrt(folded["variance"] + norm.epsilon)
        kernel = kernel * scale[:, None, None, None]
        bias = (bias - folded["mean"]) * scale + folded["shift"]
    options = _window(layer, layer.kernel_size, layer.dilation_rate) | {"group": groups}
    return _with_activation(graph, layer, "Conv", inputs[0], kernel, bias, output, options)


def dense(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """Dense, of one vector per image."""
    kernel = _weight(layer, "kernel")
    bias = _weight(layer, "bias") if layer.use_bias else np.zeros(layer.units)
    if len(layer.input.shape) != 2:
        raise unmapped(layer, "has more than one vector per image")
    return _with_activation(graph, layer, "Gemm", inputs[0], kernel, bias, output, {})


def _with_activation(
    graph: Graph,
    layer: keras.Layer,
    op: str,
    source: str,
    kernel: Floats,
    bias: Floats,
    output: str,
    options: dict[str, Any],
) -> str:
    linear = layer.activation is activations.linear
    if not linear and layer.activation is not activations.relu:
        raise unmapped(layer, "has an activation other than ReLU")
    weights = graph.constant(f"{output}/kernel", kernel), graph.constant(f"{output}/bias", bias)
    sums, shape = output if linear else f"{output}/linear", channels_first(layer)
    graph.add(op, [source, *weights], sums, layer, shape, **options)
    return sums if linear else graph.add("Relu", [sums], output, layer, shape)


def activate(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """Activation, if it is ReLU."""
    if layer.activation is not activations.relu:
        raise unmapped(layer, "is no ReLU")
    return graph.add("Relu", inputs, output, layer, channels_first(layer))


def relu(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """ReLU, with or without an upper limit, such as ReLU6."""
    _require(layer, negative_slope=0, threshold=0)
    shape = channels_first(layer)
    if layer.max_value is None:
        return graph.add("Relu", inputs, output, layer, shape)
    limits = {"low": 0, "high": layer.max_value}
    names = [graph.constant(f"{output}/{name}", value) for name, value in limits.items()]
    return graph.add("Clip", [*inputs, *names], output, layer, shape)


def pool(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """MaxPooling2D or AveragePooling2D; as in TensorFlow, padding is no part of an average."""
    _require(layer, data_format="channels_last")
    op = {layers.MaxPooling2D: "MaxPool", layers.AveragePooling2D: "AveragePool"}[type(layer)]
    options = _window(layer, layer.pool_size)
    return graph.add(op, inputs, output, layer, channels_first(layer), **options)


def pool_globally(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """GlobalAveragePooling2D or GlobalMaxPooling2D."""
    _require(layer, data_format="channels_last", keepdims=False)
    average = type(layer) is layers.GlobalAveragePooling2D
    op, shape = "GlobalAveragePool" if average else "GlobalMaxPool", channels_first(layer)
    cell = graph.add(op, inputs, f"{output}/cell", layer, (*shape, 1, 1))
    return graph.add("Flatten", [cell], output, layer, shape)


def pad(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """ZeroPadding2D."""
    _require(layer, data_format="channels_last")
    (top, bottom), (left, right) = layer.padding
    sides = graph.constant(f"{output}/pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
    return graph.add("Pad", [*inputs, sides], output, layer, channels_first(layer))


def concatenate(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """Concatenate, of channels."""
    if layer.axis not in (-1, len(layer.output.shape) - 1):
        raise unmapped(layer, f"has axis {layer.axis}, expected the last")
    return graph.add("Concat", inputs, output, layer, channels_first(layer), axis=1)


def add(graph: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """Add, of two feature maps."""
    if len(inputs) != 2:
        raise unmapped(layer, f"has {len(inputs)} inputs, expected 2")
    return graph.add("Add", inputs, output, layer, channels_first(layer))


def drop(_: Graph, layer: keras.Layer, inputs: Sequence[str], output: str) -> str:
    """Dropout: nothing in inference mode."""
    return inputs[0]


def _window(
    layer: keras.Layer, size: Sequence[int], dilation: Sequence[int] = (1, 1)
) -> dict[str, Any]:
    """Kernel, strides and padding, of which TensorFlow puts the odd pixel at the bottom right."""
    before, after = [0, 0], [0, 0]
    if layer.padding == "same":
        for axis, side in enumerate(layer.input.shape[1:3]):
            stride, reach = layer.strides[axis], (size[axis] - 1) * dilation[axis] + 1
            total = max((-(-side // stride) - 1) * stride + reach - side, 0)
            before[axis], after[axis] = total // 2, total - total // 2
    elif layer.padding != "valid":
        raise unmapped(layer, f"has padding {layer.padding!r}, expected 'same' or 'valid'")
    window = {"kernel_shape": list(size), "strides": list(layer.strides), "pads": before + after}
    return window | ({"dilations": list(dilation)} if tuple(dilation) != (1, 1) else {})


Converter = Callable[..., str]

# (graph, layer, names of its inputs, name for its output) -> name of its output.
CONVERTERS: dict[type, Converter] = {
    layers.InputLayer: read_pixels,
    layers.Rescaling: rescale,
    layers.Normalization: normalize,
    layers.BatchNormalization: batch_normalize,
    layers.Conv2D: convolve,
    layers.DepthwiseConv2D: convolve,
    layers.Dense: dense,
    layers.Activation: activate,
    layers.ReLU: relu,
    layers.MaxPooling2D: pool,
    layers.AveragePooling2D: pool,
    layers.GlobalAveragePooling2D: pool_globally,
    layers.GlobalMaxPooling2D: pool_globally,
    layers.ZeroPadding2D: pad,
    layers.Concatenate: concatenate,
    layers.Add: add,
    layers.Dropout: drop,
}
