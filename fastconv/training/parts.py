"""What a `Trainer` is made of, checked when it is set: each error says what to write."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fastconv import _validate as validate
from fastconv import random
from fastconv._attributes import is_ours
from fastconv.errors import ArgumentError
from fastconv.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from fastconv.metrics import Metric
from fastconv.nn import Sigmoid, Softmax
from fastconv.nn.core.layer import AbstractLayer, Chain
from fastconv.nn.core.outputs import shapes_of
from fastconv.nn.layers.sync_norm import SyncBatchNorm
from fastconv.nn.model.checking import checked_model
from fastconv.nn.model.model import Layer
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.schedules import unit_of
from fastconv.optim.schedules.schedule import odd_arguments
from fastconv.parallel.data_parallel import DataParallel
from fastconv.training.callbacks import Callback
from fastconv.training.clipping import Clip
from fastconv.training.divergence import is_asking
from fastconv.training.history import History

_TAKEN = ("loss", "learning_rate", "seconds", "images_per_second", "epoch", "step", "event", "sparsity")
_WITHIN: Mapping[type, type] = {SoftmaxCrossEntropy: Softmax, BinaryCrossEntropy: Sigmoid}
_METRICS = "one or several metrics, such as fastconv.metrics.Accuracy()"


def checked_trained(model: Any) -> Layer:
    """Return a built model that puts out one array, which is what losses and metrics look at."""
    layer = checked_model(model)
    layer.check_layers()
    count = len(shapes_of(layer.infer(layer.input_shape)))
    if count > 1:
        raise ArgumentError(
            f"model: got {type(layer).__name__} with {count} outputs; allowed: a model with one. With several train by"
            " model.forward(x, training=True), model.backward of a tuple of gradients, and optimizer.step()"
        )
    return layer


def checked_loss(loss: Any) -> Any:
    """Return something to call with predictions and targets, that gives a gradient too."""
    if isinstance(loss, Metric):
        raise ArgumentError(
            f"loss: got {loss!r}, a metric, which has no gradient; allowed: one of fastconv.losses{loss.why}"
        )
    if isinstance(loss, type) or not callable(loss) or isinstance(loss, Layer):
        advice = f"{loss.__name__}()" if isinstance(loss, type) else "fastconv.losses.SoftmaxCrossEntropy()"
        raise ArgumentError(
            f"loss: got {validate.shown(loss)}; allowed: what is called with predictions and targets, such as {advice}"
        )
    return loss


def checked_optimizer(optimizer: Any, model: Layer) -> Optimizer:
    """Return an optimizer of parameters of this model and no others."""
    allowed = "an optimizer, such as fastconv.optim.Adam(model.parameters())"
    found: Optimizer = validate.instance(optimizer, Optimizer, "optimizer", allowed)
    parameters = model.parameters()
    foreign = set(found.parameters).difference(parameters)
    if foreign:
        name = type(found).__name__
        raise ArgumentError(
            f"optimizer: got {name} of {len(found.parameters)} parameters, {len(foreign)} of which are not, or no"
            f" longer, of this model, such as {next(p for p in found.parameters if p in foreign)!r}; allowed: one"
            f" of this model's parameters, {name}(model.parameters(), ...), made after build"
        )
    return found


def checked_schedule(schedule: Any) -> Callable[[int], float] | None:
    """Return something to call with the number of a step, or None."""
    if schedule is None:
        return None
    if isinstance(schedule, type) or not callable(schedule):
        raise ArgumentError(
            f"schedule: got {validate.shown(schedule)}; allowed: None, or what gives the learning rate of a step,"
            " such as fastconv.optim.schedules.Cosine(0.1, total_steps)"
        )
    if odd := odd_arguments(schedule):
        raise ArgumentError(f"schedule: got {odd}; allowed: a function of the number of the step alone")
    first = next(iter(_parameters_of(schedule) or ()), "")
    if unit_of(schedule) == "step" and "epoch" in first:
        raise ArgumentError(
            f"schedule: got a function of {first!r}; allowed: one of the number of the step, counted from 0"
            " (an epoch has len(loader) steps: step // len(loader) is the epoch), or"
            " fastconv.optim.schedules.Function(f, by='epoch')"
        )
    checked: Callable[[int], float] = schedule
    return checked


def check_together(
    parallel: DataParallel | None, model: Layer, loss: Any, *, accumulate: int, capture: bool | None
) -> None:
    """Refuse what does not go together with shards; warn of what the loss does once more."""
    _warn_of_logits(model, loss)
    if parallel is None:
        return
    if capture and any(isinstance(layer, SyncBatchNorm) for layer in model.walk()):
        raise ArgumentError(
            "capture: got True with parallel and SyncBatchNorm, where steps run as they are; allowed: None or False"
        )
    if accumulate != 1:
        raise ArgumentError(
            f"accumulate: got {accumulate} with parallel; allowed: 1, as shards pass one after the other already"
        )


def _warn_of_logits(model: Layer, loss: Any) -> None:
    """Warn of a last layer that the loss has within itself, as Keras' losses by default have not."""
    last: AbstractLayer = model
    while isinstance(chain := last.structure(), Chain):
        last = chain.layers[-1]
    if type(last) is _WITHIN.get(type(loss)):
        name = type(last).__name__
        warnings.warn(
            f"loss: got {type(loss).__name__} for a model whose last layer is {name}, which the loss does itself: it"
            f" takes logits. Leave the layer out; nn.Sequential(model, nn.{name}()), built, gives probabilities of the"
            " trained model",
            stacklevel=6,
        )


