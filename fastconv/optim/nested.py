"""Optimizers made of optimizers: what they do is one step, counted, captured and undone as one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from fastconv import _validate as validate
from fastconv._attributes import settings_of
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.undo import Snapshot
from fastconv.optim.groups import Group
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.regions import Region, by_name, check_form, check_tensors, regions, trained

_INNER = "inner/"  # before the name of what one within calls as the one around it does: EMA(EMA(...))


class Nested(Optimizer):
    """Base class: does the steps of its optimizers, and then what `after` says.

    Attributes
    ----------
    optimizers : tuple of Optimizer
    """

    _prunes: ClassVar[bool] = False
    """Whether it keeps weights at zero, so that nothing but `Combined` may go around it."""

    def __init__(self, optimizers: tuple[Optimizer, ...]) -> None:
        for optimizer in optimizers:
            if not isinstance(optimizer, Optimizer):
                raise ArgumentError(
                    f"optimizer: got {validate.kind_of(optimizer)}; allowed: an optimizer, such as"
                    " fastconv.optim.SGD(model.parameters())"
                )
            if isinstance(optimizer, Nested) and optimizer.outermost and not isinstance(self, Combined):
                mine, others = type(self).__name__, type(optimizer).__name__
                if self._prunes:
                    raise ArgumentError(
                        f"optimizer: got {others}, which prunes already; allowed: one that does not, as in"
                        f" {mine}(SGD(...))"
                    )
                raise ArgumentError(
                    f"optimizer: got {others} with pruning, whose weights {mine} would move away from zero; allowed:"
                    f" Pruning({mine}(...))"
                )
        self.optimizers = optimizers
        self._settle()
        self._states = self._new_states()

    def _settle(self) -> None:
        self._regions = regions(self.parameters)
        vars(self)["backend"] = self.optimizers[0].backend
        self._freezing = None
        self._heed_frozen()
        self._step, self._done = self.optimizers[0]._step, self.optimizers[0]._done
        self._captured = None

    @property
    def parameters(self) -> tuple[Parameter, ...]:  # type: ignore[override]  # read from those inside, not set
        """Those of all its optimizers."""
        return tuple(parameter for optimizer in self.optimizers for parameter in optimizer.parameters)

    @property
    def groups(self) -> tuple[Group, ...]:  # type: ignore[override]  # read from those inside, not set
        """Those of all its optimizers."""
        return tuple(group for optimizer in self.optimizers for group in optimizer.groups)

    @property
    def steps(self) -> int:
        """How many steps were done."""
        return self.optimizers[0].steps

    @steps.setter
    def steps(self, value: int) -> None:
        for optimizer in self.optimizers:
            optimizer.steps = value

    @property
    def epoch(self) -> int:
        """What schedules that go by epochs are called with."""
        return self.optimizers[0].epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        for optimizer in self.optimizers:
            optimizer.epoch = value

    @property
    def lr(self) -> float:
        """The learning rate of the first of its optimizers."""
        return self.optimizers[0].lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.optimizers[0].lr = value

    def rates(self) -> list[float]:
        return [rate for optimizer in self.optimizers for rate in optimizer.rates()]

    def _find_pieces(self) -> list[list[Array | None]]:
        return [[region.pieces(trained(region.parameters)) for region in self._regions]]

    def _apply(self, change: Callable[[], bool]) -> bool:
        """Count a step in all its optimizers and do it by `change`."""
        self._heed_frozen()
        for optimizer in self.optimizers:
            change = functools.partial(optimizer._apply, change)
        return change()

    @property
    def outermost(self) -> bool:
        """Whether it, or one of its optimizers, is such that nothing but `Combined` may go around it."""
        inner = (optimizer.outermost for optimizer in self.optimizers if isinstance(optimizer, Nested))
        return self._prunes or any(inner)

    def all_within(self) -> Iterator[Optimizer]:
        yield self
        for optimizer in self.optimizers:
            yield from optimizer.all_within()

    def prepare_gradients(self) -> None:
        """Do what changes gradients before they are limited."""
        for optimizer in self.optimizers:
            optimizer.prepare_gradients()

    def quantities(self) -> dict[str, float]:
        return {name: value for optimizer in self.optimizers for name, value in optimizer.quantities().items()}

    def update(self) -> None:
        """Run the kernels of a step."""
        for optimizer in self.optimizers:
            optimizer.update()
        self.after()

    def after(self) -> None:
        """Run the kernels that come after those of its optimizers."""

    def arrays(self) -> list[Array]:
        self._heed_frozen()
        return [*self._state_arrays(), *(array for optimizer in self.optimizers for array in optimizer.arrays())]

    def changed(self) -> list[Array]:
        return [*self._state_arrays(), *(array for optimizer in self.optimizers for array in optimizer.changed())]

    def settings(self) -> dict[str, Any] | None:
        inner = [settings_of(optimizer) for optimizer in self.optimizers]
        return None if None in inner else {**self.own_settings(), "optimizers": inner}

    def own_settings(self) -> dict[str, Any]:
        """Return what decides what `after` does beside its arrays.

        Returns
        -------
        dict
            Its own hyperparameters, by name.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return its own state, and that of its optimizers.

        Returns
        -------
        dict
            As of `Optimizer`, and "optimizers"; "tensors" holds those of all, ``"inner/average/0.weight"`` where one
            within calls them as this one does.
        """
        inner = [optimizer.state_dict() for optimizer in self.optimizers]
        own = self._tensors()
        tensors = by_name((_inside(key, own), array) for state in inner for key, array in state.pop("tensors").items())
        state: dict[str, Any] = {"kind": type(self).__name__, "steps": self.steps, "lr": self.lr}
        return state | {"settings": self.settings(), "optimizers": inner, "tensors": tensors | own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.check_state(state)
        own, before = self.snapshot(), [optimizer.state_dict() for optimizer in self.optimizers]
        try:
            self._take(state["tensors"])
            for optimizer, values in zip(self.optimizers, self._inner(state), strict=True):
                optimizer.load_state_dict(values)
        except BaseException:
            own.put_back()
            for optimizer, values in zip(self.optimizers, before, strict=True):
                optimizer.load_state_dict(values)
            raise

    def check_state(self, state: Mapping[str, Any]) -> None:
        check_form(state, type(self).__name__)
        count = len(state.get("optimizers", ()))
        if count != len(self.optimizers):
            raise CheckpointError(f"state: got that of {count} optimizers; allowed: that of {len(self.optimizers)}")
        wanted = {key: parameter for key, (parameter, _) in self._named_views().items()}
        check_tensors({key: array for key, array in state["tensors"].items() if key in wanted}, wanted)
        for optimizer, values in zip(self.optimizers, self._inner(state), strict=True):
            optimizer.check_state(values)

    def _inner(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the states of its optimizers, each with its tensors; those of nobody go to the first."""
        own = self._named_views()
        others = {key.removeprefix(_INNER): array for key, array in state["tensors"].items() if key not in own}
        result = []
        for optimizer, values in reversed([*zip(self.optimizers, state["optimizers"], strict=True)]):
            mine = others
            if optimizer is not self.optimizers[0]:
                names = {parameter.name for parameter in optimizer.parameters}
                mine = {key: array for key, array in others.items() if key.rpartition("/")[2] in names}
                others = {key: array for key, array in others.items() if key not in mine}
            result.append({**values, "tensors": mine})
        return result[::-1]

    def snapshot(self) -> Snapshot:
        _, *within = self.all_within()
        inner = [array for each in within for array in (each._done, *each._state_arrays())]
        return Snapshot(self.backend, [*self._state_arrays(), *inner])

    def __repr__(self) -> str:
        own = "".join(f", {name}={value}" for name, value in self.own_settings().items())
        return f"{type(self).__name__}({', '.join(map(repr, self.optimizers))}{own})"

    def _state_of(self, group: Group) -> tuple[str, ...]:
        return self.state_names

    @property
    def rate_array(self) -> Array:
        """The learning rate of the first group, where kernels read it."""
        return self.optimizers[0].rate_array

    def _check_home(self) -> None:
        for optimizer in self.optimizers:
            optimizer._check_home()

    def _first(self, name: str, region: Region) -> Array:
        """Return an array of state as it is at first: the parameters, and what lies between them."""
        return self.backend.copy_of(region.data)


