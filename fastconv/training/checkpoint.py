"""All that going on with a training needs, in one file, written and taken all or nothing.

That is: weights, which of them are frozen, and running statistics; the state of the optimizer, of the schedule and of
the callbacks, as far as they have any; the counters and the history; and, within an epoch, which batches are done and
what was summed over them.
What else decides the coming steps (order, augmentation, dropout) depends on the seed, the epoch and the step alone.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np

from fastconv.errors import ArgumentError, CheckpointError, FastconvError
from fastconv.losses import Loss
from fastconv.metrics import Metric
from fastconv.nn.core.freezing import freeze_only, frozen_names
from fastconv.nn.core.undo import Snapshot, arenas_of, touch_all
from fastconv.nn.model.model import Layer
from fastconv.nn.model.weights import check_fit, host_tensors, read_tensors, set_tensors, write_tensors
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.schedules import Schedule
from fastconv.parallel.data_parallel import DataParallel
from fastconv.training.callbacks import Callback
from fastconv.training.history import History
from fastconv.training.position import Position
from fastconv.training.totals import Totals


class Resumable(Protocol):
    """What is read and set of a `Trainer`; its attributes are described there."""

    model: Layer
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule | None
    callbacks: tuple[Callback, ...]
    metrics: tuple[Metric, ...] | None
    history: History
    step: int
    epoch: int
    seed: int
    stop: bool
    parallel: DataParallel | None
    position: Mapping[str, Any] | None


KIND = "training state"
_COUNTERS = ("step", "epoch", "seed", "stop")
_PACKED = ("optimizer", "parts", "position")
_SAVER = "saver"  # a callback that writes files: without it training goes on the same way
_TENSOR = "$tensor"  # stands in the place of an array, with its name in the file


def write_state(trainer: Resumable, path: str | os.PathLike[str]) -> None:
    """Write the state of `trainer`, in an epoch or between two; OutputError leaves what was there before."""
    tensors = {f"model/{name}": array for name, array in host_tensors(trainer.model).items()}
    parts = {name: part.state_dict() for name, part in _parts_of(trainer).items()}
    state = {
        "optimizer": _renamed(trainer.optimizer.state_dict(), _names_here(trainer.model)),
        "parts": {name: part for name, part in parts.items() if part},
        "position": trainer.position,
    }
    packed = {name: _pack(part, name, tensors) for name, part in state.items()}
    counters = {name: getattr(trainer, name) for name in _COUNTERS}
    counters["frozen"] = frozen_names(trainer.model.named_tensors())
    counters["shards"] = _shards(trainer)
    write_tensors(path, tensors, {"kind": KIND, **counters, "history": trainer.history.history, **packed})


def read_state(trainer: Resumable, path: str | os.PathLike[str]) -> None:
    """Give `trainer` the state that `write_state` wrote; CheckpointError leaves it as it is."""
    tensors, metadata = read_tensors(path, kind=KIND)
    weights = {name.removeprefix("model/"): a for name, a in tensors.items() if name.startswith("model/")}
    check_fit(path, weights, trainer.model.named_tensors())
    file = os.fspath(path)
    _check_shards(file, metadata.get("shards"), _shards(trainer))
    try:
        optimizer, states, frozen, values = _stated(trainer, metadata, tensors)
    except KeyError as error:
        raise CheckpointError(
            f"path: got {file!r}, a state without {error.args[0]!r}; allowed: one that this version of fastconv wrote"
        ) from error
    except FastconvError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"path: got {file!r}, whose state cannot be read ({error}); allowed: one that this version of fastconv"
            " wrote"
        ) from error
    try:
        trainer.optimizer.check_state(optimizer)
    except CheckpointError as error:
        raise CheckpointError(f"path: got {file!r}, which does not fit the optimizer; {error}") from error
    parts = _parts_of(trainer)
    missing = [name for name in states if name not in parts and not name.startswith(_SAVER)]
    if missing:
        raise CheckpointError(
            f"path: got {file!r}, with the state of a {missing[0]}; allowed: that of what the trainer has,"
            f" {', '.join(parts) or 'neither schedule nor callbacks with a state'}"
        )
    stated = [
        (trainer.optimizer, optimizer),
        *((parts[name], state) for name, state in states.items() if name in parts),
    ]
    _take(trainer, weights, frozen, stated, values)


def _stated(
    trainer: Resumable, metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> tuple[Any, Mapping[str, Any], list[str], dict[str, Any]]:
    """Return what a file says: the states of the optimizer and of parts, what is frozen, and the trainer's values."""
    optimizer, states, position = (_unpack(metadata[name], tensors) for name in _PACKED)
    optimizer = _renamed(optimizer, {here: name for name, here in _names_here(trainer.model).items()})
    values = {name: metadata[name] for name in _COUNTERS}
    values["history"] = History({name: [float(each) for each in of] for name, of in metadata["history"].items()})
    values["position"] = position
    if position is not None:  # is it one of these metrics?
        totals = Totals(trainer.model.backend, trainer.loss, trainer.metrics)
        Position(totals, position["batches"]).load_state_dict(position)
    frozen = [str(name) for name in metadata.get("frozen", ())]
    if unknown := set(frozen).difference(trainer.model.named_tensors()):
        raise ValueError(f"it froze {min(unknown)!r}, which the model has not")
    return optimizer, states, frozen, values


