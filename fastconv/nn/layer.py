"""What every layer is: a pair of forward and backward, parameters, and shapes that are known before the first image.

A layer keeps nothing about a step: what backward needs is the context that forward returns. So a layer can appear
twice in a model, an evaluation can happen in mid-step, and threads can run forward on one model at once (not
backward: it writes the gradients; and not forward in training with BatchNorm2d: it updates the running statistics).

A layer of one's own defines `forward`, `backward`, `infer` if the shape changes, and `setup` if it has parameters;
what it computes with `fastconv.functional` has its arguments checked there.

Any layer, usually a `Sequential`, is a model once it was built.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastconv import _validate as validate
from fastconv import random
from fastconv.backends import get_backend
from fastconv.backends.base import Array, Backend, DType, Shape
from fastconv.errors import ArgumentError, BackendMismatchError, DTypeError, ShapeError
from fastconv.nn.parameter import Buffer, Parameter, Parameters, allocate
from fastconv.nn.scope import Draft, Scope

if TYPE_CHECKING:
    from fastconv.nn.inference import InferencePlan
    from fastconv.nn.summary import Summary

Context = Any
"""What `forward` leaves for `backward`; None after a forward that was not in training."""


class Layer(abc.ABC):
    """Base class of all layers.

    Attributes
    ----------
    backend, dtype :
        Where it lives and what it computes in, once it was built.
    owns_output, owns_grad : bool
        Whether the result of `forward` (of `backward`) is a new array that nobody else refers to, so that a container
        may add into it.
    """

    owns_output: bool = False
    owns_grad: bool = False
    _backend: Backend | None = None
    _dtype: DType = np.dtype(np.float32)
    _input_shape: Shape | None = None

    # What a layer defines

    @abc.abstractmethod
    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Return the output and, in training, the context that `backward` needs."""

    @abc.abstractmethod
    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        """Add the gradients of the parameters to theirs and return that of the input, None if it is not needed."""

    def infer(self, input_shape: Shape) -> Shape:
        """Return the shape of the output, without the batch; ShapeError if the layer cannot take that input."""
        return input_shape

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        """Declare parameters and buffers in `scope` for this shape of input, without the batch; return the output's."""
        return self.infer(input_shape)

    def children(self) -> Sequence[tuple[str, Layer]]:
        """Return the layers inside of this one, with their names."""
        return ()

    def macs(self, input_shape: Shape) -> int:
        """Return how many multiplications with weights one image takes."""
        return 0

    # What a layer can count on

    def own_tensors(self) -> list[Buffer]:
        """Return the parameters and buffers of this very layer, in order of declaration."""
        return [value for value in vars(self).values() if isinstance(value, Buffer)]

    @property
    def backend(self) -> Backend:
        """The backend that the layer was built on."""
        if self._backend is None:
            raise ArgumentError(
                f"{type(self).__name__}: got a layer that is not built; allowed: after build(input_shape)"
            )
        return self._backend

    @property
    def dtype(self) -> DType:
        """The type that the layer computes in."""
        return self._dtype

    def check_input(self, x: Array, rank: int | None = None, channels: int | None = None) -> Array:
        """Return `x` in the form that the backend takes, or say what is wrong with it; about a microsecond."""
        x = self._checked(x, "x")
        if (rank is not None and x.ndim != rank) or (channels is not None and x.shape[-1] != channels):
            axes = {2: "(N, C)", 4: "(N, H, W, C)"}.get(rank or 0, "(N, ..., C)")
            what = axes if channels is None else axes.replace("C", str(channels))
            raise ShapeError(f"x of {self._label()}: got shape {tuple(x.shape)}; allowed: {what}")
        return x

    def check_grad(self, grad_output: Array, shape: Shape) -> Array:
        """Return `grad_output` in the form that the backend takes; it must have the shape of the output."""
        grad_output = self._checked(grad_output, "grad_output")
        if grad_output.shape != shape:
            raise ShapeError(
                f"grad_output of {self._label()}: got shape {tuple(grad_output.shape)}; allowed: {shape}, as the output"
            )
        return grad_output

    def check_context(self, context: Context) -> Context:
        """Return `context`; ArgumentError if it is None."""
        if context is None:
            raise ArgumentError(f"context of {self._label()}: got None; allowed: that of a forward with training=True")
        return context

    def _checked(self, array: Array, name: str) -> Array:
        backend = self.backend
        active = get_backend()
        if active is not backend:
            raise BackendMismatchError(
                f"{self._label()}: got a model that lives on the backend {backend.name!r}; allowed: one on the active"
                f" backend {active.name!r} (use model.to({active.name!r}), or fastconv.set_backend({backend.name!r}))"
            )
        if not (type(array) is np.ndarray and backend.on_host and array.flags.carray and array.dtype == self._dtype):
            array = validate.floating(backend, array, name)
        if array.dtype != self._dtype:
            raise DTypeError(f"{name} of {self._label()}: got {array.dtype}; allowed: {self._dtype}, that of the model")
        return array

    def _label(self) -> str:
        return type(self).__name__

    # What a model does

    def build(self, input_shape: Sequence[int], dtype: Any = np.float32, seed: int | None = None) -> Self:
        """Infer all shapes, allocate the parameters on the active backend and draw their initial values.

        Building again starts anew: with new values and in new arenas, which an optimizer made before does not know.

        Parameters
        ----------
        input_shape : sequence of int
            Of one image: (H, W, C), or (C,).
        dtype : dtype
            float32 or float64.
        seed : int or None
            That of `fastconv.seed` by default. The same seed gives the same values on every backend.

        Returns
        -------
        The layer itself.

        Raises
        ------
        ShapeError
            A layer cannot take what the one before it puts out; the message names the layer.
        """
        shape = tuple(int(n) for n in input_shape)
        if not shape or min(shape) < 1:
            raise ShapeError(
                f"input_shape: got {tuple(input_shape)}; allowed: sizes without the batch, each at least 1"
            )
        kind = np.dtype(dtype)
        if kind not in (np.float32, np.float64):
            raise DTypeError(f"dtype: got {kind}; allowed: float32 or float64")
        draft = Draft(random.get_seed() if seed is None else random.checked_seed(seed))
        backend = get_backend()
        for layer in self.walk():
            layer._backend = None  # a build that fails leaves a model that is not built
            for tensor in layer.own_tensors():
                tensor.retired = True
        Scope(draft, self, "").setup_layer(shape)
        for cls in (Parameter, Buffer):
            chosen = [(item, draw()) for item, draw in draft.tensors if type(item) is cls]
            allocate(backend, kind, [item for item, _ in chosen], [value for _, value in chosen])
        for layer in self.walk():
            layer._backend, layer._dtype = backend, kind
        self._input_shape = shape
        return self

    def walk(self) -> list[Layer]:
        """Return this layer and all inside of it, each once, in order."""
        found: dict[int, Layer] = {}
        waiting = [self]
        while waiting:
            layer = waiting.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                waiting += [child for _, child in reversed(layer.children())]
        return list(found.values())

    @property
    def input_shape(self) -> Shape:
        """The shape of one image that `build` was called with."""
        if self._input_shape is None:
            raise ArgumentError(
                f"{type(self).__name__}: got a model that is not built; allowed: after build(input_shape)"
            )
        return self._input_shape

    def tensors(self) -> list[Buffer]:
        """Return all parameters and buffers, each once."""
        _ = self.backend  # says so if there is nothing yet
        return [tensor for layer in self.walk() for tensor in layer.own_tensors()]

    def parameters(self) -> Parameters:
        """Return all parameters."""
        return Parameters(tensor for tensor in self.tensors() if isinstance(tensor, Parameter))

    def buffers(self) -> list[Buffer]:
        """Return all state that is not trained, such as running statistics."""
        return [tensor for tensor in self.tensors() if not isinstance(tensor, Parameter)]

    def is_trained(self) -> bool:
        """Tell whether there are parameters, its own or inside."""
        return any(isinstance(tensor, Parameter) for layer in self.walk() for tensor in layer.own_tensors())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        self.parameters().zero_grad()

    def to(self, backend: str) -> Self:
        """Move parameters and buffers to another backend; optimizers made before do not follow."""
        target = get_backend(backend)
        source = self.backend
        if target is not source:
            for group in (list[Buffer](self.parameters()), self.buffers()):
                allocate(target, self._dtype, group, [source.to_numpy(item.array) for item in group])
            for layer in self.walk():
                layer._backend = target
        return self

    def __call__(self, x: Array) -> Array:
        """Return the output for `x`, not in training."""
        return self.forward(x, training=False)[0]

    def predict(self, x: Array, batch_size: int = 256) -> Array:
        """Return the output for `x`, (N, ...), computed in pieces of `batch_size`."""
        size = validate.at_least_one(batch_size, "batch_size")
        x = self._checked(x, "x")
        if x.ndim < 2:
            raise ShapeError(f"x: got shape {tuple(x.shape)}; allowed: (N, ..., C), a batch")
        result: Array = None
        for begin in range(0, max(x.shape[0], 1), size):
            y = self(x[begin : begin + size])
            if result is None:
                result = self.backend.empty((x.shape[0], *y.shape[1:]), y.dtype)
            self.backend.copy(y, out=result[begin : begin + size])
        return result

    def compile(self, input_shape: Sequence[int]) -> InferencePlan:
        """Return the network frozen for inference on batches of this shape, (N, H, W, C).

        Normalisations are folded into convolutions, weights prepared, buffers planned, and on the CPU the whole network
        is one call into compiled code. Training on does not change the plan.
        """
        from fastconv.nn.inference import InferencePlan

        return InferencePlan(self, input_shape)

    def summary(self, input_shape: Sequence[int] | None = None) -> Summary:
        """Return a table of shapes, parameters, multiplications and bytes for printing; the model need not be built."""
        from fastconv.nn.summary import summarize

        return summarize(self, tuple(input_shape) if input_shape is not None else self.input_shape, self._dtype)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and buffers to a safetensors file, all or nothing; see `fastconv.nn.weights`."""
        from fastconv.nn.weights import save_weights

        save_weights(self, path)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Read what `save_weights` wrote; a damaged or foreign file is refused whole with CheckpointError."""
        from fastconv.nn.weights import load_weights

        load_weights(self, path)
