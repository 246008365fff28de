"""What every layer is: a pair of forward and backward, parameters, and shapes that are known before the first image.

A layer keeps nothing about a step: what backward needs is the context that forward returns. So a layer can appear
twice in a model, an evaluation can happen in mid-step, and threads can run forward on one model at once (not
backward: it writes the gradients; and not forward in training with BatchNorm2d: it updates the running statistics).

A layer of one's own defines `forward`, `backward`, `infer` if the shape changes, and `setup` if it has parameters;
what it computes with `fastconv.functional` has its arguments checked there.

Any layer, usually a `Sequential`, is a model once it was built. Layers that are built keep their values when they
become part of another model; see `Layer.build`.

Built models can be copied (`copy.deepcopy`) and pickled: the copy has arenas of its own, on the backend of the same
name, and no gradients.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from fastconv import _validate as validate
from fastconv import random
from fastconv._attributes import Declared, is_ours
from fastconv.backends import get_backend
from fastconv.backends.base import Array, Backend, DType, Shape
from fastconv.errors import ArgumentError, BackendMismatchError, DTypeError, ShapeError
from fastconv.nn.core.habits import HABITS
from fastconv.nn.core.parameter import Buffer, Parameter, Parameters, allocate
from fastconv.nn.core.scope import Draft, Scope
from fastconv.nn.core.undo import moves_all_or_none
from fastconv.nn.model.representation import MISSING, describe

if TYPE_CHECKING:
    from fastconv.nn.model.inference import InferencePlan
    from fastconv.nn.model.summary import Summary

Context = Any
"""What `forward` leaves for `backward`; None after a forward that was not in training."""


_SEVERAL = "several models"


class Layer(Declared):
    """Base class of all layers.

    Fastconv's own layers take no attributes but those they have, layers of one's own any, in ``__init__``, `setup` and
    later, but for a few names that would be expected to do something (``trainable``).

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
    habits: ClassVar[Mapping[str, str]] = HABITS
    misleading: ClassVar[frozenset[str]] = frozenset(("trainable", "requires_grad"))
    _backend: Backend | None = None
    _dtype: DType = np.dtype(np.float32)
    _input_shape: Shape | None = None
    _tensors: Mapping[str, Buffer] = MappingProxyType({})  # by the names that it declared them with
    _built_in: object = None  # the key of the model that it was built in, or _SEVERAL
    _key: object = None  # of a model: equal to that of its copies' layers only
    _places: Sequence[tuple[str, Layer]] = ()  # of a model: all layers with tensors, and their paths
    _fitting: frozenset[Shape] = frozenset()  # of a model: shapes of images that it was seen to take

    def __setattr__(self, name: str, value: Any) -> None:
        if self._made and name in vars(self) and is_ours(type(self)):
            old = vars(self)[name]
            if isinstance(old, Buffer) and not isinstance(value, Buffer):
                raise ArgumentError(f"{name}: got {type(value).__name__}; allowed: {name}.data = values")
            if isinstance(old, Layer) or (isinstance(old, tuple) and any(isinstance(part, Layer) for part in old)):
                raise ArgumentError(
                    f"{name}: got other layers than {type(self).__name__} was made of; allowed: a new"
                    f" {type(self).__name__} of them (layers that are built keep their values, see Layer.build)"
                )
        super().__setattr__(name, value)

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
        return list(self._tensors.values())

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

    def _setting(self, name: str) -> Any:
        """Return what the argument `name` of ``__init__`` is now, or MISSING."""
        return vars(self).get(name, MISSING)

    # What a model does

    @moves_all_or_none
    def build(self, input_shape: Sequence[int], dtype: Any = np.float32, seed: int | None = None) -> Self:
        """Infer all shapes, allocate the parameters on the active backend and draw their initial values.

        Layers that are part of another model keep their parameters, values and running statistics; new ones are drawn::

            model = nn.Sequential(*trained.layers[:-1], nn.Dense(3)).build((32, 32, 3))

        Both models compute with the same parameters from then on, and what trains one of them trains the other. These
        lie in the arenas of the model that was built last and are named as there; the other one keeps working, with
        several kernels for each step of its optimizer. Optimizers made before are refused. Building the other one again
        gives it arenas and names again.

        Building the same model again starts anew, unless it shares parameters with another one: with new values and
        in new arenas, which an optimizer made before does not know.

        A build that fails changes nothing.

        Parameters
        ----------
        input_shape : sequence of int
            Of one image: (H, W, C), or (C,).
        dtype : dtype
            float32 or float64.
        seed : int or None
            The same seed gives the same values on every backend. Without one, each model of a program gets one of its
            own, the same in every run, derived from that of `fastconv.seed` (which is that of the first).

        Returns
        -------
        The layer itself.

        Raises
        ------
        ShapeError
            A layer cannot take what the one before it puts out, or is built and its parameters do not fit; the message
            names the layer.
        DTypeError, BackendMismatchError
            A layer is part of another model in another type, or on another backend; the message names it.
        """
        shape = validate.sizes(input_shape, "input_shape", "sizes without the batch")
        kind = validate.floating_dtype(dtype)
        if seed is not None:
            random.checked_seed(seed)
        backend, key = get_backend(), self._key or object()
        layers = self.walk()
        keeps = any(layer._tensors and layer._built_in is not key for layer in layers)
        draft = Draft(backend, kind, keeps=keeps, root=key)
        before = [(layer, dict(vars(layer))) for layer in layers]
        try:
            Scope(draft, self, "").setup_layer(shape)
            draft.seed = random.next_build_seed() if seed is None else seed
            drawn = [(tensor, draw()) for tensor, _, draw in draft.tensors]
            groups = [[item for item in drawn if type(item[0]) is cls] for cls in (Parameter, Buffer)]
            allocate(backend, kind, groups)
        except BaseException:
            for layer, attributes in before:
                vars(layer).clear()
                vars(layer).update(attributes)
            raise
        self._adopt(draft, shape, {id(layer): layer.own_tensors() for layer in layers})
        return self

    def _adopt(self, draft: Draft, shape: Shape, before: Mapping[int, Sequence[Buffer]]) -> None:
        """Note what was built; `before` are the tensors that the layers had."""
        for tensor, name, _ in draft.tensors:
            tensor.name = name
        for _, layer, tensors in draft.declared.values():
            for tensor in before.get(id(layer), ()):
                tensor.retired = tensor not in tensors.values()
            shared = layer._built_in is not None and layer._built_in is not draft.root
            layer._tensors, layer._built_in = tensors, (_SEVERAL if shared else draft.root)
        for layer in self.walk():
            layer._backend, layer._dtype = draft.backend, draft.dtype or layer._dtype
        self._key, self._input_shape, self._fitting = draft.root, shape, frozenset((shape,))
        self._places = tuple((path, layer) for path, layer, tensors in draft.declared.values() if tensors)

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

    def named_tensors(self) -> dict[str, Buffer]:
        """Return all parameters and buffers by their names in this model, even if its layers are built into another."""
        if not self._places:
            return {tensor.name: tensor for tensor in self.tensors()}
        return {
            f"{path}.{name}" if path else name: tensor
            for path, layer in self._places
            for name, tensor in layer._tensors.items()
        }

    def parameters(self) -> Parameters:
        """Return all parameters.

        Raises
        ------
        ArgumentError
            Layers were built into another model, where one got a name that another one has here.
        """
        found = self._parameters()
        names = {parameter.name for parameter in found}
        if len(names) < len(found):
            raise ArgumentError(
                f"parameters: got two of one name, as layers of this {type(self).__name__} were built into another"
                " model since; allowed: after build(input_shape), where they keep their values and get names again"
            )
        return Parameters(found)

    def _parameters(self) -> list[Parameter]:
        return [tensor for tensor in self.tensors() if isinstance(tensor, Parameter)]

    def buffers(self) -> list[Buffer]:
        """Return all state that is not trained, such as running statistics."""
        return [tensor for tensor in self.tensors() if not isinstance(tensor, Parameter)]

    def is_trained(self) -> bool:
        """Tell whether there are parameters, its own or inside."""
        return any(isinstance(tensor, Parameter) for layer in self.walk() for tensor in layer.own_tensors())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self._parameters():
            parameter.zero_grad()

    @moves_all_or_none
    def to(self, backend: str) -> Self:
        """Move parameters and buffers to another backend; optimizers made before do not follow."""
        target = get_backend(backend)
        layers, tensors = self.walk(), self.tensors()
        if any(layer._backend is not target for layer in layers):
            host = [(tensor, tensor.arena.backend.to_numpy(tensor.array)) for tensor in tensors]
            groups = [[item for item in host if type(item[0]) is cls] for cls in (Parameter, Buffer)]
            allocate(target, self._dtype, groups)
            for layer in layers:
                layer._backend = target
        return self

    def _check_size(self, x: Array) -> None:
        """Do `check_size` where the model was built for images of another size than those of `x`."""
        built = self._input_shape
        if built is not None and hasattr(x, "shape") and x.shape[1:] != built:
            self.check_size(tuple(x.shape))

    def check_size(self, shape: Shape, name: str = "x") -> None:
        """Refuse a batch of this shape if the model cannot take images of that size; looked at once for each size."""
        built = self.input_shape
        if shape[1:] in self._fitting:
            return
        try:
            if min(shape[1:], default=0) < 1:
                raise ShapeError("no empty images")
            Scope(Draft(keeps=True), self).setup_layer(shape[1:])
        except ShapeError as error:
            raise ShapeError(
                f"{name}: got shape {shape}; allowed: (N, {', '.join(map(str, built))}), for which the model was built,"
                f" or another size that all layers take ({error})"
            ) from error
        self._fitting |= {shape[1:]}

    def __repr__(self) -> str:
        return describe(self)

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
        from fastconv.nn.model.inference import InferencePlan

        return InferencePlan(self, input_shape)

    def summary(self, input_shape: Sequence[int] | None = None) -> Summary:
        """Return a table of shapes, parameters, multiplications and bytes for printing; the model need not be built."""
        from fastconv.nn.model.summary import summarize

        shape = self.input_shape if input_shape is None else input_shape
        return summarize(self, validate.sizes(shape, "input_shape", "sizes without the batch"), self._dtype)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and buffers to a safetensors file, all or nothing; see `fastconv.nn.model.weights`."""
        from fastconv.nn.model.weights import save_weights

        save_weights(self, path)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Read what `save_weights` wrote; a damaged or foreign file is refused whole with CheckpointError."""
        from fastconv.nn.model.weights import load_weights

        load_weights(self, path)