def _inside(key: str, own: Mapping[str, Any]) -> str:
    """Return what an array of an optimizer within is called in the state of the one around it, which has `own`."""
    return f"{_INNER}{key}" if key in own or key.startswith(_INNER) else key


class Combined(Nested):
    """Several optimizers, each of parameters of its own: one step of all.

    ``Combined(Muon(matrices, lr=0.02), AdamW(others, lr=1e-3))``. The learning rates keep the ratios that they have
    when it is made: setting `lr`, as a schedule does, sets that of the first, and moves the others in proportion.

    Parameters
    ----------
    *optimizers : Optimizer
        Two or more, without a parameter in common, on one backend.

    Examples
    --------
    >>> parameters = fc.nn.Dense(2).build((3,)).parameters()
    >>> matrices, others = [parameters[0]], [parameters[1]]
    >>> optimizer = fc.optim.Combined(fc.optim.Muon(matrices, lr=0.02), fc.optim.AdamW(others, lr=1e-3))
    >>> optimizer.lr = 0.01
    >>> optimizer.rates()
    [0.01, 0.0005]
    """

    def __init__(self, *optimizers: Optimizer) -> None:
        if len(optimizers) < 2:
            raise ArgumentError(f"optimizers: got {len(optimizers)}; allowed: two or more")
        super().__init__(optimizers)
        first = optimizers[0].lr
        if not first:
            raise ArgumentError("optimizers: got a first one with lr 0; allowed: one above 0, which others are set by")
        self._ratios = tuple(optimizer.lr / first for optimizer in optimizers)
        owner: dict[Parameter, Optimizer] = {}
        for optimizer in optimizers:
            for parameter in optimizer.parameters:
                if parameter in owner:
                    raise ArgumentError(f"optimizers: got {parameter.name} in two of them; allowed: each once")
                owner[parameter] = optimizer
        if len({optimizer.backend.name for optimizer in optimizers}) > 1 or len({o.steps for o in optimizers}) > 1:
            raise ArgumentError("optimizers: got some on other backends, or after other steps; allowed: all on one")

    @property
    def lr(self) -> float:
        """The learning rate of the first; setting it moves the others in proportion."""
        return self.optimizers[0].lr

    @lr.setter
    def lr(self, value: float) -> None:
        if value == self.optimizers[0].lr:
            return
        self.optimizers[0].lr = value
        for optimizer, ratio in zip(self.optimizers[1:], self._ratios[1:], strict=True):
            optimizer.lr = self.optimizers[0].lr * ratio