def _names_here(model: Layer) -> dict[str, str]:
    """Return the names that tensors have in this model, where their layers were built into another one since."""
    return {tensor.name: name for name, tensor in model.named_tensors().items() if tensor.name != name}


def _renamed(state: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the state of an optimizer with other names of parameters, which stand behind the last slash."""
    if not names:
        return state
    parted = ((key.rpartition("/"), array) for key, array in state["tensors"].items())
    tensors = {f"{kind}/{names.get(name, name)}": array for (kind, _, name), array in parted}
    return {**state, "tensors": tensors}


def _shards(trainer: Resumable) -> int | None:
    return None if trainer.parallel is None else trainer.parallel.saved_shards


def _check_shards(file: str, saved: int | None, own: int | None) -> None:
    """Refuse the state of a training whose batches were cut otherwise, as going on would give other bits."""
    if saved != own:
        then, now = ("a training in one piece" if each is None else f"one by {each} shards" for each in (saved, own))
        right = "without logical shards" if saved is None else f"DataParallel(shards={saved}), on any number of ranks"
        raise CheckpointError(
            f"path: got {file!r}, the state of {then}, for {now}; allowed: a trainer with {right}"
            " (load_weights takes the weights of any)"
        )


def _take(
    trainer: Resumable,
    weights: Mapping[str, np.ndarray],
    frozen: Collection[str],
    stated: list[tuple[Any, Any]],
    values: Mapping[str, Any],
) -> None:
    """Set everything, or put back what was set when something goes wrong."""
    before = {name: getattr(trainer, name) for name in values}
    states_before = [(part, part.state_dict()) for part, _ in stated]
    named = trainer.model.named_tensors()
    tensors_before, frozen_before = trainer.model.tensors(), frozen_names(named)
    arrays = Snapshot(trainer.model.backend, arenas_of(tensors_before))
    try:
        set_tensors(trainer.model, weights)
        freeze_only(named, frozen)
        for part, state in stated:
            part.load_state_dict(state)
        for name, value in values.items():
            setattr(trainer, name, value)
    except BaseException:
        arrays.put_back()
        touch_all(tensors_before)
        freeze_only(named, frozen_before)
        for part, state in states_before:
            part.load_state_dict(state)
        for name, value in before.items():
            setattr(trainer, name, value)
        raise


def _parts_of(trainer: Resumable) -> dict[str, Any]:
    """Return what can have a state beside the optimizer, by a name that tells its class and which one it is."""
    found: dict[str, Any] = {}
    for kind, members in (("schedule", (trainer.schedule,)), ("callback", trainer.callbacks)):
        for part in members:
            if hasattr(part, "state_dict") and hasattr(part, "load_state_dict"):
                name = f"{_SAVER if getattr(part, 'saves', False) else kind} {type(part).__name__}"
                count = sum(other.split(" no. ")[0] == name for other in found)
                found[f"{name} no. {count + 1}" if count else name] = part
    return found


def _pack(value: Any, place: str, tensors: dict[str, np.ndarray]) -> Any:
    """Return `value` with its arrays moved to `tensors`, under their place in it."""
    if isinstance(value, np.ndarray):
        tensors[place] = value
        return {_TENSOR: place}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {_checked_key(key, place): _pack(each, f"{place}/{key}", tensors) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(each, f"{place}/{number}", tensors) for number, each in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ArgumentError(
        f"state_dict: got {type(value).__name__} for {place}; allowed: numbers, strings, None, NumPy arrays, and lists"
        " and dicts of them"
    )


def _checked_key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise ArgumentError(f"state_dict: got the key {key!r} in {place}; allowed: strings")
    return key


def _unpack(value: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    """Return what `_pack` was given; a tuple has become a list."""
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {key: _unpack(each, tensors) for key, each in value.items()}
    if isinstance(value, list):
        return [_unpack(each, tensors) for each in value]
    return value
