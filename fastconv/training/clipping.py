"""Limits of gradients, between backward and update, as PyTorch has them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Made
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.nn.core.parameter import ArenaSlice, Parameter, arena_slices


@dataclass(frozen=True)
class Clip(metaclass=Made):
    """A limit of gradients: what ``Trainer(clip=...)`` takes.

    Parameters
    ----------
    limit : float
        Above 0. One that is never reached, 1e30 for instance, only measures: see `Trainer.gradient_norm`.
    """

    limit: float
    argument_habits: ClassVar[Mapping[str, str]] = {"max_norm": "limit", "clip_value": "limit", "value": "limit"}

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit", validate.number(self.limit, "limit", low=0, open_low=True))

    @abc.abstractmethod
    def apply(self, backend: Backend, parameters: Sequence[Parameter]) -> Array | None:
        """Limit the gradients of parameters.

        Parameters
        ----------
        backend : Backend
            Which computes.
        parameters : sequence of Parameter
            At least one, none of them frozen.

        Returns
        -------
        (parts,) float64 array or None
            The sums of squares before, of each parameter or of neighbours; None where they are not computed.
        """


@dataclass(frozen=True)
class ClipValue(Clip):
    """``max(-limit, min(g, limit))`` of each element, as ``clip_grad_value_``. NaN stays.

    Parameters
    ----------
    limit : float
        Above 0.

    Examples
    --------
    >>> layer = fc.nn.Dense(2, bias=False).build((1,), np.float64)
    >>> layer.weight.add_grad(np.array([[0.5, -4.0]]))
    >>> fc.training.ClipValue(1.0).apply(fc.get_backend(), layer.parameters())
    >>> layer.weight.grad
    array([[ 0.5, -1. ]])
    """

    def apply(self, backend: Backend, parameters: Sequence[Parameter]) -> Array | None:
        for piece in arena_slices(parameters):
            grad = piece.grad()
            backend.clip(grad, limit=self.limit, out=grad)
        return None


@dataclass(frozen=True)
class ClipNorm(Clip):
    """``g * min(1, limit / (norm(g) + 1e-6))`` of each parameter by itself: ``clip_grad_norm_`` of one after the other.

    Where a norm is not finite: see `ClipGlobalNorm`.

    Parameters
    ----------
    limit : float
        Above 0.

    Examples
    --------
    >>> layer = fc.nn.Dense(2, bias=False).build((1,), np.float64)
    >>> layer.weight.add_grad(np.array([[3.0, 4.0]]))
    >>> _ = fc.training.ClipNorm(1.0).apply(fc.get_backend(), layer.parameters())
    >>> layer.weight.grad.round(4)
    array([[0.6, 0.8]])
    """

    def apply(self, backend: Backend, parameters: Sequence[Parameter]) -> Array | None:
        each = [ArenaSlice((p,), p.arena, p.offset, p.offset + p.size) for p in parameters]
        return _clip_norms(backend, each, self.limit, together=False)


@dataclass(frozen=True)
class ClipGlobalNorm(Clip):
    """``g * min(1, limit / (norm + 1e-6))`` with the norm of all gradients together, as ``clip_grad_norm_``.

    It is that of the parameters that the optimizer trains. Where it is not finite, `Trainer.fit` raises DivergenceError
    on the CPU; on a GPU, and in `train_step`, the update is done with what the formula gives, as in PyTorch: zeros of
    an infinite norm, NaN of NaN, in place of all but zeros.

    Parameters
    ----------
    limit : float
        Above 0.

    Examples
    --------
    >>> layer = fc.nn.Dense(2, bias=False).build((1,), np.float64)
    >>> layer.weight.add_grad(np.array([[3.0, 4.0]]))
    >>> squares = fc.training.ClipGlobalNorm(1.0).apply(fc.get_backend(), layer.parameters())
    >>> layer.weight.grad.round(4), float(squares.sum())
    (array([[0.6, 0.8]]), 25.0)
    """

    def apply(self, backend: Backend, parameters: Sequence[Parameter]) -> Array | None:
        return _clip_norms(backend, arena_slices(parameters), self.limit, together=True)


def _clip_norms(backend: Backend, pieces: Sequence[ArenaSlice], limit: float, *, together: bool) -> Array:
    squares, grads = backend.empty((len(pieces),), np.float64), [piece.grad() for piece in pieces]
    for i, grad in enumerate(grads):
        backend.sum_squares(grad, out=squares[i : i + 1], workspace=backend.pool)
    for i, grad in enumerate(grads):
        backend.clip_norm(grad, squares if together else squares[i : i + 1], limit=limit, out=grad)
    return squares
