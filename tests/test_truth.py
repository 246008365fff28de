"""What is True or False is refused when it is neither: the text "False" counts as True in Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, models, nn, optim, training
from fastconv.errors import ArgumentError
from fastconv.optim import schedules
from fastconv.parallel import DataParallel

WRONG = ("False", "no", 0, 1, None, 1.0, np.ones(2, bool))


def _parameters() -> list[nn.Parameter]:
    with fc.use_backend("numpy"):
        return nn.Sequential(nn.Dense(2)).build((3,)).parameters()


def _images() -> data.Dataset:
    return data.shapes10("train", size=8)


# What the arguments are that something needs besides.
NEEDED: dict[Any, Callable[[], tuple[Any, ...]]] = {
    **dict.fromkeys((nn.Conv2d, nn.ConvTranspose2d), lambda: (4, 3)),
    **dict.fromkeys((nn.DepthwiseConv2d,), lambda: (3,)),
    **dict.fromkeys((nn.Dense, nn.AvgPool2d, nn.MaxPool2d, nn.GroupNorm), lambda: (2,)),
    optim.EMA: lambda: (optim.SGD(_parameters(), 0.1),),
    optim.Pruning: lambda: (optim.SGD(_parameters(), 0.1), 10),
    data.DataLoader: lambda: (_images(), 4),
    schedules.OneCycle: lambda: (0.1, 10),
    training.TensorBoardLogger: lambda: ("nowhere",),
}


def _switches() -> Iterator[tuple[Any, str]]:
    """Yield all that is public and has an argument that is True or False by default, with its name."""
    for room in (nn, optim, schedules, training, data, models):
        for name in room.__all__:
            thing = getattr(room, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                for argument in inspect.signature(thing).parameters.values():
                    if isinstance(argument.default, bool):
                        yield thing, argument.name
    yield from ((DataParallel, name) for name in ("deterministic", "overlap"))


def _call(thing: Any, **given: Any) -> Any:
    with fc.use_backend("numpy"):
        if thing in NEEDED:
            return thing(*NEEDED[thing](), **given)
        required = [p for p in inspect.signature(thing).parameters.values() if p.default is p.empty]
        positional = [p for p in required if p.kind is p.POSITIONAL_OR_KEYWORD]
        if positional and positional[0].name == "parameters":
            return thing(_parameters(), *(0.1 for _ in positional[1:]), **given)
        return thing(*(0.1 if "rate" in p.name or p.name == "lr" else 3 for p in positional), **given)


@pytest.mark.parametrize(("thing", "name"), list(_switches()), ids=lambda each: getattr(each, "__name__", each))
def test_only_true_and_false_are_taken(thing: Any, name: str) -> None:
    for wrong in WRONG:
        with pytest.raises(ArgumentError, match=f"{name}: got .*; allowed: True, False"):
            _call(thing, **{name: wrong})


def test_of_methods_and_functions_too() -> None:
    x = np.zeros((1, 4, 4, 1), np.float32)
    with fc.use_backend("numpy"):
        for call in (
            lambda wrong: _images().split(2, stratified=wrong),
            lambda wrong: fc.functional.max_pool2d(x, 2, ceil_mode=wrong),
            lambda wrong: fc.functional.avg_pool2d(x, 2, count_include_pad=wrong),
            lambda wrong: nn.Sequential(nn.Dense(2)).build((3,)).save_weights("none", sparse=wrong),
            lambda wrong: fc.testing.gradcheck(nn.Dense(2), np.ones((1, 2)), raise_on_failure=wrong),
            lambda wrong: fc.testing.compare("relu", x, raise_on_failure=wrong),
            lambda wrong: fc.testing.adjoint_check((1, 2), (2, 3), raise_on_failure=wrong),
            lambda wrong: fc.testing.adjoint_check((1, 2), (2, 3), exact=wrong),
            lambda wrong: fc.report.make_report("none", compute=wrong),
            lambda wrong: fc.report.make_report("none", timed=wrong),
        ):
            for wrong in WRONG:
                with pytest.raises(ArgumentError, match=r"got .*; allowed: True, False"):
                    call(wrong)
