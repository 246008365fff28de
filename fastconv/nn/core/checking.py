"""Where a layer lives, and what it is called with, checked there."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Declared
from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, DType, Shape
from fastconv.errors import ArgumentError, BackendMismatchError, ShapeError

_SIDE = 16
"""From this on, images of 1 or 3 rows, as wide as they have channels, are likely meant to have these as channels."""


def check_map(input_shape: Shape) -> Shape:
    """Return the shape of a map, (H, W, C), or say that it is none."""
    if len(input_shape) != 3:
        raise ShapeError(f"input_shape: got {input_shape}; allowed: (H, W, C)")
    return input_shape


def warn_of_channels_first(input_shape: Shape) -> None:
    """Warn of a shape that says (C, H, W), as PyTorch has it, for whom builds a model for it."""
    first, *sides = input_shape
    if len(sides) == 2 and first in (1, 3) and sides[0] == sides[1] >= _SIDE:
        warnings.warn(
            f"input_shape: got {input_shape}, (H, W, C): images {first} high and {sides[0]} wide, of {sides[1]}"
            f" channels; if the {first} stands for channels, write {(*sides, first)} and x.transpose(0, 2, 3, 1) of"
            " arrays (N, C, H, W)",
            stacklevel=5,
        )


class Checking(Declared):
    """A layer's backend and type, and the checks of arrays against them."""

    _backend: Backend | None = None
    _dtype: DType = np.dtype(np.float32)

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
        """Return `x` in the form that the backend takes, or say what is wrong with it; about a microsecond.

        Parameters
        ----------
        x : array
            What came in.
        rank : int or None
            How many axes it must have.
        channels : int or None
            How long the last one must be.

        Returns
        -------
        array
            In memory as the backend wants it.
        """
        x = self.check_array(x, "x")
        if (rank is not None and x.ndim != rank) or (channels is not None and x.shape[-1] != channels):
            axes = {2: "(N, C)", 4: "(N, H, W, C)"}.get(rank or 0, "(N, ..., C)")
            what = axes if channels is None else axes.replace("C", str(channels))
            raise ShapeError(f"x of {self._label()}: got shape {tuple(x.shape)}; allowed: {what}")
        return x

    def check_grad(self, grad_output: Array, shape: Shape) -> Array:
        """Return `grad_output` in the form that the backend takes, or say what is wrong with it.

        Parameters
        ----------
        grad_output : array
            What came in.
        shape : tuple of int
            Of the output, which it must have.

        Returns
        -------
        array
            In memory as the backend wants it.
        """
        grad_output = self.check_array(grad_output, "grad_output")
        if grad_output.shape != shape:
            raise ShapeError(
                f"grad_output of {self._label()}: got shape {tuple(grad_output.shape)}; allowed: {shape}, as the output"
            )
        return grad_output

    def check_context(self, context: Any, form: Literal["array", "shape", "dict"] | int | None = None) -> Any:
        """Return `context`, or say that it is not what `forward` left.

        Parameters
        ----------
        context : object
            What came in.
        form : "array", "shape", "dict", int or None
            What it must be: an array, the shape of one, a dict, or a tuple of so many parts; None: anything.

        Returns
        -------
        object
            The same.

        Raises
        ------
        ArgumentError
            It is None, that of a forward that was not in training, or has another form, as that of another layer has.
        """
        if context is None:
            raise ArgumentError(f"context of {self._label()}: got None; allowed: that of a forward with training=True")
        if not _has_form(context, form):
            raise ArgumentError(
                f"context of {self._label()}: got {_kind_of(context)}; allowed: that of its own forward with"
                " training=True"
            )
        return context

    def check_array(self, array: Array, name: str) -> Array:
        """Return `array` in the form that the backend takes, in the type of the layer.

        Parameters
        ----------
        array : array
            What came in, of the active backend, which must be that of the layer.
        name : str
            What a message calls it.

        Returns
        -------
        array
            In memory as the backend wants it.
        """
        backend = self.backend
        if get_backend() is not backend:
            self.check_active()
        if not (type(array) is np.ndarray and backend.on_host and array.flags.carray and array.dtype == self._dtype):
            array = validate.floating(backend, array, name)
        if array.dtype != self._dtype:
            validate.has_dtype(array, f"{name} of {self._label()}", self._dtype, "that of the model")
        return array

    def check_active(self) -> None:
        """Refuse a layer that lives on another backend than the active one.

        Raises
        ------
        BackendMismatchError
            It does; the message says how either gets to the other.
        """
        backend, active = self.backend, get_backend()
        if active is not backend:
            raise BackendMismatchError(
                f"{self._label()}: got a model that lives on the backend {backend.name!r}; allowed: one on the active"
                f" backend {active.name!r} (use model.to({active.name!r}), or fastconv.set_backend({backend.name!r}))"
            )

    def check_result(self, array: Array, name: str) -> Array:
        """Return what a layer of somebody's own computed in the form that the backend takes; as it is, if not built.

        Parameters
        ----------
        array : array
            What it returned.
        name : str
            What a message calls it.

        Returns
        -------
        array
            In memory as the backend wants it.
        """
        return array if self._backend is None else self.check_array(array, name)

    def _label(self) -> str:
        return type(self).__name__


def _has_form(context: Any, form: str | int | None) -> bool:
    if form is None:
        return True
    if form == "array":
        return hasattr(context, "shape")
    if form == "shape":
        return isinstance(context, tuple) and all(isinstance(size, int) for size in context)
    return isinstance(context, dict) if form == "dict" else isinstance(context, tuple) and len(context) == form


def _kind_of(context: Any) -> str:
    if hasattr(context, "shape"):
        return f"an array {tuple(context.shape)}"
    return f"a tuple of {len(context)}" if isinstance(context, tuple) else validate.shown(context)
