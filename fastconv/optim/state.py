"""What the next step of an optimizer depends on: its settings, and state by the names of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fastconv._attributes import Declared
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import CheckpointError
from fastconv.kernels.scalars import Scalar
from fastconv.kernels.update_rules import UpdateRule
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.undo import Snapshot
from fastconv.optim.groups import Group
from fastconv.optim.regions import Region, by_name, check_form, check_tensors

_HERE = ("_regions", "_pieces", "_frozen", "_freezing", "backend", "_step", "_done", "_rates", "_rate_of")
_PLACES = frozenset((*_HERE, "_rates_there", "_captured"))


class Stated(Declared):
    """The settings of an optimizer and its arrays of state: given, taken, copied and put back."""

    by_class: ClassVar[frozenset[str]] = frozenset(("step", "apply", "update", "prepare_gradients", "settings"))
    rule: ClassVar[UpdateRule]
    """What a step does; `_update` and `settings` of a class without one say it themselves."""
    state_names: tuple[str, ...] = ()
    """The arrays of state, each as large as the parameters: those of the rule that the settings need."""
    scalars: ClassVar[tuple[Scalar, ...]] = ()
    """What is set, for all or for a group: that of the rule."""
    backend: Backend
    groups: tuple[Group, ...]
    parameters: tuple[Parameter, ...]
    steps: int
    lr: float
    _regions: list[Region]
    _states: list[dict[str, Array]]
    _done: Array

    def _settle(self) -> None:
        """Take the arrays that kernels read, where the parameters are."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any] | None:
        """Return the hyperparameters but the learning rate: all that decides what a step does beside its arrays.

        Who defines `_update` anew defines this along with it, and computes on the backend alone; else the update runs
        as it is in each step, and is not captured.

        Returns
        -------
        dict or None
            By name; those of groups with settings of their own as "groups". None if they are not known.
        """
        settings = {setting.name: getattr(self, setting.name) for setting in self.scalars}
        groups = {"groups": [dict(group.own) for group in self.groups]} if any(g.own for g in self.groups) else {}
        return settings | groups

    def settings_in(self, group: Group) -> dict[str, Any]:
        """Return the settings that hold in a group.

        Parameters
        ----------
        group : Group
            One of `groups`.

        Returns
        -------
        dict
            By name: its own, and for the rest those of all.
        """
        return {setting.name: getattr(self, setting.name) for setting in self.scalars} | group.own

    def _state_of(self, group: Group) -> tuple[str, ...]:
        """Return the names of the arrays that a group needs."""
        rule: UpdateRule | None = getattr(type(self), "rule", None)
        return self.state_names if rule is None else rule.state_for(self.settings_in(group))

    def _state_arrays(self) -> list[Array]:
        """Return its own arrays of state."""
        return [array for state in self._states for array in state.values()]

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, beside the parameters and the settings.

        Returns
        -------
        dict
            ``{"kind", "steps", "lr", "settings", "tensors"}``; tensors are NumPy's, called ``"velocity/0.weight"``.
            With groups, "groups" has the learning rate of each that has one of its own, or the state of its schedule.
        """
        tensors = self._tensors()
        state: dict[str, Any] = {"kind": type(self).__name__, "steps": self.steps, "lr": self.lr}
        state |= {"settings": self.settings(), "tensors": tensors}
        if len(self.groups) > 1 or self.groups[0].lr is not None:
            state["groups"] = [group.state_dict() for group in self.groups]
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state that `state_dict` gave; the hyperparameters, but for learning rates, stay as they are.

        Parameters
        ----------
        state : mapping
            What `state_dict` gave.

        Raises
        ------
        CheckpointError
            It is that of another kind of optimizer, or of other parameters or groups; nothing is changed.
        """
        self.check_state(state)
        tensors, steps = state["tensors"], int(state["steps"])
        before, kept = (self.snapshot(), self.steps, self.lr), [group.state_dict() for group in self.groups]
        try:
            self.lr = float(state["lr"])
            self._take(tensors)
            for group, values in zip(self.groups, state.get("groups", kept), strict=True):
                group.load_state_dict(values)
            self._done[0] = steps
            self.steps = steps
        except BaseException:
            before[0].put_back()
            self.steps, self.lr = before[1:]
            for group, values in zip(self.groups, kept, strict=True):
                group.load_state_dict(values)
            raise

    def snapshot(self) -> Snapshot:
        """Return the present values of the arrays of state.

        Returns
        -------
        Snapshot
            Which can put them back.
        """
        return Snapshot(self.backend, [self._done, *self._state_arrays()])

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle what decides the next step; the parameters are copied with their model."""
        kept = {name: value for name, value in vars(self).items() if name not in _PLACES}
        kept["_states"] = [(name, its, np.array(self.backend.to_numpy(view))) for name, its, view in self._views()]
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._settle()
        values: Any = self._states  # by parameter: the arenas of the copy may have another order than those at first
        self._states = self._new_states()
        kept = {(name, parameter): array for name, parameter, array in values}
        for name, parameter, view in self._views():
            self.backend.copy(self.backend.asarray(kept[name, parameter]), out=view)

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Refuse a state that `load_state_dict` cannot take.

        Parameters
        ----------
        state : mapping
            What `state_dict` gave.

        Raises
        ------
        CheckpointError
            It is that of something else.
        """
        check_form(state, type(self).__name__)
        groups = len(state.get("groups", self.groups))
        if groups != len(self.groups):
            raise CheckpointError(f"state: got that of {groups} groups; allowed: that of {len(self.groups)}")
        check_tensors(state["tensors"], {key: parameter for key, (parameter, _) in self._named_views().items()})

    def _tensors(self) -> dict[str, np.ndarray]:
        """Return copies of its own state on the host, by their names in a state."""
        return {key: np.array(self.backend.to_numpy(view)) for key, (_, view) in self._named_views().items()}

    def _take(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Take its own state from tensors that were checked."""
        for key, (_, view) in self._named_views().items():
            values = self.backend.asarray(tensors[key], view.dtype)
            self.backend.copy(values.reshape(view.shape), out=view)

    def _named_views(self) -> dict[str, tuple[Parameter, Array]]:
        """Return each parameter and its part of the state by the name of that, ``"velocity/0.weight"``."""
        return by_name((f"{name}/{parameter.name}", (parameter, view)) for name, parameter, view in self._views())

    def _views(self) -> list[tuple[str, Parameter, Array]]:
        """Return the name of the state, the parameter, and its part of the state."""
        needs = {parameter: self._state_of(group) for group in self.groups for parameter in group.parameters}
        return [
            (name, parameter, region.view(state[name], parameter))
            for region, state in zip(self._regions, self._states, strict=True)
            for name in self.state_names
            for parameter in region.parameters
            if name in needs[parameter]
        ]

    def _new_states(self) -> list[dict[str, Array]]:
        """Return the arrays of state as they are at first, for each region."""
        return [{name: self._first(name, region) for name in self.state_names} for region in self._regions]

    def _first(self, name: str, region: Region) -> Array:
        initial = dict(self.rule.initial).get(name) if hasattr(type(self), "rule") else None
        if initial is None:
            return region.filled([])
        return region.filled([(group.parameters, self.settings_in(group)[initial.name]) for group in self.groups])
