"""Writes networks and their parts as ONNX graphs from their layers alone, without torch, to take their latency.

Weights are random, unless given; batch norms after convolutions are folded into these, as runtimes do with exported
networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nxt.arch.latency import Part
from nxt.arch.layers import Layer, halved
from nxt.errors import ConfigError

Weights = Callable[[Layer], tuple[NDArray[np.float32], NDArray[np.float32]]]
_OPSET = 17


def random_weights(layer: Layer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns a weight (out, in / groups, kernel, kernel) and a bias that about keep the size of activations."""
    rng = np.random.default_rng(0)
    shape = (layer.out_width, layer.in_width // layer.groups, layer.kernel, layer.kernel)
    weight = rng.standard_normal(shape, dtype=np.float32) * np.float32((layer.weights / layer.out_width) ** -0.5)
    return weight, np.zeros(layer.out_width, dtype=np.float32)


def model(
    parts: Sequence[Part],
    batch: int,
    prefix: Layer | None = None,
    pooled: bool = False,
    weights: Weights = random_weights,
) -> bytes:
    """Returns the ONNX model of parts that follow each other.

    Args:
        parts: The parts; with a prefix there may be none.
        batch: Images in a batch.
        prefix: A convolution before them, with a ReLU, whose input is the model's.
        pooled: Whether the outputs are averaged over the pixels.
        weights: Returns a layer's weight and bias.
    """
    first = prefix or parts[0].layers[0]
    graph = _Graph(weights)
    x = graph.relu(graph.conv("x", prefix)) if prefix else "x"
    for part in parts:
        x = graph.part(x, part)
    if pooled:
        x = graph.add("GlobalAveragePool", [x])
    graph.nodes[-1].output[0] = "y"
    shape = (batch, first.in_width, first.in_side.height, first.in_side.width)
    made = helper.make_graph(
        graph.nodes,
        "nxt",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        graph.initializers,
    )
    opset = [helper.make_opsetid("", _OPSET)]
    content: bytes = helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString()
    return content


class _Graph:
    """The nodes and weights of a graph. Methods take and return names of tensors."""

    def __init__(self, weights: Weights) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._weights = weights

    def part(self, x: str, part: Part) -> str:
        """Adds a stem, a block or a head."""
        if part.kind == "stem":
            return self._stem(x, part)
        if part.kind == "head":
            width = part.layers[0].in_width
            x = self.relu(self._norm(x, width)) if part.spec.preact else x
            x = self.add("Flatten", [self.add("GlobalAveragePool", [x])])
            weight, bias = self._weights(part.layers[0])
            flat = weight.reshape(weight.shape[:2])
            return self.add("Gemm", [x, self._constant(flat), self._constant(bias)], transB=1)
        return self._block(x, part)

    def _stem(self, x: str, part: Part) -> str:
        for layer in part.layers:
            x = self.conv(x, layer)
            if layer is not part.layers[-1] or not part.spec.preact:
                x = self.relu(x)
        pooled = part.spec.stem != "cifar"
        return self.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4) if pooled else x

    def _block(self, x: str, part: Part) -> str:
        """Follows `nxt.models.blocks`. Raises ConfigError for what is not written here."""
        spec = part.spec
        if spec.attention == "sk" or spec.padded:
            raise ConfigError(
                f"{spec.name}: graphs are written of blocks without selective kernels and with projections; measure "
                "with `runtime` torch"
            )
        shortcut = next((layer for layer in part.layers if "downsample" in layer.name), None)
        excitation = [layer for layer in part.layers if ".se." in layer.name]
        first, *middle, last = [layer for layer in part.layers if layer is not shortcut and layer not in excitation]
        active = self.relu(self._norm(x, first.in_width)) if spec.preact else x
        after = (middle or [last])[0].in_side
        out = self._activated(self.conv(active, first), spec.preact, first.out_side != after)
        if middle:  # a bottleneck
            spatial, *attention = middle
            pools = spatial.out_side != last.in_side
            out = self._activated(self.conv(out, spatial), spec.preact, pools and not attention)
            if attention:
                out = self._attention(out, part, spatial, attention)
                out = self._pool(out) if pools else out
        out = self.conv(out, last)
        if excitation:
            out = self._gated(out, excitation)
        if spec.shortcut:
            skip = x
            if shortcut is not None:
                skip = active
                if first.in_side != shortcut.in_side:
                    skip = self.add("AveragePool", [skip], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
                skip = self.conv(skip, shortcut)
            out = self.add("Add", [out, skip])
        return out if spec.preact else self.relu(out)

    def _activated(self, x: str, preact: bool, pools: bool) -> str:
        """Adds a ReLU, and the pooling that strides: with pre-activation before it."""
        if preact:
            return self.relu(self._pool(x) if pools else x)
        return self._pool(self.relu(x)) if pools else self.relu(x)

    def _pool(self, x: str) -> str:
        return self.add("AveragePool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1)

    def _attention(self, x: str, part: Part, spatial: Layer, layers: Sequence[Layer]) -> str:
        """Follows `nxt.models.split_attention`."""
        assert part.stage is not None
        radix, groups, width = part.stage.radix, part.stage.cardinality, spatial.in_width
        if radix == 1:
            return self._gated(x, layers)
        split = [width] * radix
        pooled = self.add("Sum", self.split(self.add("GlobalAveragePool", [x]), split))
        logits = self.conv(self.relu(self.conv(pooled, layers[0])), layers[1])
        logits = self.add("Reshape", [logits, self._shape(0, groups, radix, width // groups)])
        shares = self.add("Softmax", [self.add("Transpose", [logits], perm=[0, 2, 1, 3])], axis=1)
        shares = self.add("Reshape", [shares, self._shape(0, radix * width, 1, 1)])
        pairs = zip(self.split(x, split), self.split(shares, split), strict=True)
        return self.add("Sum", [self.add("Mul", list(pair)) for pair in pairs])

    def _gated(self, x: str, layers: Sequence[Layer]) -> str:
        """Follows `nxt.models.channel_attention.SqueezeExcitation`; so does split attention of radix 1."""
        pooled = self.add("GlobalAveragePool", [x])
        logits = self.conv(self.relu(self.conv(pooled, layers[0])), layers[1])
        return self.add("Mul", [x, self.add("Sigmoid", [logits])])

    def conv(self, x: str, layer: Layer) -> str:
        """Adds a convolution with bias."""
        stride = 2 if layer.out_side != layer.in_side and layer.out_side == halved(layer.in_side) else 1
        weight, bias = self._weights(layer)
        pads = [layer.kernel // 2] * 4
        inputs = [x, self._constant(weight), self._constant(bias)]
        return self.add("Conv", inputs, group=layer.groups, strides=[stride, stride], pads=pads)

    def relu(self, x: str) -> str:
        """Adds a ReLU."""
        return self.add("Relu", [x])

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """Adds a split along the channels."""
        outputs = [f"t{len(self.nodes)}_{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self._shape(*sizes)], outputs, axis=1))
        return outputs

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node and returns its output."""
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _norm(self, x: str, width: int) -> str:
        ones, zeros = np.ones(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
        return self.add("BatchNormalization", [x, *map(self._constant, (ones, zeros, zeros, ones))])

    def _shape(self, *sizes: int) -> str:
        return self._constant(np.array(sizes, dtype=np.int64))

    def _constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(value, name))
        return name
