"""One training step: the only description of it. It is run as it is, or captured once and replayed (captured.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastconv import random
from fastconv.backends.contract.types import Array
from fastconv.losses import Loss, loss_and_grad
from fastconv.nn import Layer, Parameter
from fastconv.optim import Optimizer


def train_step(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    batch: tuple[Array, Array],
    *,
    update: Callable[[], None],
    parameters: Sequence[Parameter],
    stream: tuple[int, int | Array],
) -> tuple[Array, Array]:
    """Do forward, loss, backward and update; return the loss and the predictions.

    Where it breaks off behind the loss, the gradients are forgotten, unless the update is done.

    Parameters
    ----------
    batch : pair of arrays
        Inputs and targets, checked.
    update : callable
        ``optimizer.step``, or ``optimizer.update``, which leaves the counting to whoever replays it.
    parameters : sequence of Parameter
        All of the model's.
    stream : (seed, step)
        Of dropout; the step may be an array, whose value counts when a captured step is replayed.
    """
    x, targets = batch
    with random.stream(*stream):
        predictions, context = model.forward(x, training=True)
    value, gradient = loss_and_grad(loss, predictions, targets)
    updates = optimizer.steps
    try:
        for parameter in parameters:
            parameter.zero_grad()
        model.backward(gradient, context, needs_input_grad=False)
        update()
    except BaseException:
        if optimizer.steps == updates:
            for parameter in parameters:
                parameter.zero_grad()
        raise
    return value, predictions
