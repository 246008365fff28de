"""How a model is set up: layers declare their parameters in a scope, and the draft of the model collects them.

`Layer.build` allocates what was declared. `Layer.summary` and `Layer.check_size` make a dry draft, in which shallow
copies of the layers are set up, so that the model itself does not change.
"""

from __future__ import annotations

import contextlib
import copy
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import numpy as np

from fastconv import _validate as validate
from fastconv import random
from fastconv._attributes import computes_as, is_ours
from fastconv._shapes import as_int
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import DType, Shape
from fastconv.errors import ArgumentError, BackendMismatchError, DTypeError, FastconvError, ShapeError
from fastconv.nn.core.initializers import as_float, draw_of
from fastconv.nn.core.outputs import check_one
from fastconv.nn.core.parameter import Buffer, Parameter
from fastconv.nn.core.returned import DECLARED

_Tensor = TypeVar("_Tensor", bound=Buffer)


class Home(NamedTuple):
    """Where a layer was built.

    Attributes
    ----------
    backend : Backend or None
        None of a layer that is not built.
    dtype :
        What it computes in.
    tensors : mapping of str to Buffer
        Its own, by the names that it declared them with.
    model : object
        Stands for the model that it was built in, or for several.
    """

    backend: Backend | None
    dtype: DType
    tensors: Mapping[str, Buffer]
    model: object


class Declarer(Protocol):
    """What a scope sees of a layer."""

    @property
    def home(self) -> Home:
        """Where it was built."""
        ...

    def unlocked(self) -> contextlib.AbstractContextManager[None]:
        """Let it take any attribute."""
        ...

    def children(self) -> Sequence[tuple[str, Any]]:
        """Return the layers inside, with their names."""
        ...

    def setup(self, input_shape: Shape, scope: Scope, /) -> Shape:
        """Declare its tensors."""
        ...

    def macs(self, input_shape: Shape, /) -> int:
        """Return how many multiplications with weights one image takes."""
        ...


@dataclass(frozen=True)
class Visit:
    """A layer without layers inside, at one of its places; `parameters` counts what it declared there first.

    So does `frozen`, of those that are.
    """

    path: str
    layer: Declarer
    input_shape: Shape
    output_shape: Shape
    parameters: int
    frozen: int


