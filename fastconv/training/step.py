"""What a training step does, in one piece or in several: forward, loss, backward, clipping, update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastconv import random
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.data.rows import bounds
from fastconv.errors import ArgumentError
from fastconv.losses import Loss, loss_and_grad
from fastconv.losses.listed import is_listed
from fastconv.nn import Layer, Parameter
from fastconv.optim import Optimizer
from fastconv.training.clipping import Clip


class Batch(NamedTuple):
    """Inputs, targets, and what each row counts, (N,), if they differ."""

    x: Array
    y: Array
    weight: Array | None = None


class Done(NamedTuple):
    """Loss and predictions of a step, and the sums of squares that clipping by norm found."""

    loss: Array
    predictions: Array
    squares: Array | None = None


@dataclass(frozen=True)
class StepSettings:
    """What a step does beside its model, loss and optimizer; see `Trainer`."""

    seed: int
    clip: Clip | None = None
    accumulate: int = 1


def train_step(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    batch: Batch,
    *,
    settings: StepSettings,
    update: Callable[[], None],
    parameters: Sequence[Parameter],
    number: int | Array,
) -> Done:
    """Do forward, loss, backward, clipping and update.

    Where it breaks off after the loss, the gradients are forgotten, unless the update is done.

    Parameters
    ----------
    batch : Batch
        Checked.
    update : callable
        ``optimizer.step``, or ``optimizer.update``, which leaves the counting to whoever replays it.
    parameters : sequence of Parameter
        All of the model's.
    number : int or array
        Of the step, for dropout; the value of an array counts when a captured step is replayed.
    """
    updates, begun = optimizer.steps, False

    def passes() -> Done:
        nonlocal begun
        for value, predictions, gradient, context in _forward(model, loss, batch, settings.accumulate):
            if not begun:
                begun = True
                for parameter in parameters:
                    parameter.zero_grad()
            model.backward(gradient, context, needs_input_grad=False)
            done = Done(value, predictions)
            del gradient, context  # their memory is free for the next piece
        return done

    try:
        done = random.in_stream(settings.seed, number, passes)
        done = done._replace(squares=limit_gradients(model.backend, settings.clip, optimizer))
        update()
    except BaseException:
        if begun and optimizer.steps == updates:
            for parameter in parameters:
                parameter.zero_grad()
        raise
    return done


def limit_gradients(backend: Backend, clip: Clip | None, optimizer: Optimizer) -> Array | None:
    """Limit the gradients of what is trained, as the update takes them; return the sums of squares, if any."""
    trained = [parameter for parameter in optimizer.parameters if not parameter.is_frozen]
    if clip is None or not trained:
        return None
    optimizer.prepare_gradients()
    return clip.apply(backend, trained)


_Piece = tuple[Array, Array, Array, object]


def _forward(model: Layer, loss: Loss, batch: Batch, accumulate: int) -> Iterator[_Piece]:
    """Yield loss, predictions, gradient and context of each piece of a batch; at the last the first two are of all."""
    x, targets, weight = batch
    if accumulate == 1 or x.shape[0] == 1:
        predictions, context = model.forward(x, training=True)
        value, gradient = loss_and_grad(loss, predictions, targets, weight)
        yield value, predictions, gradient, context
        return
    backend, rows = model.backend, x.shape[0]
    part_of = _parts_of(model, loss, batch)
    total: Array = None
    everything: Array = None
    for begin, end in bounds(rows, min(rows, accumulate)):
        predictions, context = model.forward(x[begin:end], training=True)
        value, gradient = part_of(predictions, begin, end)
        if total is None:
            total, everything = (backend.empty(shape, value.dtype) for shape in ((), (rows, *predictions.shape[1:])))
            backend.copy(value, out=total)
        else:
            backend.add(total, value, out=total)
        backend.copy(predictions, out=everything[begin:end])
        del predictions, value
        yield total, everything, gradient, context
        del gradient, context


def _parts_of(model: Layer, loss: Loss, batch: Batch) -> Callable[[Array, int, int], tuple[Array, Array]]:
    """Return what gives a piece's share of the loss of a batch, and its gradient."""
    x, targets, weight = batch
    if is_listed(loss):
        whole = loss.whole(targets, (x.shape[0], *model.infer(x.shape[1:])), model.dtype, weight)
        return whole.part
    if weight is not None:
        raise ArgumentError(
            f"sample_weight: got weights with accumulate and {loss!r}; allowed: with one of fastconv's losses, whose"
            " mean over the whole batch is known"
        )
    of_sum = getattr(loss, "reduction", "mean") == "sum"

    def part(predictions: Array, begin: int, end: int) -> tuple[Array, Array]:
        value, gradient = loss_and_grad(loss, predictions, targets[begin:end])
        return (value, gradient) if of_sum else scaled(model.backend, value, gradient, (end - begin) / x.shape[0])

    return part


def scaled(backend: Backend, value: Array, gradient: Array, share: float) -> tuple[Array, Array]:
    """Return the share of a mean over a batch that a part of it has, and of its gradient, in arrays of their own."""
    mine, own = backend.empty((), value.dtype), backend.empty(gradient.shape, gradient.dtype)
    backend.scale(value, factor=share, out=mine)
    backend.scale(gradient, factor=share, out=own)
    return mine, own
