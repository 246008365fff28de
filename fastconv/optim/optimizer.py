"""What all optimizers share: one kernel a group over the flat arenas, and state by the names of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import fixed, is_ours, is_strange, settings_of
from fastconv._calls import tells_habits
from fastconv.backends.contract.types import Array
from fastconv.kernels.update_rules import Update
from fastconv.nn.core.freezing import freezing_state
from fastconv.nn.core.undo import kept_unless_done
from fastconv.optim.groups import Group, Trained, checked_groups, checked_own, group_repr
from fastconv.optim.habits import ABSENT, ARGUMENT_HABITS, HABITS
from fastconv.optim.regions import Region, check_trained, regions, trained
from fastconv.optim.state import Stated
from fastconv.precision import get_precision

_NO_CLOSURE = "step() after model.backward(...), which writes the gradients"
_SETTLED = ("parameters", "groups", "state_names", "backend")
_COUNTED = ("steps", "epoch")


class Optimizer(Stated):
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

    habits: ClassVar[Mapping[str, str]] = HABITS
    argument_habits: ClassVar[Mapping[str, str]] = ARGUMENT_HABITS
    absent: ClassVar[Mapping[str, str]] = ABSENT
    adjusted: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """Settings beside the `scalars` that may be set at any time, with their checks."""

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

    def _new_value(self, name: str, value: Any) -> Any:
        if name in _COUNTED:
            return validate.at_least(value, 0, name)
        if name == "lr":  # checked by its setter
            return value
        if name in self.adjusted:
            return self.adjusted[name](value)
        scalar = next((scalar for scalar in self.scalars if scalar.name == name), None)
        if scalar is None:
            if name in _SETTLED or (is_ours(type(self)) and name in vars(self)):
                raise fixed(self, name, f"a new {type(self).__name__}")
            return value
        value = validate.scalar(value, scalar)
        for group in self.groups:
            self._check_goes({**self.settings_in(group), **({} if name in group.own else {name: value})}, name, value)
        return value

    def _check_goes(self, settings: Mapping[str, Any], name: str, value: Any) -> None:
        """Refuse a new value that does not go with the other settings of a group, or with the state that there is."""
        self.check(settings)
        if not set(self.rule.state_for(settings) if hasattr(self, "rule") else ()) <= set(self.state_names):
            raise fixed(self, name, f"a new {type(self).__name__} with {name}={value!r}, which has the state for it")

    def _check_groups(self) -> None:
        """Refuse settings that groups got since this was made, and that no step can be done with."""
        for i, group in enumerate(self.groups):
            if group.own:
                where = f"groups[{i}].own"
                group.own.update(checked_own(group.own, where, self.scalars, type(self)))
                self._check_goes(self.settings_in(group), where, group.own)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings of a group that do not go together.

        Parameters
        ----------
        settings : mapping of str to float or bool
            As `settings_in` gives them.
        """

    def _settle(self) -> None:
        """Take the arrays that kernels read, where the parameters are."""
        self._regions = regions(self.parameters)
        self._freezing: object = None
        self._heed_frozen()
        vars(self)["backend"] = self._regions[0].arena.backend  # not for others to set
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
        """Return the learning rate of each group in the next step.

        Returns
        -------
        list of float
            In the order of the groups.
        """
        return [group.rate(self._lr, self.steps, self.epoch) for group in self.groups]

    @tells_habits(dict.fromkeys(("closure", "loss"), _NO_CLOSURE), _NO_CLOSURE)
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
        """Count a step and do it: both or neither.

        Whether it was done is written by its last kernel, so an interrupt just after it is told from one just before.

        Parameters
        ----------
        change : callable
            Calls `update` or repeats it; returns False if it did nothing.

        Returns
        -------
        bool
            What `change` returned; of False the step is not counted.
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
        """Return the arrays that `update` reads or writes, but for the gradients.

        Returns
        -------
        list of array
            The same ones as long as the parameters stay where they are.
        """
        self._heed_frozen()
        return [self._rates, self._step, *self._state_arrays(), *(region.arena.data for region in self._regions)]

    def changed(self) -> list[Array]:
        """Return the arrays that `update` writes.

        Returns
        -------
        list of array
            Parameters, state, and the count of what was done.
        """
        return [self._done, *self._state_arrays(), *(region.data for region in self._regions)]

    @property
    def rate_array(self) -> Array:
        """The learning rate of its first group, where kernels read it."""
        return self._rate_of[0]

    def all_within(self) -> Iterator[Optimizer]:
        """Yield it, and then those that do its steps, where it goes around others.

        Yields
        ------
        Optimizer
            Each before those within it.
        """
        yield self

    def prepare_gradients(self) -> None:
        """Do what changes gradients before they are limited; `update` does it as well."""

    def quantities(self) -> dict[str, float]:
        """Return what there is to tell of it after each epoch.

        Returns
        -------
        dict of str to float
            By names for the history; {} by default.
        """
        return {}

    def update(self) -> None:
        """Run the kernels of a step; what `apply` calls, or captures and repeats."""
        self._check_groups()
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

    def _update_whole(self) -> bool:
        captured = self._captured_update()
        return (captured is not None and captured()) or self._guarded_update()

    def _captured_update(self) -> Callable[[], bool] | None:
        """Return `update` as one call that nothing interrupts, or None where there is none."""
        known = self.backend.captures and not any(map(is_strange, self.all_within()))
        declared = settings_of(self) if known else None
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
        kept_unless_done(self.backend, self.changed(), self.update)
        return True

    def __repr__(self) -> str:
        own = {"lr": self.lr, **(self.settings() or {})}
        numbers = ", ".join(f"{name}={value}" for name, value in own.items() if name != "groups")
        return f"{type(self).__name__}({len(self.parameters)} parameters, {numbers}{group_repr(self.groups)})"

    @tells_habits(dict.fromkeys(("set_to_none",), "nothing: gradients are forgotten, not filled"), "zero_grad()")
    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def _update(self, data: Array, grad: Array, state: Mapping[str, Array], lr: Array, step: Array) -> None:
        """Update one flat piece: for those who define it anew, to compute with arrays themselves."""
        raise NotImplementedError

    def _check_home(self) -> None:
        for region in self._regions:
            region.check_home(self.backend)