@dataclass(eq=False)
class Draft:
    """What was declared so far.

    Attributes
    ----------
    backend, dtype :
        Of the model. Without a backend the draft is dry: copies of the layers are set up.
    keeps : bool
        Whether layers that are built keep what they have.
    root : object
        Stands for the model.
    tensors : list
        Each with its name and what draws its first values from a seed.
    names : set of str
        Those.
    """

    backend: Backend | None = None
    dtype: DType | None = None
    keeps: bool = False
    root: object = None
    tensors: list[tuple[Buffer, str, Callable[[int], np.ndarray]]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    visits: list[Visit] = field(default_factory=list)
    declared: dict[int, tuple[str, Any, dict[str, Buffer]]] = field(default_factory=dict)

    def check_reached(self, layers: Iterable[Any], before: Iterable[Any]) -> None:
        """Refuse layers that were set up and are none of `layers`, those that a model says it is made of by now.

        Where it keeps what is built, also a `setup` that made new ones in the place of some that were there `before`.
        """
        reached = set(map(id, layers))
        lost = [layer for layer in before if layer.home.tensors and id(layer) not in reached] if self.keeps else ()
        if lost:
            raise ArgumentError(
                f"setup: got one that makes layers anew, where a built {type(lost[0]).__name__} was that is to keep its"
                " values; allowed: a setup that makes a layer if there is none yet"
            )
        for path, layer, tensors in self.declared.values():
            if tensors and id(layer) not in reached:
                raise ArgumentError(
                    f"children: got none of {path!r}, a {type(layer).__name__} that setup sets up; allowed: a layer"
                    " whose children() names all that is inside"
                )


class Scope:
    """Where a layer declares its parameters. The second time a layer is met, it gets the same ones.

    A layer that is built, and now becomes a part of another model, gets those that it has.

    Parameters
    ----------
    draft : Draft
        What is declared before it is allocated.
    layer : Layer
        Whose place this is.
    path : str
        Of that layer in the model.

    Examples
    --------
    >>> class Shift(fc.nn.Layer):
    ...     def setup(self, input_shape, scope):
    ...         self.offset = scope.parameter("offset", input_shape[-1:], init=0.5)
    ...         return input_shape
    ...     def forward(self, x, *, training):
    ...         return x + self.offset.array, None
    ...     def backward(self, grad_output, context, *, needs_input_grad=True):
    ...         self.offset.add_grad(grad_output.sum(axis=0))
    ...         return grad_output
    >>> layer = Shift().build((2,), np.float64)
    >>> layer(np.zeros((1, 2))), layer.offset.name
    (array([[0.5, 0.5]]), 'offset')
    """

    def __init__(self, draft: Draft, layer: Declarer, path: str = "") -> None:
        self._draft, self._layer, self._path = draft, layer, path
        self._again = id(layer) in draft.declared
        _, _, self._mine = draft.declared.setdefault(id(layer), (path, layer, {}))
        self._kept = layer.home.tensors if draft.keeps and not self._again else {}

    def __reduce__(self) -> tuple[object, ...]:
        raise ArgumentError("Scope: got a scope to copy or pickle; allowed: the layer that was set up in it")

    def setup_layer(self, input_shape: Shape) -> Shape:
        """Set up the layer of this scope; an error gets the layer's path.

        Parameters
        ----------
        input_shape : tuple of int
            Of one image.

        Returns
        -------
        tuple of int
            Of one output.
        """
        target = copy.copy(self._layer) if self._draft.backend is None else self._layer
        leaf = not target.children()
        try:
            if leaf or self._layer.home.tensors:
                self._check_home()
            if leaf and is_ours(computes_as(type(target))):  # one of somebody's own may take a tuple
                check_one(input_shape, "x")
            with target.unlocked():
                output_shape = target.setup(input_shape, self)
            leaf = leaf and not target.children()  # which setup may have made
            if leaf and not is_ours(type(target)):
                _check_own(type(target), output_shape, inside=bool(self._path))
        except FastconvError as error:
            if not leaf or target.children():
                raise
            raise type(error)(f"layer {self._path or '.'} ({type(target).__name__}): {error}") from error
        if leaf:
            new = {} if self._again else self._mine
            sizes = {name: tensor.size for name, tensor in new.items() if isinstance(tensor, Parameter)}
            built = self._layer.home.tensors
            frozen = sum(size for name, size in sizes.items() if getattr(built.get(name), "is_frozen", False))
            visit = Visit(self._path, target, input_shape, output_shape, sum(sizes.values()), frozen)
            self._draft.visits.append(visit)
        return output_shape

    def child(self, name: str, layer: Declarer, input_shape: Shape) -> Shape:
        """Set up a layer inside of this one and return the shape of its output.

        Parameters
        ----------
        name : str
            In the layer.
        layer : Layer
            The one inside.
        input_shape : tuple of int
            Of one image.

        Returns
        -------
        tuple of int
            Of one output.
        """
        return Scope(self._draft, layer, self._join(_text(name))).setup_layer(input_shape)

    def parameter(self, name: str, shape: Shape, *, init: str | float, fan_in: int = 1, fan_out: int = 1) -> Parameter:
        """Declare a parameter; `init` is the name of an initialiser, "ones", or a number.

        Parameters
        ----------
        name : str
            In the layer.
        shape : tuple of int
            Of the array.
        init : str or float
            An initialiser of `Conv2d`, "ones", or a number.
        fan_in, fan_out : int
            What the initialiser divides by.

        Returns
        -------
        Parameter
            Allocated when the whole model has declared its own.
        """
        shape, full, draw = _sizes(shape, _text(name)), self._join(name), draw_of(init)
        fan_in, fan_out = validate.at_least_one(fan_in, "fan_in"), validate.at_least_one(fan_out, "fan_out")
        return self._declare(
            Parameter, name, shape, lambda seed: draw(random.host_generator(seed, full), shape, fan_in, fan_out)
        )

    def buffer(self, name: str, shape: Shape, *, value: float) -> Buffer:
        """Declare a buffer that starts as `value`.

        Parameters
        ----------
        name : str
            In the layer.
        shape : tuple of int
            Of the array.
        value : float
            What it begins with.

        Returns
        -------
        Buffer
            Allocated when the whole model has declared its own.
        """
        shape, begin = _sizes(shape, _text(name)), as_float(value, "value")
        return self._declare(Buffer, name, shape, lambda seed: np.full(shape, begin))

    def _declare(self, cls: type[_Tensor], name: str, shape: Shape, draw: Callable[[int], np.ndarray]) -> _Tensor:
        if (name in self._mine) is not self._again:
            raise ArgumentError(f"name: got {name!r}; allowed: each once, and the same where the layer is used again")
        if 8 * math.prod(shape) > sys.maxsize:
            raise ArgumentError(f"{name}: got shape {shape}; allowed: one whose bytes a machine can count")
        known = self._mine[name] if self._again else self._kept.get(name)
        if known is not None and known.shape != shape:
            where = "where the layer is used again" if self._again else "of a layer that is built"
            raise ShapeError(f"{name}: got shape {shape} {where}; allowed: {known.shape}, as before")
        if self._again:
            return cast(_Tensor, known)
        full = self._join(name)
        if full in self._draft.names:
            raise ArgumentError(
                f"name: got {full!r} for two tensors; allowed: scope.child(name, layer, input_shape) with a name of its"
                " own for each layer inside"
            )
        self._draft.names.add(full)
        tensor = cls(full, shape) if known is None else known
        if known is not None and any(known is other for other, _, _ in self._draft.tensors):
            raise ArgumentError(
                f"{name}: got that of another layer, as a copy.copy of one that is built has it; allowed: the layer"
                " itself, which shares it, or a copy.deepcopy"
            )
        self._mine[name] = tensor
        self._draft.tensors.append((tensor, full, draw if known is None else lambda seed: _values_of(known)))
        return cast(_Tensor, tensor)

    def _check_home(self) -> None:
        """Refuse a layer that is part of another model on another backend or in another type."""
        draft, home = self._draft, self._layer.home
        if draft.backend is None or home.backend is None or (home.model is draft.root and not draft.keeps):
            return
        if home.dtype != draft.dtype:
            raise DTypeError(
                f"dtype: got {draft.dtype}; allowed: {home.dtype}, in which the layer is built, or a new layer"
            )
        if home.backend is not draft.backend:
            raise BackendMismatchError(
                f"backend: got {draft.backend.name!r}; allowed: {home.backend.name!r}, where the layer is built,"
                f" or a new layer (or move its model there first: model.to({draft.backend.name!r}))"
            )

    def _join(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def _check_own(cls: type, shape: Any, *, inside: bool) -> None:
    """Refuse a layer of somebody's own that gives no shape, or whose `build` a model around it does not call."""
    own = {name for base in cls.__mro__ if not is_ours(base) for name in vars(base)}
    if inside and "build" in own and "setup" not in own:
        raise ArgumentError(
            f"build: got one of {cls.__name__}, which a model around it does not call; allowed: {DECLARED}"
        )
    if not _is_shape(shape):
        raise ShapeError(
            f"setup, or infer: got {shape!r:.100}; allowed: the shape of one output, a tuple of ints, such as"
            " input_shape where it stays as it is"
        )


def _text(name: Any) -> str:
    if not isinstance(name, str) or not name or "/" in name:  # which states of optimizers put before it
        raise ArgumentError(f"name: got {validate.shown(name)}; allowed: a text without '/', such as 'weight'")
    return name


def _sizes(shape: Any, name: str) -> Shape:
    """Return the shape of a tensor as a tuple of ints."""
    try:
        found = tuple(map(as_int, shape))
    except TypeError:
        found = (-1,)
    if min(found, default=0) < 0:
        raise ShapeError(f"{name}: got shape {validate.shown(shape)}; allowed: a tuple of ints, none negative")
    return found


def _is_shape(value: Any) -> bool:
    """Tell whether this is a shape, or several."""
    return isinstance(value, tuple | list) and all(
        _is_shape(each) or (hasattr(each, "__index__") and not isinstance(each, bool)) for each in value
    )


def _values_of(tensor: Buffer) -> np.ndarray:
    values: np.ndarray = tensor.arena.backend.to_numpy(tensor.array)
    return values
