"""Parameters, and the flat arenas they live in.

All parameters of a model lie in one array and all their gradients in another, each slice on a 64-byte boundary, so
that an optimizer step is one kernel and an all-reduce one call. The gaps between slices are zero and stay zero.

A gradient is written straight into its slice: the first write after `zero_grad` overwrites, later ones go to a
temporary and are added. So `zero_grad` touches no memory. That bookkeeping is per model: two threads may run forward
on one model at once, but not backward.

A copy, and what was pickled, has arenas of its own on the backend of that name, and no gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fastconv._attributes import settled, unknown_attribute
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.converting import unmasked
from fastconv.backends.contract.types import Array, DType, Shape
from fastconv.errors import ShapeError

_ALIGN = 64  # bytes
FREEZING = "layer.freeze() and layer.unfreeze(), of one layer or of all in a model"


def _absent(name: str) -> property:
    """Return an attribute that is not there; a check of every name that is set would cost a training step its time."""

    def refuse(tensor: Buffer, *_: Any) -> Any:
        raise unknown_attribute(tensor, name, {name: FREEZING})

    return property(refuse, refuse, doc=f"Not here, but {FREEZING}.")


@dataclass(frozen=True, eq=False)
class Arena:
    """Flat storage of a model's parameters (`data` and `grad`) or of its buffers (`grad` is None)."""

    backend: Backend
    data: Array
    grad: Array | None

    def __reduce__(self) -> tuple[Any, ...]:
        return _arena, (self.backend, np.asarray(self.backend.to_numpy(self.data)), self.grad is not None)


def _arena(backend: Backend, values: np.ndarray, trained: bool) -> Arena:
    """Return a new arena that holds `values`; its gradients, if it is one of parameters, are zero."""
    data = backend.empty(values.shape, values.dtype)
    backend.copy(backend.asarray(values), out=data)
    grad = None
    if trained:
        grad = backend.empty(values.shape, values.dtype)
        backend.fill(0.0, out=grad)
    return Arena(backend, data, grad)


class Buffer:
    """A named array of the model's state that is not trained, such as a running mean.

    Parameters
    ----------
    name : str
        Path of the layer and the name in it: ``"3.running_mean"``.
    shape : tuple of int
        Of the array.

    Attributes
    ----------
    array : array
        The slice of the arena. Layers write it; use `data` to look at it or to set it.
    retired : bool
        Whether its layer was built again since, with others in place of it.

    Examples
    --------
    >>> layer = fc.nn.BatchNorm2d().build((2,))
    >>> buffer = layer.buffers()[0]
    >>> buffer.name, buffer.data
    ('running_mean', array([0., 0.], dtype=float32))
    """

    __slots__ = ("__weakref__", "_array", "arena", "name", "offset", "retired", "shape", "size")
    arena: Arena
    array = settled("array", "values written into it, array[...] = values, or data = values")
    requires_grad = _absent("requires_grad")
    trainable = _absent("trainable")

    def __init__(self, name: str, shape: Shape) -> None:
        self.name, self.shape, self.size = name, shape, math.prod(shape)
        self.offset = 0
        self.retired = False

    def __reduce__(self) -> tuple[Any, ...]:
        home = (self.arena, self.offset) if hasattr(self, "arena") else None
        return type(self)._restored, (self.name, self.shape, self.retired, home)

    @classmethod
    def _restored(cls, name: str, shape: Shape, retired: bool, home: tuple[Arena, int] | None) -> Buffer:
        tensor = cls(name, shape)
        tensor.retired = retired
        if home is not None:
            tensor.place(*home)
        return tensor

    def place(self, arena: Arena, offset: int) -> None:
        """Live in an arena from now on.

        Parameters
        ----------
        arena : Arena
            Where.
        offset : int
            Its first element there.
        """
        self.arena, self.offset = arena, offset
        self._array = self.slice_of(arena.data)

    def slice_of(self, flat: Array) -> Array:
        """Return this one's part of a flat array.

        Parameters
        ----------
        flat : array
            As long as the arena.

        Returns
        -------
        array
            A view in the shape of this one.
        """
        return flat[self.offset : self.offset + self.size].reshape(self.shape)

    @property
    def data(self) -> Array:
        """The values, read-only on the host, as changes must be noticed. Set them by ``parameter.data = values``."""
        if not isinstance(self.array, np.ndarray):
            return self.array
        view = self.array.view()
        view.flags.writeable = False
        return view

    @data.setter
    def data(self, values: Any) -> None:
        self._set(values)

    def _set(self, values: Any) -> None:
        backend = self.arena.backend
        unmasked(values, self.name)
        new = backend.asarray(values, self.array.dtype)
        if new.shape != self.shape:
            raise ShapeError(f"{self.name}: got shape {tuple(new.shape)}; allowed: {self.shape}")
        backend.copy(new, out=self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = self.arena.backend.to_numpy(self.data)  # NumPy would make an array of a single object otherwise
        return np.array(values, dtype, copy=copy)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, shape={self.shape})"


