"""Optimizers whose settings are those of an update rule: the list of rules declares them, and nothing else does."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fastconv import _validate as validate
from fastconv._activations import parameters_of
from fastconv._calls import unknown_argument
from fastconv._docstrings import completed
from fastconv.kernels.scalars import Scalar
from fastconv.optim.groups import Trained
from fastconv.optim.optimizer import Optimizer

_SHARED = """parameters : iterable of Parameter, or of dict
    Or groups of them with settings of their own, see `Optimizer`.
lr : float
    Learning rate.
beta1, beta2 : float
    At least 0, below 1; PyTorch's `betas`.
eps : float
    Above 0.
weight_decay : float
    L2 penalty: times the parameter, added to the gradient.
amsgrad : bool
    Divide by the highest v so far (Reddi et al. 2018, https://openreview.net/forum?id=ryQu7f-RZ).
l1 : float
    L1 penalty: times the parameter's sign, added to the gradient."""

_Init = TypeVar("_Init", bound=Callable[..., None])


def takes(scalars: Iterable[Scalar], positional: int = 0) -> Callable[[_Init], _Init]:
    """Let an ``__init__`` take what is declared where it has ``**settings``; the first `positional` as ``*values`` too.

    So the signature that `help` shows names each with its default, and a call is checked against it.
    """
    declared = parameters_of(scalars)
    settings = [each if i < positional else each.replace(kind=each.KEYWORD_ONLY) for i, each in enumerate(declared)]

    def decorate(initialise: _Init) -> _Init:
        written = inspect.signature(initialise)
        own = [each for each in written.parameters.values() if each.name not in ("values", "settings")]
        first = [each for each in own if each.kind is not each.KEYWORD_ONLY]
        signature = written.replace(parameters=[*first, *settings, *own[len(first) :]])

        @functools.wraps(initialise)
        def checked(self: Optimizer, *arguments: Any, **named: Any) -> None:
            signature.bind(self, *arguments, **named)
            initialise(self, *arguments, **named)

        vars(checked)["__signature__"] = signature
        return cast(_Init, checked)

    return decorate


class RuledOptimizer(Optimizer):
    """Base class of optimizers with a rule: they take its settings as arguments, and have them as attributes.

    Who derives one declares `rule`, and an ``__init__`` that `takes` its settings.
    """

    def __init__(self, parameters: Trained, lr: float, *values: float | bool, **settings: float | bool) -> None:
        names = [scalar.name for scalar in self.scalars]
        for name in settings:
            if name not in names:
                raise unknown_argument(type(self).__name__, name, names, self.argument_habits, self.absent)
        given = {**dict(zip(names, values, strict=False)), **settings}
        for scalar in self.scalars:
            setattr(self, scalar.name, validate.scalar(given.get(scalar.name, scalar.default), scalar))
        super().__init__(parameters, lr)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "rule" in vars(cls):
            cls.__doc__ = completed(cls.__doc__, inspect.signature(cls.__init__), _SHARED)

    if TYPE_CHECKING:  # the settings

        def __getattr__(self, name: str) -> float | bool: ...
