"""Groups of parameters with settings of their own, and helpers that make them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from fastconv import _validate as validate
from fastconv._attributes import Declared
from fastconv._calls import advice_on, tells_habits
from fastconv._docstrings import completed
from fastconv.errors import ArgumentError, BackendMismatchError
from fastconv.kernels.scalars import Scalar
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.core.parameter import Parameter
from fastconv.optim.schedules import Schedule
from fastconv.optim.schedules.schedule import odd_arguments

Setting = float | bool
Trained = Iterable[Parameter] | Iterable[Mapping[str, Any]]
"""What an optimizer is given to train: parameters, or groups of them with settings of their own."""


class Group(Declared):
    """Parameters that are updated with settings of their own: ``optimizer.groups[1].lr = 0.01``.

    Parameters
    ----------
    parameters : tuple of Parameter
        What is updated.
    own : dict
        The settings that are its own; others are the optimizer's. May be changed, ``group.own["weight_decay"] = 0.1``:
        the next step refuses names and values that it does not take.
    lr : float, schedule or None
        Its own learning rate, or a function of the number of the step, counted from 0 (of the epoch, if it says
        ``by = "epoch"``). None: the optimizer's.

    Examples
    --------
    >>> layer = fc.nn.Dense(2).build((3,))
    >>> optimizer = fc.optim.SGD([{"params": [layer.weight], "lr": 0.01}, {"params": [layer.bias]}], lr=0.1)
    >>> optimizer.groups, optimizer.rates()
    ((Group(1 parameters, lr=0.01), Group(1 parameters)), [0.01, 0.1])
    """

    def __init__(self, parameters: tuple[Parameter, ...], own: dict[str, Setting], lr: Any = None) -> None:
        self.parameters, self.own = parameters, own
        self.lr = lr

    @property
    def lr(self) -> float | Schedule | None:
        """Its own learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: Any) -> None:
        is_schedule = callable(value) and not isinstance(value, type)
        if is_schedule and (odd := odd_arguments(value)):
            raise ArgumentError(f"lr: got {odd}; allowed: a number, or a function of the number of the step alone")
        self._lr = value if value is None or is_schedule else validate.number(value, "lr", low=0)

    @property
    def is_frozen(self) -> bool:
        """Whether all of its parameters are frozen, so that its rate has no effect."""
        return all(parameter.is_frozen for parameter in self.parameters)

    @property
    def schedule(self) -> Schedule | None:
        """Its own schedule, if `lr` is one."""
        return self._lr if callable(self._lr) else None

    def rate(self, others: float, step: int, epoch: int) -> float:
        """Return its learning rate in a step.

        Parameters
        ----------
        others : float
            The learning rate of the optimizer, for groups that have none of their own.
        step : int
            Number of the step, from 0.
        epoch : int
            Number of the epoch, from 0, for schedules that go by epochs.

        Returns
        -------
        float
            At least 0.
        """
        if not callable(self._lr):
            return others if self._lr is None else self._lr
        by_epoch = getattr(self._lr, "by", "step") == "epoch"
        return validate.number(self._lr(epoch if by_epoch else step), "lr", low=0)

    def state_dict(self) -> dict[str, Any]:
        """Return its own learning rate, or the state of its schedule where that has one.

        Returns
        -------
        dict
            ``{"lr": ...}`` or ``{"schedule": ...}``; {} where the schedule has no state.
        """
        if not callable(self._lr):
            return {"lr": self._lr}
        state = getattr(self._lr, "state_dict", None)
        return {"schedule": state()} if state is not None else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave; a schedule stays the one it is, with that state.

        Parameters
        ----------
        state : mapping
            What `state_dict` gave.
        """
        if not callable(self._lr):
            self.lr = state.get("lr")
        elif "schedule" in state:
            restore: Any = self._lr
            restore.load_state_dict(state["schedule"])

    def __repr__(self) -> str:
        shown = self.own if self._lr is None else {"lr": self._lr, **self.own}
        settings = "".join(f", {name}={value!r}" for name, value in shown.items())
        return f"Group({len(self.parameters)} parameters{settings})"


def checked_groups(parameters: Any, optimizer: type[Declared], scalars: tuple[Scalar, ...]) -> tuple[Group, ...]:
    """Return what an optimizer is to train, as groups: it comes as parameters, or as dicts with ``"params"``.

    Raises
    ------
    ArgumentError
        There are no parameters, or something else; one is in two groups, or twice in one; a group is empty, or has a
        setting that the rule has not.
    BackendMismatchError
        They are on several backends.
    """
    advice = f"parameters, as in {optimizer.__name__}(model.parameters(), ...), or dicts with 'params' and settings"
    found = _listed(parameters, "parameters", advice)
    if not found:
        raise ArgumentError("parameters: got none; allowed: at least one (a built model's parameters())")
    if isinstance(found[0], Mapping):
        groups = tuple(_group(item, i, scalars, advice, optimizer) for i, item in enumerate(found))
    else:
        groups = (Group(_checked(found, "parameters", advice), {}),)
    owner: dict[Parameter, int] = {}
    for i, group in enumerate(groups):
        for parameter in group.parameters:
            if parameter in owner:
                twice = "" if len(groups) == 1 else f", {parameter.name}, in the groups {owner[parameter]} and {i}"
                raise ArgumentError(f"parameters: got one of them twice{twice}; allowed: each once")
            owner[parameter] = i
    homes = {parameter.arena.backend.name for parameter in owner}
    if len(homes) > 1:
        raise BackendMismatchError(
            f"parameters: got some on each of the backends {', '.join(sorted(homes))}; allowed: all on one"
        )
    return groups


def _group(item: Any, number: int, scalars: tuple[Scalar, ...], advice: str, optimizer: type[Declared]) -> Group:
    where = f"parameters[{number}]"
    if not isinstance(item, Mapping):
        raise ArgumentError(f"{where}: got {validate.kind_of(item)} among dicts; allowed: a dict with 'params'")
    own = checked_own(item, where, scalars, optimizer, ("params", "lr"))
    if "params" not in item:
        raise ArgumentError(f"{where}: got no 'params'; allowed: a dict with 'params' and settings")
    params = item["params"]
    given = (params,) if isinstance(params, Parameter) else _listed(params, f"{where}['params']", advice)
    if not given:
        raise ArgumentError(f"{where}['params']: got none; allowed: at least one parameter in each group")
    return Group(_checked(given, f"{where}['params']", advice), own, item.get("lr"))


def checked_own(
    own: Mapping[str, Any], where: str, scalars: tuple[Scalar, ...], optimizer: type[Declared], more: Sequence[str] = ()
) -> dict[str, Setting]:
    """Return the settings of a group, each as its rule takes it; names of `more` may stand beside them."""
    allowed = {setting.name: setting for setting in scalars}
    known = (*more, *allowed)
    for name in own:
        if name not in known:
            meant = advice_on(str(name), known, optimizer.argument_habits, optimizer.absent)
            raise ArgumentError(f"{where}: got the setting {name!r}; allowed: {', '.join(known)}{meant}")
    return {name: validate.scalar(own[name], allowed[name]) for name in own if name in allowed}


def _listed(values: Any, name: str, advice: str) -> tuple[Any, ...]:
    try:
        if isinstance(values, AbstractLayer):  # a Sequential has layers to iterate over
            raise TypeError
        return tuple(values)
    except TypeError:
        raise ArgumentError(f"{name}: got {validate.kind_of(values)}; allowed: {advice}") from None


def _checked(values: Iterable[Any], name: str, advice: str) -> tuple[Parameter, ...]:
    found = tuple(values)
    for item in found:
        if not isinstance(item, Parameter):
            raise ArgumentError(f"{name}: got {validate.kind_of(item)} among them; allowed: {advice}")
    return found


def _parameters(values: Any) -> tuple[Parameter, ...]:
    """Return what groups are made of."""
    return _checked(_listed(values, "parameters", _OF_A_MODEL), "parameters", _OF_A_MODEL)


_OF_A_MODEL = "parameters, as in model.parameters()"
_SHARED = """parameters : iterable of Parameter
    Of a model."""
_RETURNS = """Returns
-------
list of dict
    As optimizers take them."""
_Making = TypeVar("_Making", bound=Callable[..., list[dict[str, Any]]])


def _told(make: _Making) -> _Making:
    """Complete the docstring of what makes groups."""
    make.__doc__ = completed(make.__doc__, inspect.signature(make), _SHARED, _RETURNS)
    return make


@_told
@tells_habits({})
def split_groups(
    parameters: Iterable[Parameter], chosen: Callable[[Parameter], bool], **settings: Any
) -> list[dict[str, Any]]:
    """Return groups of parameters: those that `chosen` picks get `settings`, the others those of the optimizer.

    ``SGD(split_groups(model.parameters(), lambda p: p.name.startswith("0."), lr=1e-4), lr=0.1)``. A group without any
    is left out.

    Parameters
    ----------
    chosen : function of a Parameter
        Tells whether it gets the settings.
    **settings
        Of those that are chosen.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU(), fc.nn.Dense(2)).build((3,))
    >>> groups = fc.optim.split_groups(model.parameters(), lambda p: p.name.startswith("0."), lr=1e-4)
    >>> fc.optim.SGD(groups, lr=0.1).groups
    (Group(2 parameters), Group(2 parameters, lr=0.0001))
    """
    if not callable(chosen):
        raise ArgumentError(f"chosen: got {validate.shown(chosen)}; allowed: a function of a Parameter")
    found = _parameters(parameters)
    picked = [parameter for parameter in found if chosen(parameter)]
    others = [parameter for parameter in found if not chosen(parameter)]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": picked, **settings}]
    return [group for group in groups if group["params"]]


@_told
@tells_habits({})
def no_decay_groups(parameters: Iterable[Parameter], **settings: Any) -> list[dict[str, Any]]:
    """Return groups of parameters: biases and those of normalisations are not decayed, and get `settings` too.

    These are the parameters of one axis, or none: ``AdamW(no_decay_groups(model.parameters()), weight_decay=0.05)``.

    Parameters
    ----------
    **settings
        Others of those that are not decayed, such as ``lr=0.01``.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU(), fc.nn.Dense(2)).build((3,))
    >>> groups = fc.optim.no_decay_groups(model.parameters())
    >>> fc.optim.AdamW(groups, weight_decay=0.05).groups
    (Group(2 parameters), Group(2 parameters, weight_decay=0.0))
    """
    return split_groups(parameters, lambda parameter: len(parameter.shape) < 2, **{"weight_decay": 0.0, **settings})


@_told
@tells_habits({})
def layer_groups(parameters: Iterable[Parameter], lr: float, factor: float) -> list[dict[str, Any]]:
    """Return a group for each layer; each has the rate of the next one, times `factor`: the last one `lr`.

    Early layers of a trained model move less that way (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146).
    A layer is what stands before the last dot of a parameter's name.

    Parameters
    ----------
    parameters : iterable of Parameter
        In the order of the layers.
    lr : float
        The rate of the last layer.
    factor : float
        Of the rate, from a layer to the one before it.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU(), fc.nn.Dense(2)).build((3,))
    >>> [group["lr"] for group in fc.optim.layer_groups(model.parameters(), lr=0.1, factor=0.5)]
    [0.05, 0.1]
    """
    rate, share = validate.number(lr, "lr", low=0), validate.number(factor, "factor", low=0)
    layers: dict[str, list[Parameter]] = {}
    for parameter in _parameters(parameters):
        layers.setdefault(parameter.name.rpartition(".")[0], []).append(parameter)
    last = len(layers) - 1
    return [{"params": params, "lr": rate * share ** (last - i)} for i, params in enumerate(layers.values())]


def group_repr(groups: Sequence[Group]) -> str:
    """Return what an optimizer shows of its groups: nothing if it has one, without settings of its own."""
    if len(groups) == 1 and not groups[0].own and groups[0].lr is None:
        return ""
    return f", groups=[{', '.join(map(repr, groups))}]"
