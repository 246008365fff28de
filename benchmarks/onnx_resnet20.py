"""ResNet-20 of `fastconv.models` as an ONNX graph with the normalisations folded, for the inference engines."""

from typing import Any

import numpy as np

from fastconv.nn import Conv2d, Dense, SubsamplePad
from fastconv.nn.fused.convolution import ConvNorm
from fastconv.nn.fused.frozen import folded_values
from fastconv.nn.fused.residual import ResidualActivation


class _Graph:
    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy = helper, numpy_helper
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(self._numpy.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def convolution(self, x: str, step: ConvNorm) -> str:
        conv: Conv2d = step.conv
        weight, bias = folded_values(conv, step.norm)
        weights = self.constant(weight.transpose(3, 2, 0, 1)), self.constant(bias)
        return self.add("Conv", x, *weights, strides=list(conv.stride), pads=[1] * 4)

    def shortcut(self, x: str, layer: Any, channels: int) -> str:
        if not isinstance(layer, SubsamplePad):
            return x
        # As a 1x1 convolution with ones: the engines are faster at it than at slicing and padding.
        weight = np.zeros((layer.out_channels, channels, 1, 1))
        before = (layer.out_channels - channels) // 2
        weight[before + np.arange(channels), np.arange(channels)] = 1
        return self.add("Conv", x, self.constant(weight), strides=list(layer.stride))


def export(model: Any) -> bytes:
    """Return the serialised model; input "x" (N, 3, 32, 32), output "y" (N, 10)."""
    from onnx import TensorProto, helper

    graph = _Graph()
    value, channels = "x", 3
    for step in model.plan.steps:
        if isinstance(step, ResidualActivation):
            (first,) = step.body
            inner = graph.add("Relu", graph.convolution(value, first))
            other = graph.shortcut(value, step.shortcut, channels)
            value = graph.add("Relu", graph.add("Add", graph.convolution(inner, step.last), other))
            channels = step.last.conv.out_channels
        elif isinstance(step, ConvNorm):
            value, channels = graph.add("Relu", graph.convolution(value, step)), step.conv.out_channels
        elif isinstance(step.layers[0], Dense):
            layer = step.layers[0]
            weights = graph.constant(layer.weight.data), graph.constant(layer.bias.data)
            value = graph.add("Gemm", value, *weights)
        else:
            value = graph.add("Flatten", graph.add("GlobalAveragePool", value))
    graph.nodes[-1].output[0] = "y"
    make = helper.make_tensor_value_info
    made = helper.make_graph(
        graph.nodes,
        "resnet20",
        [make("x", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [make("y", TensorProto.FLOAT, ["N", 10])],
        graph.weights,
    )
    opset = [helper.make_opsetid("", 17)]
    serialised: bytes = helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString()
    return serialised
