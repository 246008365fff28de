"""Layers beside each other, and around a shortcut."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import get_args

from fastconv import _validate as validate
from fastconv._attributes import computes_as, is_ours
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ArgumentError, ShapeError
from fastconv.nn.containers.arguments import as_layer, as_layers
from fastconv.nn.containers.wiring import Join
from fastconv.nn.core.layer import Context, FrozenForward, Sum
from fastconv.nn.core.outputs import check_alike, check_one
from fastconv.nn.core.scope import Scope
from fastconv.nn.layers.simple import Identity
from fastconv.nn.model.model import Layer


def add_up(backend: Backend, arrays: Sequence[Array], owned: Sequence[bool]) -> Array:
    """Return the sum, in order, written into one of the first two arrays if nobody else refers to it."""
    check_alike([array.shape for array in arrays])
    total, free = arrays[0], owned[0]
    for array, owns in zip(arrays[1:], owned[1:], strict=True):
        out = total if free else array if owns else backend.empty(total.shape, total.dtype)
        backend.add(total, array, out=out)
        total, free = out, True
    return total


def joined(layer: Layer, mode: str, arrays: Sequence[Array], owned: Sequence[bool]) -> Array:
    """Return the sum of the arrays, as `add_up` does, or all their channels."""
    if mode == "sum":
        return add_up(layer.backend, arrays, owned)
    check_alike([array.shape[:-1] for array in arrays])
    y = layer.backend.empty((*arrays[0].shape[:-1], sum(array.shape[-1] for array in arrays)), layer.dtype)
    layer.backend.concatenate(arrays, out=y)
    return y


def parted(layer: Layer, grad_output: Array, shapes: Sequence[Shape]) -> list[Array]:
    """Return the gradients of arrays of these shapes whose channels were joined."""
    grad_output = layer.check_grad(grad_output, (*shapes[0][:-1], sum(shape[-1] for shape in shapes)))
    parts = [layer.backend.empty(shape, grad_output.dtype) for shape in shapes]
    layer.backend.split(grad_output, outs=parts)
    return parts


class _Branches(Layer):
    """Layers beside each other on the same input; a subclass says which, and what shapes of their outputs fit."""

    owns_output = True
    owns_grad = True
    mode: Join = "sum"

    def frozen(self) -> FrozenForward:
        if not is_ours(computes_as(type(self))):
            return super().frozen()
        branches = [branch.frozen() for _, branch in self.children()]
        return lambda x: self.join([branch(x) for branch in branches])

    def infer(self, input_shape: Shape) -> Shape:
        return self._fit([branch.infer(input_shape) for _, branch in self.children()])

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        return self._fit([scope.child(name, branch, input_shape) for name, branch in self.children()])

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        self.check_size_of(x)
        outputs, contexts = [], []
        for _, branch in self.children():
            y, context = branch.forward(x, training=training)
            outputs.append(y)
            contexts.append(context)
        return self.join(outputs), ((tuple(contexts), [output.shape for output in outputs]) if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        contexts, shapes = self.check_context(context, 2)
        parts = [grad_output] * len(shapes) if self.mode == "sum" else parted(self, grad_output, shapes)
        grads = [
            branch.backward(part, context, needs_input_grad=needs_input_grad)
            for (_, branch), part, context in zip(self.children(), parts, contexts, strict=True)
        ]
        if not needs_input_grad:
            return None
        return add_up(self.backend, grads, [branch.owns_grad for _, branch in self.children()])

    def join(self, outputs: Sequence[Array]) -> Array:
        """Return the sum of the branches' outputs, or all their channels.

        Parameters
        ----------
        outputs : sequence of array
            One of each branch, of one shape but for channels that are joined.

        Returns
        -------
        (N, ..., C) array
            Of the shape that `infer` says.
        """
        return joined(self, self.mode, outputs, [branch.owns_output for _, branch in self.children()])

    def _fit(self, shapes: Sequence[Shape]) -> Shape:
        """Return the shape of what `join` gives, of one array for each branch."""
        for (name, _), shape in zip(self.children(), shapes, strict=True):
            check_one(shape, f"branch {name!r} of {type(self).__name__}")
        return self._joined(shapes)

    @abc.abstractmethod
    def _joined(self, shapes: Sequence[Shape]) -> Shape:
        """Return the shape of what `join` gives; ShapeError if the branches do not fit together."""


class Residual(_Branches):
    """``y = body(x) + shortcut(x)`` (He et al. 2015, https://arxiv.org/abs/1512.03385).

    Parameters
    ----------
    body : Layer
        What the input goes through.
    shortcut : Layer or None
        `Identity` if None. Both give the same shape.

    Examples
    --------
    >>> layer = fc.nn.Residual(fc.nn.ReLU()).build((2,), np.float64)
    >>> layer(np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    """

    setting_names = ("body", "shortcut")

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        self.body = as_layer(body, "body")
        self.shortcut = Identity() if shortcut is None else as_layer(shortcut, "shortcut")

    def structure(self) -> Sum | None:
        return Sum(self.body, self.shortcut) if computes_as(type(self)) is Residual else None

    def children(self) -> Sequence[tuple[str, Layer]]:
        return [("body", self.body), ("shortcut", self.shortcut)]

    def _joined(self, shapes: Sequence[Shape]) -> Shape:
        body, shortcut = shapes
        if body != shortcut:
            raise ShapeError(f"shortcut: got output shape {shortcut}; allowed: {body}, that of the body")
        return body


class Parallel(_Branches):
    """Layers beside each other on the same input, their outputs added or joined along channels; children "0", "1", ...

    Parameters
    ----------
    *branches : Layer
        Or one list of them.
    mode : "sum" or "concatenate"
        What becomes of the branches' outputs.

    Examples
    --------
    >>> layer = fc.nn.Parallel(fc.nn.Conv2d(4, 1), fc.nn.Conv2d(8, 3, padding=1), mode="concatenate")
    >>> layer.build((8, 8, 3))(np.zeros((1, 8, 8, 3), np.float32)).shape
    (1, 8, 8, 12)
    """

    setting_names = ("branches", "mode")

    def __init__(self, *branches: Layer | Sequence[Layer], mode: Join = "sum") -> None:
        self.branches = as_layers(branches, "branches")
        if len(self.branches) < 2:
            raise ArgumentError(f"branches: got {len(self.branches)}; allowed: at least two layers")
        self.mode = validate.one_of(mode, "mode", get_args(Join))

    def children(self) -> Sequence[tuple[str, Layer]]:
        return [(str(i), branch) for i, branch in enumerate(self.branches)]

    def _joined(self, shapes: Sequence[Shape]) -> Shape:
        first = shapes[0]
        same = first if self.mode == "sum" else first[:-1]
        for i, shape in enumerate(shapes):
            if (shape if self.mode == "sum" else shape[:-1]) != same:
                raise ShapeError(f"branches[{i}]: got output shape {shape}; allowed: as branches[0], {first}")
        return first if self.mode == "sum" else (*same, sum(shape[-1] for shape in shapes))
