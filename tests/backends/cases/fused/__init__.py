"""Cases of the fused operations. Their reference is the composition of their parts, in float64 on the NumPy backend."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.pointwise import POINTWISE, RELU, Activation
from tests.backends.cases.conv import Conv, pad
from tests.backends.cases.fused.convolutions import (
    backward_input_norm,
    backward_input_through,
    conv_after,
    conv_pool,
    conv_pool_backward,
    conv_pool_statistics,
    conv_statistics,
)
from tests.backends.cases.fused.norms import (
    activation_bias,
    norm_backward,
    norm_backward_apply,
    normalise,
    normalise_pool,
)
from tests.backends.cases.fused.parts import ADDED, ADDS, AFTER, CEILING, FUSED_CONVS, MAPS, OVERLAPPING, SQUARES
from tests.backends.cases.pointwise import HELD
from tests.backends.op_case import Case

_POOLED = [
    ("round", (2, 8, 8, 64), SQUARES),
    ("odd", (3, 5, 7, 17), SQUARES),
    ("c3", (2, 6, 4, 3), SQUARES),
    ("overlapping", (2, 7, 6, 16), OVERLAPPING),
    ("ceiling", (2, 5, 5, 8), CEILING),
    ("long", (9, 16, 16, 16), SQUARES),
    ("two-rows", (3, 5, 7, 17), SQUARES),
]
_SMALL = Conv("small", 2, (6, 6), 16, 17)


def of_activation(activation: Activation, name: str) -> list[Case]:
    """Return a case of each operation that has an activation, for all that it can have beside."""
    needs_before = activation.function.needs == "x"
    c, added = replace(_SMALL, id=name), Epilogue(True, activation)
    return [
        conv_after(c, added, keep=needs_before),
        conv_pool(c, SQUARES, activation),
        backward_input_through(c, activation),
        conv_pool_backward(replace(c, padding=pad(0, 0)), SQUARES, activation),
        backward_input_norm(c, added, add=True),
        backward_input_norm(replace(c, padding=pad(0, 0)), replace(added, adds=False), windows=SQUARES),
        normalise(name, (3, 5, 7, 17), added),
        normalise_pool(name, (2, 6, 5, 17), SQUARES, activation),
        norm_backward(name, (3, 5, 7, 17), added),
        norm_backward(name, (2, 6, 5, 17), Epilogue(False, activation, SQUARES)),
        activation_bias(name, (3, 5, 7, 17), activation),
    ]


# Of one convolution: its result as it is, rectified, with an addend before; and backward with an addend.
CONVOLUTIONS = (
    *(partial(conv_after, epilogue=epilogue) for epilogue in (AFTER, ADDED)),
    conv_statistics,
    *(partial(backward_input_through, activation=None, add=True, in_place=in_place) for in_place in (False, True)),
)
CASES = [
    *(conv_after(c, epilogue) for epilogue in (AFTER, ADDED) for c in FUSED_CONVS),
    conv_after(FUSED_CONVS[1], ADDS),
    *(conv_statistics(c) for c in FUSED_CONVS if not c.infinite),
    *(conv_pool(c, SQUARES) for c in FUSED_CONVS if min(c.y_shape[1:3]) > 1 and not c.infinite),
    *(conv_pool_statistics(c, SQUARES) for c in FUSED_CONVS if min(c.y_shape[1:3]) > 1 and not c.infinite),
    conv_pool_statistics(Conv("small-statistics", 2, (6, 6), 16, 17), SQUARES),
    conv_pool_statistics(Conv("overlapping-pool", 2, (9, 8), 16, 16), OVERLAPPING),
    conv_pool_statistics(Conv("no-window-in-the-last-tiles", 4, (9, 13), 17, 33), SQUARES),
    conv_pool(Conv("overlapping-pool", 2, (9, 8), 16, 16), OVERLAPPING),
    conv_pool(Conv("ceiling-pool", 2, (7, 8), 16, 40), CEILING),
    conv_pool(Conv("few-tiles", 1, (4, 6), 32, 17), SQUARES),
    *(backward_input_through(c, RELU) for c in FUSED_CONVS if not c.infinite),
    backward_input_through(Conv("empty-batch", 0, (4, 4), 16, 16), RELU),
    backward_input_through(FUSED_CONVS[1], RELU, add=True),
    *(
        conv_pool_backward(c, SQUARES, RELU if c.bias else None)
        for c in FUSED_CONVS
        if min(c.y_shape[1:3]) > 1 and c.precision == "default"
    ),
    conv_pool_backward(Conv("winograd-c64-k64-overlapping", 2, (8, 8), 64, 64), OVERLAPPING, RELU),
    conv_pool_backward(Conv("winograd-c17-k33-valid-ceiling", 2, (13, 13), 17, 33, padding=pad(0, 0)), CEILING, RELU),
    conv_pool_backward(Conv("winograd-c17-k33-valid", 2, (13, 13), 17, 33, padding=pad(0, 0)), SQUARES, needs=False),
    *(backward_input_norm(c, AFTER, add=add) for c in FUSED_CONVS if not c.infinite for add in (False, True)),
    *(backward_input_norm(c, AFTER, add=True, in_place=True) for c in FUSED_CONVS[:4]),
    *(
        backward_input_norm(c, AFTER, windows=SQUARES)
        for c in FUSED_CONVS
        if min(c.y_shape[1:3]) > 1 and c.precision == "default"
    ),
    backward_input_norm(Conv("two-rows", 3, (9, 8), 17, 16), ADDED, add=True, windows=SQUARES),
    backward_input_norm(Conv("in-place", 2, (7, 9), 16, 16), AFTER, add=True, in_place=True, windows=SQUARES),
    backward_input_norm(Conv("winograd-c64-k64-overlapping", 2, (8, 8), 64, 64), AFTER, windows=OVERLAPPING),
    backward_input_norm(Conv("far-more-tiles", 40, (11, 13), 16, 17, bias=False), AFTER, add=True),
    backward_input_norm(Conv("two-rows", 3, (9, 8), 17, 16), AFTER, add=True),
    backward_input_norm(Conv("two-rows-direct", 2, (9, 8), 17, 16, precision="strict"), AFTER, add=False),
    *(norm_backward_apply(name, shape) for name, shape in MAPS.items() if name != "far-from-zero"),
    *(
        backward_input_through(c, None, add=True, in_place=in_place)
        for in_place in (False, True)
        for c in FUSED_CONVS
        if not c.infinite
    ),
    conv_after(Conv("empty-batch", 0, (4, 4), 16, 16), AFTER),
    *(normalise(name, shape, epilogue) for name, shape in MAPS.items() for epilogue in (AFTER, ADDED)),
    normalise("dense", (31, 33), AFTER),
    normalise("ragged", (3, 5, 7, 17), ADDS),
    normalise("empty-batch", (0, 4, 4, 16), ADDED),
    *(normalise_pool(*arguments) for arguments in _POOLED),
    *(activation_bias(name, shape) for name, shape in MAPS.items() if name != "two-rows"),
    activation_bias("dense", (31, 10)),
    activation_bias("empty-batch", (0, 4, 4, 8)),
    *(norm_backward(name, shape, epilogue) for name, shape in MAPS.items() for epilogue in (AFTER, ADDED)),
    norm_backward("round", (2, 8, 8, 64), ADDED, in_place=True),
    norm_backward("dense", (31, 33), AFTER),
    norm_backward("ragged", (3, 5, 7, 17), ADDS),
    *(norm_backward(name, shape, Epilogue(False, RELU, windows)) for name, shape, windows in _POOLED),
    *(
        case
        for c in FUSED_CONVS
        if c.id in {"strict", "stride2", "depthwise"}
        for case in (
            conv_after(c, Epilogue(True, POINTWISE["hardswish"]()), keep=True),
            backward_input_through(c, POINTWISE["gelu"](), add=True),
        )
    ),
    *(
        case
        for name, held in HELD.items()
        for number, values in enumerate(held.values)
        for case in of_activation(POINTWISE[name](*values), f"small-{number}")
    ),
]
_POOLED_OFTEN = {"relu-max_pool2d-winograd-c16-k16-cut", "max_pool2d-winograd-c16-k16-cut"}
SMALL = [case for case in CASES if "-small-" in case.id]  # each activation with each operation


def is_rare(case: Case) -> bool:
    """Tell whether a case is of a kernel that only the slow suite runs on the CPU, which compiles it for each.

    The default suite has the rectifier, which needs y, one that needs x, though not behind a convolution, and
    statistics; of what a convolution pools two cases, forward; of 5x5 kernels the first.
    """
    words = set(case.id.split("-"))
    if case.op.startswith("conv2d") and ("max_pool2d" in words or case.op == "conv2d_max_pool2d_backward"):
        return "backward" in case.op or case.id not in _POOLED_OFTEN
    if "5x5" in words and not words.isdisjoint({"odd", "many", "k64"}):
        return True
    if case.op == "conv2d" and "gelu" in words:
        return True
    if "gelu" in words and "max_pool2d" in words:
        return True
    fused = "small" in words or (case.op.startswith("conv2d") and not words.isdisjoint(POINTWISE))
    return fused and words.isdisjoint({"relu", "gelu", "statistics"})


def by_rarity(cases: Iterable[Case], rare: Collection[str] = (), one_in: int = 1) -> list[Any]:
    """Return cases as parameters of a test; those with a word of `rare` in their names are of the slow suite too.

    Of the others, one in so many is of the default suite.
    """
    found, common = [], 0
    for case in cases:
        slow = is_rare(case) or not set(case.id.split("-")).isdisjoint(rare)
        if not slow:
            slow, common = common % one_in > 0, common + 1
        found.append(pytest.param(case, marks=(pytest.mark.slow,) if slow else (), id=f"{case.op}-{case.id}"))
    return found
