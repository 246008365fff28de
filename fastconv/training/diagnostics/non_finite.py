"""Where numbers first stop being finite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastconv import random
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.losses import Loss, loss_and_grad
from fastconv.nn import Layer, Parameter
from fastconv.nn.model.checking import checked_model
from fastconv.training.diagnostics.found import Found
from fastconv.training.diagnostics.layerwise import Place, layerwise


@dataclass(frozen=True)
class NonFinite(Found):
    """The first array of a step that is not finite.

    Parameters
    ----------
    what : str
        "parameter", "input", "output" (of a layer), "loss", "gradient of the loss", "gradient" (that a layer passes
        on) or "parameter's gradient".
    where : str
        ``"layer 3 (Conv2d)"``, or the name of the parameter; nothing of an input or a loss.
    nan, infinite, size : int
        How many of its elements are NaN or infinite, and how many there are.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> x, y = np.array([[np.inf]], np.float32), np.ones((1, 1), np.float32)
    >>> fc.training.diagnostics.find_non_finite(model, fc.losses.MeanSquaredError(), x, y)
    NonFinite(what='input', where='', nan=0, infinite=1, size=1)
    """

    what: str
    where: str
    nan: int
    infinite: int
    size: int

    def __str__(self) -> str:
        counts = f"{self.nan} NaN and {self.infinite} infinite of {self.size}"
        return f"the {self.what}{f' of {self.where}' if self.where else ''} ({counts})"


class _FoundNonFinite(Exception):  # noqa: N818 - it ends the run, and is no error
    def __init__(self, finding: NonFinite) -> None:
        self.finding = finding


def find_non_finite(model: Layer, loss: Loss, x: Array, y: Array, *, seed: int = 0, step: int = 0) -> NonFinite | None:
    """Run one training step without its update, layer by layer, and return the first array that is not finite.

    Parameters
    ----------
    model : Layer
        It is copied; nothing of it changes.
    loss : Loss
        What is minimised.
    x, y : array
        A batch.
    seed, step : int
        Of the draws of dropout, as `Trainer` counts them: from 0.

    Returns
    -------
    NonFinite or None
        None if all is finite: parameters, input, outputs, the loss, and the gradients.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> x = y = np.ones((1, 1), np.float32)
    >>> fc.training.diagnostics.find_non_finite(model, fc.losses.MeanSquaredError(), x, y) is None
    True
    """
    look = _Look(checked_model(model).backend)
    copied = layerwise(model, look)
    try:
        for parameter in copied.parameters():
            look.check(parameter.array, "parameter", parameter.name)
        look.check(x, "input", "")
        with random.stream(seed, step):
            predictions, context = copied.forward(x, training=True)
        value, gradient = loss_and_grad(loss, predictions, y)
        look.check(value, "loss", "")
        look.check(gradient, "gradient of the loss", "")
        copied.zero_grad()
        copied.backward(gradient, context, needs_input_grad=False)
    except _FoundNonFinite as found:
        return found.finding
    return None


class _Look:
    """Ends the run at the first array that is not finite."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def check(self, array: Array, what: str, where: str) -> None:
        values = np.asarray(self._backend.to_numpy(array)) if self._backend.owns(array) else np.asarray(array)
        if not np.isfinite(values).all():
            nan, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
            raise _FoundNonFinite(NonFinite(what, where, nan, infinite, values.size))

    def forward(self, place: Place, x: Array, y: Array) -> None:
        self.check(y, "output", str(place))

    def backward(self, place: Place, grad_output: Array, grad_input: Array | None) -> None:
        for tensor in place.layer.own_tensors():
            if isinstance(tensor, Parameter) and tensor.has_grad:
                self.check(tensor.grad, "parameter's gradient", f"{tensor.name}, {place}")
        if grad_input is not None:
            self.check(grad_input, "gradient", f"the input of {place}")
