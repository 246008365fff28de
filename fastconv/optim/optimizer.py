"""What all optimizers share: one kernel a group over the flat arenas, and state by the names of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Declared, settings_of
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import CheckpointError
from fastconv.kernels.scalars import Scalar
from fastconv.kernels.update_rules import Update, UpdateRule
from fastconv.nn.core.freezing import freezing_state
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.undo import Snapshot, kept_unless_done
from fastconv.optim.groups import Group, Trained, checked_groups, group_repr
from fastconv.optim.habits import ARGUMENT_HABITS, HABITS
from fastconv.optim.regions import Region, check_tensors, check_trained, regions, trained
from fastconv.precision import get_precision

_HERE = ("_regions", "_pieces", "_frozen", "_freezing", "backend", "_step", "_done", "_rates", "_rate_of")
_PLACES = frozenset((*_HERE, "_rates_there", "_captured"))


class Optimizer(Declared):
    """Base class of optimizers.

    A copy, and what was pickled, goes on with copies of the parameters: copy it together with its model, in one call.

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        ``model.parameters()``, or some of them: only these are trained. Or groups with settings of their own:
        ``[{"params": [...], "lr": 0.01, "weight_decay": 0.0}, {"params": [...]}]``. The rate of a group is a number or
        a schedule, a function of the number of the step, counted from 0; groups that have none have `lr`. A group is
        one launch.
    lr : float
        Learning rate; may be set at any time.

    Attributes
    ----------
    groups : tuple of Group
    epoch : int
        What schedules of groups that go by epochs are called with; `Trainer` sets it.

    Examples
    --------
    >>> layer = fc.nn.Dense(2).build((3,))
    >>> optimizer = fc.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    >>> optimizer.lr = 0.05
    >>> optimizer.step()
    >>> optimizer.steps, sorted(optimizer.state_dict()["tensors"])
    (1, ['velocity/bias', 'velocity/weight'])
    """

    rule: ClassVar[UpdateRule]
    """What a step does; `_update` and `settings` of a class without one say it themselves."""
    state_names: tuple[str, ...] = ()
    """The arrays of state, each as large as the parameters: those of the rule that the settings need."""
    scalars: ClassVar[tuple[Scalar, ...]] = ()
    """What is set, for all or for a group: that of the rule."""
    backend: Backend
    habits: ClassVar[Mapping[str, str]] = HABITS
    argument_habits: ClassVar[Mapping[str, str]] = ARGUMENT_HABITS

    def __init__(self, parameters: Trained, lr: float) -> None:
        self.groups = checked_groups(parameters, type(self), self.scalars)
        self.parameters = tuple(parameter for group in self.groups for parameter in group.parameters)
        self.steps = self.epoch = 0
        self.lr = lr
        for group in self.groups:
            self.check(self.settings_in(group))
        needed = {name for group in self.groups for name in self._state_of(group)}
        self.state_names = tuple(name for name in type(self).state_names if name in needed)
        self._settle()
        self._states = self._new_states()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "rule" in vars(cls):
            cls.state_names = vars(cls).get("state_names", cls.rule.state)
            cls.scalars = vars(cls).get("scalars", cls.rule.scalars)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings of a group that do not go together."""

    def _settle(self) -> None:
        """Take the arrays that kernels read, where the parameters are."""
        self._regions = regions(self.parameters)
        self._freezing: object = None
        self._heed_frozen()
        self.backend = self._regions[0].arena.backend
        self._step, self._done = (self.backend.asarray(np.full(1, self.steps, np.int64)) for _ in range(2))
        self._rates = self.backend.asarray(np.full(len(self.groups), self._lr))
        self._rate_of = [self._rates[i : i + 1] for i in range(len(self.groups))]
        self._rates_there: list[float] | None = None  # unknown
        self._captured: tuple[tuple[Any, ...], Callable[[], bool] | None] | None = None

    def _heed_frozen(self) -> None:
        """Take what kernels read to leave frozen parameters alone; not while a step is captured."""
        state = freezing_state()
        if state is not self._freezing:
            self._pieces = self._find_pieces()
            self._frozen = tuple(parameter.is_frozen for parameter in self.parameters)
            self._freezing = state

    def _find_pieces(self) -> list[list[Array | None]]:
        return [[region.pieces(trained(group.parameters)) for region in self._regions] for group in self.groups]

    def _parts(self, number: int) -> Iterator[tuple[Region, dict[str, Array], Array | None]]:
        """Yield the regions where a group has something to train, with the arrays of state and the pieces there."""
        for region, state, pieces in zip(self._regions, self._states, self._pieces[number], strict=True):
            if pieces is None or len(pieces):
                yield region, state, pieces

    @property
    def lr(self) -> float:
        """The learning rate of all groups that have none of their own."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = validate.number(value, "lr", low=0)

    def rates(self) -> list[float]:
        """Return the learning rate of each group in the next step."""
        return [group.rate(self._lr, self.steps, self.epoch) for group in self.groups]

    def step(self) -> None:
        """Change the parameters by their gradients; those that got none have a gradient of zero, frozen ones stay.

        All of them or none, whatever interrupts it: see `apply`.

        Raises
        ------
        BackendMismatchError
            The model was moved to another backend since this optimizer was made.
        ArgumentError
            The model was built again since, or all parameters are frozen.
        """
        self.apply(self._update_whole)

    def apply(self, change: Callable[[], bool]) -> bool:
        """Count a step and do it by `change`, which calls `update` or repeats it: both or neither.

        Whether it was done is written by its last kernel, so an interrupt just behind it is told from one just before.
        Return what `change` does: False if it did nothing, and the step is not counted.
        """
        self._heed_frozen()
        check_trained(self._frozen)
        return self._apply(change)

    def _apply(self, change: Callable[[], bool]) -> bool:
        self._check_home()
        self._heed_frozen()
        number = self.steps + 1
        try:
            self._set_numbers(number)
            self._touch()
            done = change()
            if done:
                self.steps = number
            self._touch()
        except BaseException:
            if self._is_done(number):
                self.steps = number
            self._touch()
            raise
        return done

    def _set_numbers(self, number: int) -> None:
        """Write the step's number and the learning rates to where kernels read them, captured ones too."""
        rates = self.rates()
        self._step[0] = number
        if self._rates_there != rates:
            self._rates_there = None  # unknown, if an interrupt comes now
            for i, rate in enumerate(rates):
                self._rates[i] = rate
            self._rates_there = rates

    def _touch(self) -> None:
        for parameter in self.parameters:
            if not parameter.is_frozen:
                parameter.touch()

    def _is_done(self, number: int) -> bool:
        """Tell whether `update` came to its end in the step of this number; waits for the device."""
        return int(self.backend.to_numpy(self._done)[0]) == number

    def arrays(self) -> list[Array]:
        """Return the arrays that `update` reads or writes, but for the gradients."""
        self._heed_frozen()
        return [self._rates, self._step, *self._state_arrays(), *(region.arena.data for region in self._regions)]

    def changed(self) -> list[Array]:
        """Return the arrays that `update` writes."""
        return [self._done, *self._state_arrays(), *(region.data for region in self._regions)]

    def _state_arrays(self) -> list[Array]:
        """Return its own arrays of state."""
        return [array for state in self._states for array in state.values()]

    @property
    def rate_array(self) -> Array:
        """The learning rate of its first group, where kernels read it."""
        return self._rate_of[0]

    def prepare_gradients(self) -> None:
        """Do what changes gradients before they are limited; `update` does it as well."""

    def quantities(self) -> dict[str, float]:
        """Return what there is to tell of it behind each epoch, by names for the history."""
        return {}

    def update(self) -> None:
        """Run the kernels of a step; what `apply` calls, or captures and repeats."""
        for parameter in self.parameters:
            parameter.complete_grad()
        for number in range(len(self.groups)):
            self._update_group(number)
        self.backend.copy(self._step, out=self._done)

    def _update_group(self, number: int) -> None:
        """Run the kernels of the group with this number."""
        group, rate = self.groups[number], self._rate_of[number]
        names, whole = self._state_of(group), type(self)._update is Optimizer._update
        for region, state, pieces in self._parts(number):
            mine = {name: state[name] for name in names}
            if whole:
                numbers = {"lr": rate, "step": self._step, "pieces": pieces}
                self.backend.update(self._rule_for(group), region.data, region.grad, mine, **numbers)
                continue
            for begin, end in region.ranges(trained(group.parameters)):
                part = {name: array[begin:end] for name, array in mine.items()}
                self._update(region.data[begin:end], region.grad[begin:end], part, rate, self._step)

    def _rule_for(self, group: Group) -> Update:
        settings = self.settings_in(group)
        return self.rule(*(settings[setting.name] for setting in self.rule.settings))

    def _state_of(self, group: Group) -> tuple[str, ...]:
        """Return the names of the arrays that a group needs."""
        rule: UpdateRule | None = getattr(type(self), "rule", None)
        return self.state_names if rule is None else rule.state_for(self.settings_in(group))

    def _update_whole(self) -> bool:
        return (self._captured_update() or self._guarded_update)()

    def _captured_update(self) -> Callable[[], bool] | None:
        """Return `update` as one call that nothing interrupts, or None where there is none."""
        declared = settings_of(self) if self.backend.captures else None
        if declared is None:
            return None
        for parameter in self.parameters:
            parameter.complete_grad()
        settings = (self.backend.num_threads, get_precision(), self._frozen, *declared.values())
        if self._captured is None or self._captured[0] != settings:
            self._captured = None
            self._captured = settings, self.backend.capture(self.update)
        return self._captured[1]

    def _guarded_update(self) -> bool:
        """Do `update`, or put back what it had changed when it was interrupted."""
        with kept_unless_done(self.backend, self.changed()):
            self.update()
        return True

    def __repr__(self) -> str:
        own = {"lr": self.lr, **(self.settings() or {})}
        numbers = ", ".join(f"{name}={value}" for name, value in own.items() if name != "groups")
        return f"{type(self).__name__}({len(self.parameters)} parameters, {numbers}{group_repr(self.groups)})"

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def _update(self, data: Array, grad: Array, state: Mapping[str, Array], lr: Array, step: Array) -> None:
        """Update one flat piece: for those who define it anew, to compute with arrays themselves."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any] | None:
        """Return the hyperparameters but the learning rate: all that decides what a step does beside its arrays.

        Those of groups with settings of their own follow as "groups". Who defines `_update` anew defines this along
        with it, and computes on the backend alone; else the update runs as it is in each step, and is not captured.
        """
        settings = {setting.name: getattr(self, setting.name) for setting in self.scalars}
        groups = {"groups": [dict(group.own) for group in self.groups]} if any(g.own for g in self.groups) else {}
        return settings | groups

    def settings_in(self, group: Group) -> dict[str, Any]:
        """Return the settings that hold in a group."""
        return {setting.name: getattr(self, setting.name) for setting in self.scalars} | group.own

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, beside the parameters and the settings.

        ``{"kind", "steps", "lr", "settings", "tensors"}``; tensors are NumPy's, called ``"velocity/0.weight"``. With
        groups, "groups" has the learning rate of each that has one of its own, or the state of its schedule.
        """
        tensors = {
            f"{name}/{parameter.name}": np.array(self.backend.to_numpy(view)) for name, parameter, view in self._views()
        }
        state: dict[str, Any] = {"kind": type(self).__name__, "steps": self.steps, "lr": self.lr}
        state |= {"settings": self.settings(), "tensors": tensors}
        if len(self.groups) > 1 or self.groups[0].lr is not None:
            state["groups"] = [group.state_dict() for group in self.groups]
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state that `state_dict` gave; the hyperparameters, but for learning rates, stay as they are.

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
            for name, parameter, view in self._views():
                values = self.backend.asarray(tensors[f"{name}/{parameter.name}"], view.dtype)
                self.backend.copy(values.reshape(view.shape), out=view)
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
        """Return the present values of the arrays of state."""
        return Snapshot(self.backend, [self._done, *self._state_arrays()])

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle what decides the next step; the parameters are copied with their model."""
        kept, copied = {name: value for name, value in vars(self).items() if name not in _PLACES}, self.backend.to_numpy
        kept["_states"] = [{name: copied(array).copy() for name, array in state.items()} for state in self._states]
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._settle()
        values = self._states
        self._states = self._new_states()
        for mine, kept in zip(self._states, values, strict=True):
            for name, array in mine.items():
                self.backend.copy(self.backend.asarray(kept[name]), out=array)

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Refuse a state that `load_state_dict` cannot take."""
        kind = type(self).__name__
        if state["kind"] != kind:
            raise CheckpointError(f"state: got that of {state['kind']}; allowed: that of {kind}")
        groups = len(state.get("groups", self.groups))
        if groups != len(self.groups):
            raise CheckpointError(f"state: got that of {groups} groups; allowed: that of {len(self.groups)}")
        wanted = {f"{name}/{parameter.name}": parameter for name, parameter, _ in self._views()}
        check_tensors(state["tensors"], wanted)

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

    def _check_home(self) -> None:
        for region in self._regions:
            region.check_home(self.backend)
