"""Which parameters are frozen: set for all or none of a layer, and noticed by what depends on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from fastconv.nn.core.parameter import Buffer, Parameter

_state: object = object()


def freezing_state() -> object:
    """Return what is another object whenever a parameter of any model was frozen or unfrozen; no copy is equal."""
    return _state


def set_frozen(parameters: Iterable[Parameter], frozen: bool) -> None:
    """Freeze parameters, or let them be trained again: all, or none where it is interrupted."""
    before = [(parameter, parameter.is_frozen) for parameter in parameters]
    try:
        _note_change()
        for parameter, _ in before:
            parameter.set_frozen(frozen)
    except BaseException:
        for parameter, was in before:
            parameter.set_frozen(was)
        raise
    finally:
        _note_change()


def frozen_names(tensors: Mapping[str, Buffer]) -> list[str]:
    """Return the names of those that are frozen."""
    return [name for name, tensor in tensors.items() if isinstance(tensor, Parameter) and tensor.is_frozen]


def freeze_only(tensors: Mapping[str, Buffer], names: Collection[str]) -> None:
    """Freeze those parameters that have these names, and no others."""
    parameters = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Parameter)}
    set_frozen((parameter for name, parameter in parameters.items() if name in names), True)
    set_frozen((parameter for name, parameter in parameters.items() if name not in names), False)


def _note_change() -> None:
    global _state
    _state = object()
