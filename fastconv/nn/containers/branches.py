"""Layers made of layers: one after the other, beside each other, and around a shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fastconv.backends.base import Array, Backend, Shape
from fastconv.errors import ArgumentError, ShapeError
from fastconv.nn.core.layer import Context, Layer
from fastconv.nn.core.scope import Scope
from fastconv.nn.fused.patterns import find_steps
from fastconv.nn.fused.steps import Wanted, run_backward
from fastconv.nn.layers.simple import Identity


def _as_layer(value: object, name: str) -> Layer:
    if isinstance(value, Layer):
        return value
    if isinstance(value, type) and issubclass(value, Layer):
        raise ArgumentError(f"{name}: got the class {value.__name__}; allowed: a layer, such as {value.__name__}(...)")
    raise ArgumentError(f"{name}: got {value!r}; allowed: a layer (of a list or an iterator inside: *layers)")


def _as_layers(values: Sequence[object], name: str) -> tuple[Layer, ...]:
    """Return layers that were given one by one, or as one list."""
    if len(values) == 1 and isinstance(values[0], list | tuple):
        values = values[0]
    return tuple(_as_layer(value, f"{name}[{i}]") for i, value in enumerate(values))


def add_up(backend: Backend, arrays: Sequence[Array], owned: Sequence[bool]) -> Array:
    """Return the sum, in order, written into one of the first two arrays if nobody else refers to it."""
    total, free = arrays[0], owned[0]
    for array, owns in zip(arrays[1:], owned[1:], strict=True):
        out = total if free else array if owns else backend.empty(total.shape, total.dtype)
        backend.add(total, array, out=out)
        total, free = out, True
    return total


class Sequential(Layer):
    """Layers one after the other; children are called "0", "1", ...

    In backward the layers before the first one with parameters are left out if the gradient of the input is not
    needed.

    Layers that the backend has fused operations for run as one, see `fastconv.nn.fused.patterns`.

    Layers that are built, such as those of a trained model, keep their values, see `Layer.build`::

        model = nn.Sequential(*trained.layers[:-1], nn.Dense(3)).build((32, 32, 3))

    Parameters
    ----------
    *layers : Layer
        Or one list of them. The same one may come more than once: it shares its parameters.
    """

    def __init__(self, *layers: Layer | Sequence[Layer]) -> None:
        self.layers = _as_layers(layers, "layers")
        if not self.layers:
            raise ArgumentError("layers: got none; allowed: at least one layer")
        self.steps = find_steps(self.layers)
        self.owns_output = self.steps[-1].owns_output
        self.owns_grad = self.steps[0].owns_grad

    def children(self) -> Sequence[tuple[str, Layer]]:
        """Return the layers."""
        return [(str(i), layer) for i, layer in enumerate(self.layers)]

    def infer(self, input_shape: Shape) -> Shape:
        """Return the shape that the last layer puts out."""
        for layer in self.layers:
            input_shape = layer.infer(input_shape)
        return input_shape

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        """Set up the layers in order."""
        for name, layer in self.children():
            input_shape = scope.child(name, layer, input_shape)
        return input_shape

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run the layers; the context is the list of those of the steps."""
        self._check_size(x)
        contexts = []
        for step in self.steps:
            x, context = step.forward(x, training=training)
            contexts.append(context)
        return x, (tuple(contexts) if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        """Run the layers backwards."""
        contexts = self.check_context(context)
        stop = 0 if needs_input_grad else self._trained_from()
        wanted = Wanted(input_grad=needs_input_grad)
        grad = run_backward(self.steps[stop:], contexts[stop:], grad_output, wanted)
        return grad if needs_input_grad else None

    def _trained_from(self) -> int:
        """Return the number of the first step that has parameters."""
        return next((i for i, step in enumerate(self.steps) if step.is_trained()), len(self.steps))


class Residual(Layer):
    """``y = body(x) + shortcut(x)`` (He et al. 2015, https://arxiv.org/abs/1512.03385).

    Parameters
    ----------
    body : Layer
    shortcut : Layer or None
        `Identity` if None. Both give the same shape.
    """

    owns_output = True
    owns_grad = True

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        self.body = _as_layer(body, "body")
        self.shortcut = Identity() if shortcut is None else _as_layer(shortcut, "shortcut")

    def children(self) -> Sequence[tuple[str, Layer]]:
        """Return body and shortcut."""
        return [("body", self.body), ("shortcut", self.shortcut)]

    def infer(self, input_shape: Shape) -> Shape:
        """Return the shape that both put out."""
        return self._same(self.body.infer(input_shape), self.shortcut.infer(input_shape))

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        """Set up both."""
        return self._same(*[scope.child(name, layer, input_shape) for name, layer in self.children()])

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run both and add."""
        self._check_size(x)
        body, body_context = self.body.forward(x, training=training)
        shortcut, shortcut_context = self.shortcut.forward(x, training=training)
        y = add_up(self.backend, (body, shortcut), (self.body.owns_output, self.shortcut.owns_output))
        return y, ((body_context, shortcut_context) if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        """Run both backwards and add."""
        body_context, shortcut_context = self.check_context(context)
        body = self.body.backward(grad_output, body_context, needs_input_grad=needs_input_grad)
        shortcut = self.shortcut.backward(grad_output, shortcut_context, needs_input_grad=needs_input_grad)
        if not needs_input_grad:
            return None
        return add_up(self.backend, (body, shortcut), (self.body.owns_grad, self.shortcut.owns_grad))

    @staticmethod
    def _same(body: Shape, shortcut: Shape) -> Shape:
        if body != shortcut:
            raise ShapeError(f"shortcut: got output shape {shortcut}; allowed: {body}, that of the body")
        return body


class Parallel(Layer):
    """Layers beside each other on the same input, their outputs added or joined along channels; children "0", "1", ...

    Parameters
    ----------
    *branches : Layer
        Or one list of them.
    mode : "sum" or "concatenate"
    """

    owns_output = True
    owns_grad = True

    def __init__(self, *branches: Layer | Sequence[Layer], mode: Literal["sum", "concatenate"] = "sum") -> None:
        self.branches = _as_layers(branches, "branches")
        if len(self.branches) < 2:
            raise ArgumentError(f"branches: got {len(self.branches)}; allowed: at least two layers")
        if mode not in ("sum", "concatenate"):
            raise ArgumentError(f"mode: got {mode!r}; allowed: sum, concatenate")
        self.mode = mode

    def children(self) -> Sequence[tuple[str, Layer]]:
        """Return the branches."""
        return [(str(i), branch) for i, branch in enumerate(self.branches)]

    def infer(self, input_shape: Shape) -> Shape:
        """Return the common shape, or that with all channels."""
        return self._joined([branch.infer(input_shape) for branch in self.branches])

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        """Set up the branches."""
        return self._joined([scope.child(name, branch, input_shape) for name, branch in self.children()])

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run the branches; the context is theirs and the shapes of their outputs."""
        self._check_size(x)
        outputs, contexts = [], []
        for branch in self.branches:
            y, context = branch.forward(x, training=training)
            outputs.append(y)
            contexts.append(context)
        return self.join(outputs), ((tuple(contexts), [output.shape for output in outputs]) if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        """Run the branches backwards and add."""
        contexts, shapes = self.check_context(context)
        if self.mode == "sum":
            parts = [grad_output] * len(shapes)
        else:
            joined = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
            grad_output = self.check_grad(grad_output, joined)
            parts = [self.backend.empty(shape, grad_output.dtype) for shape in shapes]
            self.backend.split(grad_output, outs=parts)
        grads = [
            branch.backward(part, context, needs_input_grad=needs_input_grad)
            for branch, part, context in zip(self.branches, parts, contexts, strict=True)
        ]
        if not needs_input_grad:
            return None
        return add_up(self.backend, grads, [branch.owns_grad for branch in self.branches])

    def join(self, outputs: Sequence[Array]) -> Array:
        """Return the sum of the branches' outputs, or all their channels."""
        if self.mode == "sum":
            return add_up(self.backend, outputs, [branch.owns_output for branch in self.branches])
        y = self.backend.empty((*outputs[0].shape[:-1], sum(output.shape[-1] for output in outputs)), self.dtype)
        self.backend.concatenate(outputs, out=y)
        return y

    def _joined(self, shapes: Sequence[Shape]) -> Shape:
        first = shapes[0]
        same = first if self.mode == "sum" else first[:-1]
        for i, shape in enumerate(shapes):
            if (shape if self.mode == "sum" else shape[:-1]) != same:
                raise ShapeError(f"branches[{i}]: got output shape {shape}; allowed: as branches[0], {first}")
        return first if self.mode == "sum" else (*same, sum(shape[-1] for shape in shapes))