def checked_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Return callbacks as a tuple, those that write the state last; a single one may come as it is."""
    if isinstance(callbacks, Callback):
        callbacks = (callbacks,)
    if callbacks is None or isinstance(callbacks, type | str | Layer) or not isinstance(callbacks, Iterable):
        raise ArgumentError(f"callbacks: got {validate.shown(callbacks)}; allowed: a Callback, or several in a list")
    found = tuple(callbacks)
    for callback in found:
        if not isinstance(callback, Callback):
            raise ArgumentError(
                f"callbacks: got {validate.shown(callback)} among them; allowed: objects of classes derived from"
                " fastconv.training.Callback"
            )
        odd = [name for name in dir(type(callback)) if name.startswith("on_") and not hasattr(Callback, name)]
        if odd:
            known = ", ".join(name for name in dir(Callback) if name.startswith("on_"))
            raise ArgumentError(
                f"callbacks: got {type(callback).__name__} with {', '.join(odd)}, which nobody calls; allowed: {known}"
            )
    twice = next((callback for callback in found if sum(each is callback for each in found) > 1), None)
    if twice is not None:
        raise ArgumentError(f"callbacks: got {twice!r} twice, which would be told of everything twice; allowed: once")
    _check_files(found)
    return tuple(sorted(found, key=lambda callback: callback.saves))


def _check_files(callbacks: Iterable[Callback]) -> None:
    """Refuse two callbacks that write the same file."""
    writers: dict[Path, Callback] = {}
    for callback in callbacks:
        for path in callback.files():
            other = writers.setdefault(Path(os.path.realpath(path)), callback)
            if other is not callback:
                raise ArgumentError(
                    f"callbacks: got {other!r} and {callback!r}, which both write {str(path)!r}; allowed: a file of its"
                    " own for each"
                )


def checked_metrics(metrics: Any) -> tuple[Metric, ...] | None:
    """Return metrics as a tuple, or None; a single one may come as it is."""
    if metrics is None:
        return None
    if isinstance(metrics, Metric):
        metrics = (metrics,)
    if isinstance(metrics, type | str | Layer) or not isinstance(metrics, Iterable):
        raise ArgumentError(f"metrics: got {validate.shown(metrics)}; allowed: {_METRICS}")
    found = tuple(metrics)
    for metric in found:
        if not isinstance(metric, Metric):
            raise ArgumentError(f"metrics: got {validate.shown(metric)} among them; allowed: {_METRICS}")
    names = [_checked_name(metric) for metric in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ArgumentError(f"metrics: got two that are called {twice!r}; allowed: each name once")
    return found


def _checked_name(metric: Metric) -> str:
    """Return a metric's name, which is that of a column in logs and of a quantity in the history."""
    name = metric.name
    usual = isinstance(name, str) and name and not set(name) & set(',"\r\n') and not name.startswith("val_")
    if not usual or name in _TAKEN:
        raise ArgumentError(
            f"metrics: got one that is called {name!r}; allowed: a name without commas, quotes and line breaks that"
            f" does not begin with val_, and none of {', '.join(_TAKEN)}"
        )
    return name


def _parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """Return what a function takes, None if that is not known."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some functions written in C
        return None


def check_fit(trainer: Any, fits: bool, validates: bool) -> None:
    """Refuse a `fit` within or beside another one, as both count the same epochs, and methods that it does not call."""
    if fits:
        raise ArgumentError(
            "fit: got a call while a fit of this Trainer is under way; allowed: after it, a Trainer of its own, or"
            " train_step and evaluate"
        )
    if not is_ours(trainer.train_step):
        raise ArgumentError(
            f"fit: got a call of {type(trainer).__name__}, whose own train_step it does not do; allowed: a loop that"
            " calls it, or a loss, an optimizer or callbacks that do what it adds"
        )
    if validates and not is_ours(trainer.evaluate):
        raise ArgumentError(
            f"fit: got validation data for a {type(trainer).__name__}, whose own evaluate it does not call; allowed: a"
            " callback that calls it in on_epoch_end, or metrics that measure what it adds"
        )


def check_restore(within: bool) -> None:
    """Refuse a state in the midst of the steps of a `fit`, whose next would be of this epoch, not of the state's."""
    if within and not is_asking():
        raise ArgumentError(
            "restore: got a call while an epoch of fit is under way; allowed: before fit, after it, or from"
            " on_train_begin, on_epoch_end, on_divergence or on_train_end of a callback"
        )


def _instance(kind: Any, name: str, allowed: str) -> Callable[[Any], Any]:
    return partial(validate.instance, kind=kind, name=name, allowed=allowed)


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "model": checked_trained,
    "loss": checked_loss,
    "schedule": checked_schedule,
    "callbacks": checked_callbacks,
    "metrics": checked_metrics,
    "clip": _instance(Clip | None, "clip", "None, ClipValue(1.0), ClipNorm(1.0), ClipGlobalNorm(1.0)"),
    "accumulate": partial(validate.at_least_one, name="accumulate"),
    "seed": random.checked_seed,
    "step": partial(validate.at_least, minimum=0, name="step"),
    "epoch": partial(validate.at_least, minimum=0, name="epoch"),
    "history": _instance(History, "history", "a fastconv.History, such as History()"),
    "parallel": _instance(DataParallel | None, "parallel", "None, or fastconv.parallel.DataParallel(...)"),
}
"""What checks each attribute of a `Trainer`, but for the optimizer, which must be one of its model."""