class Parameter(Buffer):
    """A named array that is trained.

    Parameters
    ----------
    name : str
        Path of the layer and the name in it: ``"3.weight"``.
    shape : tuple of int
        Of the array.

    Attributes
    ----------
    array : array
        As of a `Buffer`.
    version : int
        Counts changes of the values; what was derived from them (prepared weights) is valid as long as it has not
        moved.
    is_frozen : bool
        Whether its gradient is not computed, and stays zero, and optimizers leave it alone: see `Layer.freeze`.

    Examples
    --------
    >>> layer = fc.nn.Dense(2).build((3,))
    >>> layer.weight.name, layer.weight.shape, layer.weight.version
    ('weight', (3, 2), 2)
    >>> layer.weight.data = np.zeros((3, 2), np.float32)
    >>> float(layer.weight.data.sum()), layer.weight.is_frozen
    (0.0, False)
    """

    __slots__ = ("_grad_array", "_has_grad", "_is_frozen", "version")
    is_frozen = settled("is_frozen", FREEZING + ", or model.freeze({!r})")

    def __init__(self, name: str, shape: Shape) -> None:
        super().__init__(name, shape)
        self.version = 0
        self._has_grad = self._is_frozen = False

    def __reduce__(self) -> tuple[Any, ...]:
        restore, values = super().__reduce__()
        return restore, (*values, self.is_frozen)

    @classmethod
    def _restored(
        cls, name: str, shape: Shape, retired: bool, home: tuple[Arena, int] | None, frozen: bool = False
    ) -> Parameter:
        tensor = cast(Parameter, super()._restored(name, shape, retired, home))
        tensor._is_frozen = frozen
        return tensor

    def set_frozen(self, frozen: bool) -> None:
        """Freeze it, its gradient being forgotten, or let it be trained again; see `fastconv.nn.core.freezing`.

        Parameters
        ----------
        frozen : bool
            Which of the two.
        """
        self.zero_grad()
        self._is_frozen = frozen

    def place(self, arena: Arena, offset: int) -> None:
        self.touch()  # as where `data` is set
        super().place(arena, offset)
        self._grad_array = self.slice_of(arena.grad)
        self._has_grad = False
        self.touch()

    def _set(self, values: Any) -> None:
        self.touch()  # before and after: what comes in between, an interrupt or a thread, leaves nothing stale
        super()._set(values)
        self.touch()

    def touch(self) -> None:
        """Say that the values are about to be changed in place, and again when they were.

        The first makes what was prepared before invalid, even if an interrupt comes before the second; the second what
        another thread prepared in between.
        """
        self.version += 1

    @property
    def grad(self) -> Array:
        """The gradient summed up since `zero_grad`; zeros if there was none. None, as a new value, forgets it."""
        self.complete_grad()
        return self._grad_array

    @grad.setter
    def grad(self, values: Any) -> None:
        self.zero_grad()
        if values is not None:
            self.add_grad(values)

    def complete_grad(self) -> None:
        """Fill the gradient with zeros if there is none, as of what is frozen."""
        if not self._has_grad:
            self.arena.backend.fill(0.0, out=self._grad_array)
            self._has_grad = True

    @property
    def has_grad(self) -> bool:
        """Whether something was added to the gradient since `zero_grad`."""
        return self._has_grad

    def wrote_grad(self) -> None:
        """Say that the gradient was written in place."""
        self._has_grad = True

    def zero_grad(self) -> None:
        """Forget the gradient; costs nothing."""
        self._has_grad = False

    def write_to(self, target: Array, *, written: bool) -> None:
        """Have the gradient somewhere else for a while, until it is placed again.

        Parameters
        ----------
        target : array
            There, in the shape of this one.
        written : bool
            Whether there is a gradient in it.
        """
        self._grad_array, self._has_grad = target, written

    def grad_target(self) -> Array:
        """Return where a layer is to write its gradient of this parameter; `add_grad` it afterwards.

        Returns
        -------
        array
            The gradient itself, if there is none yet; else a temporary.
        """
        apart = self._has_grad or self.is_frozen
        return self.arena.backend.empty(self.shape, self.array.dtype) if apart else self._grad_array

    def add_grad(self, written: Array) -> None:
        """Count in a gradient; nothing if the parameter is frozen.

        Parameters
        ----------
        written : array
            Usually what was written to a `grad_target`; another one is converted to the type of the parameter.

        Raises
        ------
        ShapeError
            It has not the shape of the parameter.
        """
        if self.is_frozen:
            return
        backend = self.arena.backend
        if written is not self._grad_array:
            written = self._checked_grad(written)
        if self._has_grad:
            backend.add(self._grad_array, written, out=self._grad_array)
        elif written is not self._grad_array:
            backend.copy(written, out=self._grad_array)
        self._has_grad = True

    def _checked_grad(self, written: Any) -> Array:
        """Return a gradient as kernels read it, which check nothing."""
        mine = self._grad_array
        if type(written) is not type(mine) or written.dtype != mine.dtype or not written.flags.c_contiguous:
            unmasked(written, self.name)
            written = self.arena.backend.asarray(written, mine.dtype)
        if tuple(written.shape) != self.shape:
            raise ShapeError(f"{self.name}: got a gradient of shape {tuple(written.shape)}; allowed: {self.shape}")
        return written


