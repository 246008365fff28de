"""What a model can do: be built, moved, shown, frozen, saved and loaded, and compute.

Any layer, usually a `Sequential`, is a model once it was built. Layers that are built keep their values when they
become part of another model; see `Layer.build`.

Built models can be copied (`copy.deepcopy`) and pickled: the copy has arenas of its own, on the backend of the same
name, and no gradients.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from fastconv import _validate as validate
from fastconv import random
from fastconv._calls import methods_tell_habits
from fastconv.algorithm import get_algorithm
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ArgumentError, ShapeError
from fastconv.nn.core.checking import warn_of_channels_first
from fastconv.nn.core.freezing import set_frozen
from fastconv.nn.core.habits import METHOD_HABITS
from fastconv.nn.core.layer import AbstractLayer, arrange_all
from fastconv.nn.core.outputs import parts_of
from fastconv.nn.core.parameter import Buffer, Parameter, allocate
from fastconv.nn.core.parameters import Parameters
from fastconv.nn.core.rewired import held_layers
from fastconv.nn.core.scope import Draft, Home, Scope
from fastconv.nn.core.undo import moves_all_or_none
from fastconv.nn.model.choosing import chosen
from fastconv.nn.model.inference import InferencePlan
from fastconv.nn.model.representation import describe
from fastconv.nn.model.summary import Summary, summarize
from fastconv.nn.model.weights import load_weights, save_weights
from fastconv.precision import get_precision

_SEVERAL = "several models"


@methods_tell_habits(METHOD_HABITS)
class Layer(AbstractLayer):
    """Base class of all layers: what one of your own defines (`setup`, `forward`, `backward`), and what a model can do.

    Examples
    --------
    >>> class Square(fc.nn.Layer):
    ...     setting_names = ()
    ...     def forward(self, x, *, training):
    ...         return x * x, x
    ...     def backward(self, grad_output, context, *, needs_input_grad=True):
    ...         return 2 * context * grad_output if needs_input_grad else None
    >>> Square().build((2,), np.float64)(np.array([[2.0, 3.0]]))
    array([[4., 9.]])
    >>> fc.testing.gradcheck(Square(), np.array([[2.0, 3.0]])).ok
    True
    """

    _input_shape: Shape | None = None
    _key: object = None  # equal to that of its copies' layers only
    _fitting: frozenset[Shape] = frozenset()  # shapes of images that it was seen to take

    @moves_all_or_none
    def build(self, input_shape: Sequence[int], dtype: Any = np.float32, seed: int | None = None) -> Self:
        """Infer all shapes, allocate the parameters on the active backend and draw their initial values.

        Layers that are part of another model keep their parameters, values and running statistics; new ones are drawn::

            model = nn.Sequential(*trained.layers[:-1], nn.Dense(3)).build((32, 32, 3))

        Both models compute with the same parameters from then on, and what trains one of them trains the other. These
        lie in the arenas of the model that was built last and are named as there; the other one keeps working, with
        several kernels for each step of its optimizer. Optimizers made before are refused. Building the other one again
        gives it arenas and names again.

        Building the same model again starts anew, unless it shares parameters with another one, or one of your own got
        other layers, as by ``model.head = nn.Dense(3)``: with new values and in new arenas, which an optimizer made
        before does not know.

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
        warn_of_channels_first(shape)
        backend, key = get_backend(), self._key or object()
        layers = self.walk()
        keeps = self._has_others() or any(layer.home.tensors and layer.home.model is not key for layer in layers)
        draft = Draft(backend, kind, keeps=keeps, root=key)
        Scope(draft, self, "").setup_layer(shape)
        draft.check_reached(self.walk(), layers)  # a layer of one's own may make those inside only now
        drawn_from = random.next_build_seed() if seed is None else seed
        allocate(backend, kind, [(tensor, draw(drawn_from)) for tensor, _, draw in draft.tensors])
        self._adopt(draft, shape, [tensor for layer in layers for tensor in layer.own_tensors()])
        return self

    def _adopt(self, draft: Draft, shape: Shape, before: Sequence[Buffer]) -> None:
        """Note what was built; `before` are the tensors that the layers had."""
        for tensor, name, _ in draft.tensors:
            tensor.name = name
        for layer in self.walk():
            home = layer.home
            tensors, model = home.tensors, home.model
            if id(layer) in draft.declared:
                tensors = draft.declared[id(layer)][2]
                model = draft.root if home.model in (None, draft.root) else _SEVERAL
            layer.settle(Home(draft.backend, draft.dtype or home.dtype, tensors, model))
        self._key, self._input_shape, self._fitting = draft.root, shape, frozenset((shape,))
        self._places = tuple((path, None if it is self else it) for path, it, own in draft.declared.values() if own)
        self._held = held_layers(self.walk())
        kept = set(self.tensors())
        for tensor in before:
            tensor.retired = tensor not in kept
        arrange_all(self)

    @property
    def input_shape(self) -> Shape:
        """The shape of one image that `build` was called with."""
        if self._input_shape is None:
            raise ArgumentError(
                f"{type(self).__name__}: got a model that is not built; allowed: after build(input_shape)"
            )
        return self._input_shape

    def parameters(self) -> Parameters:
        """Return all parameters.

        Returns
        -------
        fastconv.nn.Parameters
            In order of their place in the arena.

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
        """Return all state that is not trained, such as running statistics.

        Returns
        -------
        list of Buffer
            In order.
        """
        return [tensor for tensor in self.tensors() if not isinstance(tensor, Parameter)]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self._parameters():
            parameter.zero_grad()

    def freeze(self, *names: str) -> Self:
        """Keep the parameters as they are: those of all layers, or of those with these names, until `unfreeze`.

        No gradient of what is frozen is computed, and it stays zero; backward ends where nothing before is trained.
        Optimizers leave frozen parameters alone, decay and momentum too. A frozen `BatchNorm2d` normalises with its
        running statistics, which do not move, in training as well; a frozen `Dropout` drops. Captured steps are
        captured anew. Copies, pickles, `to` and `Trainer.save` keep what is frozen, files of weights do not.

        Parameters
        ----------
        *names : str
            Of layers inside, as `summary` shows them, ``"3.body.0"``, each with all that is inside of it, or of single
            parameters, ``"3.body.0.weight"``; of the layer itself ``"weight"``.

        Returns
        -------
        Layer
            The layer itself.

        Raises
        ------
        ArgumentError
            The layer is not built, or has neither layer nor parameter of that name.
        """
        set_frozen(chosen(self, names), True)
        return self

    def unfreeze(self, *names: str) -> Self:
        """Let the parameters be trained again; see `freeze`.

        Parameters
        ----------
        *names : str
            As of `freeze`.

        Returns
        -------
        Layer
            The layer itself.
        """
        set_frozen(chosen(self, names), False)
        return self

    @property
    def is_frozen(self) -> bool:
        """Whether there are parameters, its own or inside, and all of them are frozen."""
        found = self._parameters()
        return bool(found) and all(parameter.is_frozen for parameter in found)

    @moves_all_or_none
    def to(self, backend: str) -> Self:
        """Move parameters and buffers to another backend; optimizers made before do not follow.

        Parameters
        ----------
        backend : str
            As of `fastconv.set_backend`.

        Returns
        -------
        Layer
            The layer itself.
        """
        target = get_backend(backend)
        layers, tensors = self.walk(), self.tensors()
        if any(layer.backend is not target for layer in layers):
            host = [(tensor, tensor.arena.backend.to_numpy(tensor.array)) for tensor in tensors]
            allocate(target, self.dtype, host)
            for layer in layers:
                layer.settle(layer.home._replace(backend=target))
            arrange_all(self)
        return self

    def check_size_of(self, x: Array) -> None:
        """Do `check_size` where the model was built for images of another size than those of `x`.

        Parameters
        ----------
        x : (N, ...) array
            A batch.
        """
        built = self._input_shape
        if built is not None and hasattr(x, "shape") and x.shape[1:] != built:
            self.check_size(tuple(x.shape))

    def check_size(self, shape: Shape, name: str = "x") -> None:
        """Refuse a batch of this shape if the model cannot take images of that size; looked at once for each size.

        Parameters
        ----------
        shape : tuple of int
            Of the batch.
        name : str
            What the message calls it.
        """
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
        """Return the output for `x`, (N, ...), computed in pieces of `batch_size`; a tuple if there are several.

        Parameters
        ----------
        x : (N, ...) array
            Inputs of the active backend.
        batch_size : int
            How many at a time.

        Returns
        -------
        array, or tuple of arrays
            The output; a tuple if there are several.
        """
        size = validate.at_least_one(batch_size, "batch_size")
        x = self.check_array(x, "x")
        if x.ndim < 2:
            raise ShapeError(f"x: got shape {tuple(x.shape)}; allowed: (N, ..., C), a batch")
        results: list[Array] = []
        for begin in range(0, max(x.shape[0], 1), size):
            y = self(x[begin : begin + size])
            if not results:
                results = [self.backend.empty((x.shape[0], *part.shape[1:]), part.dtype) for part in parts_of(y)]
            for part, result in zip(parts_of(y), results, strict=True):
                self.backend.copy(part, out=result[begin : begin + size])
        return tuple(results) if isinstance(y, tuple) else results[0]

    def compile(self, input_shape: Sequence[int]) -> InferencePlan:
        """Return the network frozen for inference on batches of this shape, (N, H, W, C).

        Normalisations are folded into convolutions, weights prepared, buffers planned, and on the CPU the whole network
        is one call into compiled code. Training on does not change the plan. In float32 an output may differ from the
        model's by 2e-6 * abs(running mean) / sqrt(running variance), as the convolution's own is not rounded between.

        Parameters
        ----------
        input_shape : (N, H, W, C) or (N, C)
            Of the batches that the plan will get.

        Returns
        -------
        InferencePlan
            Called with a batch it gives what the model gave when it was made, up to rounding.
        """
        allowed = f"(N, {', '.join(map(str, self.input_shape))})"
        shape = validate.sizes(input_shape, "input_shape", allowed)
        self.check_size(shape, "input_shape")
        return InferencePlan(copy.deepcopy(self), shape, get_precision(), get_algorithm())

    def summary(self, input_shape: Sequence[int] | None = None) -> Summary:
        """Return a table of shapes, parameters, multiplications and bytes for printing; the model need not be built.

        Parameters
        ----------
        input_shape : (H, W, C), (C,) or None
            Of one image; None takes that of `build`.

        Returns
        -------
        Summary
            A table to print, or to show in a notebook.
        """
        shape = self.input_shape if input_shape is None else input_shape
        return summarize(self, validate.sizes(shape, "input_shape", "sizes without the batch"), self.dtype)

    def save_weights(self, path: str | os.PathLike[str], *, sparse: bool = False) -> None:
        """Write parameters and buffers to a safetensors file, all or nothing; see `fastconv.nn.model.weights`.

        Parameters
        ----------
        path : str or path
            The file, new or to be replaced.
        sparse : bool
            Whether arrays that are mostly zero take less space; only fastconv reads them then.
        """
        save_weights(self, path, sparse=sparse)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Read what `save_weights` wrote.

        Parameters
        ----------
        path : str or path
            The file.

        Raises
        ------
        CheckpointError
            It is missing, damaged, or of another model; nothing is changed.
        """
        load_weights(self, path)
