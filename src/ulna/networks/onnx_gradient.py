"""Class activation maps as an ONNX file: the gradient of the logit, written node by node.

ONNX has no gradients. `BACKWARD` has a function for each operation above the layer that the maps
explain; it writes what TensorFlow computes, where values tie too: a black margin is full of ties.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from onnx import TensorProto, helper

from ulna.networks.onnx_graph import LOGIT, Graph, Node, unmapped
from ulna.networks.onnx_layers import trace_layers

MAP = "map"  # the second output

# (graph, node, name of the gradient of its output) -> names of the gradients of its inputs.
Backward = Callable[[Graph, Node, str], list[str]]


def export_maps(model: keras.Model, layer: keras.Layer) -> bytes:
    """Write a network and the maps of `ulna.networks.saliency.make_cam_fn` as an ONNX file.

    As `ulna.networks.onnx_layers.export_network`, with a second output: map, (n, rows, columns)
    float32, in units of the logit.

    Raises:
        InputError: A layer cannot be written, or, above `layer`, not its gradient; it is named.
    """
    graph, outputs = trace_layers(model)
    target = outputs[layer.name]
    shape = graph.shapes[target]
    gradient = differentiate(graph, layer, target)
    product = graph.add("Mul", [target, gradient], f"{MAP}/by_channel", layer)
    channels = graph.constant(f"{MAP}/channels", [1], np.int64)
    graph.add("ReduceSum", [product, channels], MAP, layer, shape[1:], keepdims=0)
    return graph.serialize(model.input.shape[1], LOGIT, MAP)


def differentiate(graph: Graph, layer: keras.Layer, target: str) -> str:
    """Append the gradient of the logit by the output of a layer, a tensor; return its name.

    Raises:
        InputError: A layer above has no gradient in `BACKWARD`; it is named.
    """
    above = {target}
    nodes = []
    for node in graph.nodes:
        if above.intersection(node.inputs):
            above.update(node.outputs)
            nodes.append(node)
    # Of the logit by itself, (n, 1).
    shape = graph.add("Shape", [LOGIT], f"{LOGIT}/shape", layer)
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    parts = {LOGIT: [graph.add("ConstantOfShape", [shape], f"{LOGIT}/one", layer, value=one)]}
    for node in reversed(nodes):
        backward = BACKWARD.get(node.op)
        if backward is None:
            raise unmapped(node.layer, "has no gradient here")
        gradients = backward(graph, node, _sum(graph, parts, node.outputs[0], node.layer))
        # Constants, which come last, need none.
        for name, gradient in zip(node.inputs, gradients, strict=False):
            if name in above:
                parts.setdefault(name, []).append(gradient)
    return _sum(graph, parts, target, layer)


def _sum(graph: Graph, parts: dict[str, list[str]], name: str, layer: keras.Layer) -> str:
    """The gradient of a tensor: the sum of what all that use it have added."""
    if len(parts[name]) == 1:
        return parts[name][0]
    return graph.add("Sum", parts[name], f"{name}/gradient", layer)


def _write(graph: Graph, node: Node, what: str, op: str, *inputs: str, **attributes: Any) -> str:
    """Append a node to the gradient of another; `what` tells it from the others."""
    return graph.add(op, inputs, f"{node.outputs[0]}/{what}", node.layer, **attributes)


def _constant(graph: Graph, node: Node, what: str, values: Any, dtype: type = np.float32) -> str:
    return graph.constant(f"{node.outputs[0]}/{what}", values, dtype)


def pass_on(graph: Graph, node: Node, gradient: str) -> list[str]:
    """Add, of a constant or of two tensors."""
    return [gradient] * len(node.inputs)


def scale(graph: Graph, node: Node, gradient: str) -> list[str]:
    """BatchNormalization in inference mode."""
    factor, _, _, variance = (graph.constants[name] for name in node.inputs[1:])
    slope = factor / np.sqrt(variance + node.attributes["epsilon"])
    sides = (1,) * len(graph.shapes[node.outputs[0]][1:])
    slopes = _constant(graph, node, "slope", slope.reshape(-1, *sides))
    return [_write(graph, node, "gradient_in", "Mul", gradient, slopes)]


def multiply_back(graph: Graph, node: Node, gradient: str) -> list[str]:
    """Gemm, a dense layer."""
    return [_write(graph, node, "gradient_in", "Gemm", gradient, node.inputs[1], transB=1)]


def mask_negative(graph: Graph, node: Node, gradient: str) -> list[str]:
    """Relu: 0 where the output is."""
    zero = _constant(graph, node, "zero", 0)
    above = _write(graph, node, "above", "Greater", node.outputs[0], zero)
    return [_write(graph, node, "gradient_in", "Where", above, gradient, zero)]


def mask_clipped(graph: Graph, node: Node, gradient: str) -> list[str]:
    """Clip, ReLU6: 0 at both limits."""
    (output,), (_, low, high) = node.outputs, node.inputs
    zero = _constant(graph, node, "zero", 0)
    above = _write(graph, node, "above", "Greater", output, low)
    below = _write(graph, node, "below", "Less", output, high)
    between = _write(graph, node, "between", "And", above, below)
    return [_write(graph, node, "gradient_in", "Where", between, gradient, zero)]


def split(graph: Graph, node: Node, gradient: str) -> list[str]:
    """Concat."""
    sizes = [graph.shapes[name][0] for name in node.inputs]
    lengths = _constant(graph, node, "channels", sizes, np.int64)
    outputs = tuple(f"{node.outputs[0]}/gradient_in_{k}" for k in range(len(sizes)))
    graph.nodes.append(Node("Split", (gradient, lengths), outputs, {"axis": 1}, node.layer))
    return list(outputs)


def unflatten(graph: Graph, node: Node, gradient: str) -> list[str]:
    """Flatten."""
    shape = _constant(graph, node, "shape", [0, *graph.shapes[node.inputs[0]]], np.int64)
    return [_write(graph, node, "gradient_in", "Reshape", gradient, shape)]


def spread_evenly(graph: Graph, node: Node, gradient: str) -> list[str]:
    """GlobalAveragePool: the same in all cells."""
    channels, *sides = graph.shapes[node.inputs[0]]
    share = _constant(graph, node, "share", 1 / np.prod(sides))
    scaled = _write(graph, node, "scaled", "Mul", gradient, share)
    shape = _constant(graph, node, "cells", [1, channels, *sides], np.int64)
    return [_write(graph, node, "gradient_in", "Expand", scaled, shape)]


def spread_over_maxima(graph: Graph, node: Node, gradient: str) -> list[str]:
    """GlobalMaxPool: TensorFlow shares it among equal maxima."""
    (feature,), (maximum,) = node.inputs, node.outputs
    equal = _write(graph, node, "equal", "Equal", feature, maximum)
    ones = _write(graph, node, "maxima", "Cast", equal, to=TensorProto.FLOAT)
    axes = _constant(graph, node, "cells", [2, 3], np.int64)
    number = _write(graph, node, "number", "ReduceSum", ones, axes)
    share = _write(graph, node, "share", "Div", gradient, number)
    return [_write(graph, node, "gradient_in", "Mul", ones, share)]


def scatter_to_maxima(graph: Graph, node: Node, gradient: str) -> list[str]:
    """MaxPool: to the first of equal maxima, as in TensorFlow; windows may overlap."""
    indices = f"{node.outputs[0]}/indices"
    graph.nodes[graph.nodes.index(node)] = replace(node, outputs=(*node.outputs, indices))
    flat = _constant(graph, node, "flat", [-1], np.int64)
    shape = _write(graph, node, "shape", "Shape", node.inputs[0])
    size = _write(graph, node, "size", "Size", node.inputs[0])
    length = _write(graph, node, "length", "Reshape", size, flat)
    zeros = _write(graph, node, "zeros", "ConstantOfShape", length)
    places = _write(graph, node, "places", "Reshape", indices, flat)
    values = _write(graph, node, "values", "Reshape", gradient, flat)
    scattered = _write(
        graph, node, "scattered", "ScatterElements", zeros, places, values, reduction="add"
    )
    return [_write(graph, node, "gradient_in", "Reshape", scattered, shape)]


def spread_over_windows(graph: Graph, node: Node, gradient: str) -> list[str]:
    """AveragePool, as a convolution of each channel with equal weights."""
    if any(node.attributes["pads"]):
        raise unmapped(node.layer, "has padding, whose gradient is not mapped")
    channels, window = graph.shapes[node.inputs[0]][0], node.attributes["kernel_shape"]
    kernel = np.full((channels, 1, *window), 1 / np.prod(window))
    weights = _constant(graph, node, "kernel", kernel)
    return _transpose(graph, node, gradient, weights, {"group": channels})


def convolve_back(graph: Graph, node: Node, gradient: str) -> list[str]:
    """Conv, which ConvTranspose undoes with the same weights."""
    kernels, options = graph.constants[node.inputs[1]], dict(node.attributes)
    depthwise = options["group"] == len(kernels) == graph.shapes[node.inputs[0]][0]
    if not depthwise or options["strides"] != [1, 1] or "dilations" in options:
        return _transpose(graph, node, gradient, node.inputs[1], {})
    # ConvTranspose takes channel after channel: a map of MobileNetV2 at 96 px cost 6.4 ms of CPU
    # instead of 4.2 by a convolution with turned kernels.
    turned = _constant(graph, node, "turned", kernels[:, :, ::-1, ::-1])
    reach = [size - 1 for size in options["kernel_shape"]] * 2
    options["pads"] = [most - pad for most, pad in zip(reach, options["pads"], strict=True)]
    return [_write(graph, node, "gradient_in", "Conv", gradient, turned, **options)]


def _transpose(
    graph: Graph, node: Node, gradient: str, weights: str, options: dict[str, Any]
) -> list[str]:
    options = {**node.attributes, **options}
    sides = graph.shapes[node.inputs[0]][1:]
    rest = []  # rows and columns at the end that no window reaches
    for axis, side in enumerate(sides):
        reach = (options["kernel_shape"][axis] - 1) * options.get("dilations", (1, 1))[axis] + 1
        padded = side + options["pads"][axis] + options["pads"][axis + 2]
        rest.append((padded - reach) % options["strides"][axis])
    options["output_padding"] = rest
    return [_write(graph, node, "gradient_in", "ConvTranspose", gradient, weights, **options)]


def crop(graph: Graph, node: Node, gradient: str) -> list[str]:
    """Pad."""
    _, _, top, left, *_ = graph.constants[node.inputs[1]].tolist()
    _, rows, columns = graph.shapes[node.inputs[0]]
    starts, ends, axes = (
        _constant(graph, node, what, values, np.int64)
        for what, values in (
            ("starts", [top, left]),
            ("ends", [top + rows, left + columns]),
            ("axes", [2, 3]),
        )
    )
    return [_write(graph, node, "gradient_in", "Slice", gradient, starts, ends, axes)]


BACKWARD: dict[str, Backward] = {
    "Add": pass_on,
    "AveragePool": spread_over_windows,
    "BatchNormalization": scale,
    "Clip": mask_clipped,
    "Concat": split,
    "Conv": convolve_back,
    "Flatten": unflatten,
    "Gemm": multiply_back,
    "GlobalAveragePool": spread_evenly,
    "GlobalMaxPool": spread_over_maxima,
    "MaxPool": scatter_to_maxima,
    "Pad": crop,
    "Relu": mask_negative,
}