@dataclass(frozen=True, eq=False)
class ArenaSlice:
    """Neighbouring parameters as one flat piece of their arena."""

    parameters: tuple[Parameter, ...]
    arena: Arena
    begin: int
    end: int

    def grad(self) -> Array:
        """Return the gradients, flat; those that nothing was added to are zero."""
        for parameter in self.parameters:
            parameter.complete_grad()
        grads: Array = self.arena.grad
        return grads[self.begin : self.end]


def arena_slices(parameters: Iterable[Parameter]) -> list[ArenaSlice]:
    """Join parameters that are neighbours in an arena; all parameters of a model are one slice."""
    result: list[ArenaSlice] = []
    for parameter in parameters:
        begin, end = parameter.offset, parameter.offset + parameter.size
        last = result[-1] if result else None
        if last and last.arena is parameter.arena and 0 <= begin - last.end < _ALIGN // parameter.array.dtype.itemsize:
            result[-1] = ArenaSlice((*last.parameters, parameter), last.arena, last.begin, end)
        else:
            result.append(ArenaSlice((parameter,), parameter.arena, begin, end))
    return result


def allocate(backend: Backend, dtype: DType, values: Sequence[tuple[Buffer, Any]]) -> None:
    """Put parameters into a new arena with these values, and buffers into another; none moves before all fit."""
    places: list[tuple[Buffer, Arena, int]] = []
    step = _ALIGN // dtype.itemsize
    for kind in (Parameter, Buffer):
        group = [(item, value) for item, value in values if type(item) is kind]
        offsets, end = [], 0
        for item, _ in group:
            offsets.append(end)
            end += -(-item.size // step) * step
        host = np.zeros(end, dtype)
        for (item, value), offset in zip(group, offsets, strict=True):
            host[offset : offset + item.size] = np.asarray(value, dtype).reshape(-1)
        arena = _arena(backend, host, trained=kind is Parameter)
        places += [(item, arena, offset) for (item, _), offset in zip(group, offsets, strict=True)]
    for item, arena, offset in places:
        item.place(arena, offset)
