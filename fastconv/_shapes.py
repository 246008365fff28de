"""Normal forms of geometric arguments, and the check that an output has a size."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal, cast

from fastconv.errors import ShapeError
from fastconv.kernels.geometry import Padding, Pair, Windows

PaddingLike = int | Sequence[int] | Sequence[Sequence[int]] | Literal["same", "valid"]
PairLike = int | Sequence[int]


def as_int(value: Any) -> int:
    """Return `value` as an int; TypeError for what is none, and for True and False, which would count as 1 and 0."""
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def as_pair(value: PairLike, name: str, *, minimum: int = 1) -> Pair:
    """Return `value` as ``(h, w)``; an int stands for both."""
    if type(value) is int and value >= minimum:
        return value, value  # as it nearly always is
    try:
        pair = (as_int(value),) * 2 if not isinstance(value, Sequence) else tuple(map(as_int, value))
    except TypeError:
        pair = ()
    if len(pair) != 2 or min(pair) < minimum:
        raise ShapeError(f"{name}: got {value!r}; allowed: an int or a pair (h, w) of ints, each at least {minimum}")
    return pair[0], pair[1]


def as_padding(value: PaddingLike, *, size: Pair, kernel_size: Pair, stride: Pair, dilation: Pair) -> Padding:
    """Return `value` as ``((top, bottom), (left, right))``.

    An int pads all four sides, a pair is ``(h, w)``, ``"valid"`` is 0, and ``"same"`` makes the output ``ceil(size /
    stride)`` with the odd cell at the end, as TensorFlow does
    (https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2).
    """
    if type(value) is int and value >= 0:
        return (value, value), (value, value)
    if isinstance(value, str):
        if value == "valid":
            return (0, 0), (0, 0)
        if value == "same":
            top, left = (_same(*axis) for axis in zip(size, kernel_size, stride, dilation, strict=True))
            return top, left
    elif isinstance(value, Sequence) and len(value) == 2 and all(isinstance(side, Sequence) for side in value):
        sides: Sequence[Any] = value
        return as_pair(sides[0], "padding", minimum=0), as_pair(sides[1], "padding", minimum=0)
    else:
        h, w = as_pair(cast(PairLike, value), "padding", minimum=0)
        return (h, h), (w, w)
    raise ShapeError(
        f"padding: got {value!r}; allowed: an int, (h, w), ((top, bottom), (left, right)), 'same' or 'valid'"
    )


def kept_padding(value: PaddingLike) -> PaddingLike:
    """Return `value` as it can be kept until the input is known: "same" and "valid" as they are, numbers as sides."""
    sides = as_padding(value, size=(1, 1), kernel_size=(1, 1), stride=(1, 1), dilation=(1, 1))
    return value if isinstance(value, str) else sides


def _same(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def output_size(windows: Windows, size: Pair) -> Pair:
    """Return ``windows.output_size(*size)``; ShapeError below one."""
    out = windows.output_size(*size)
    if min(out) < 1:
        raise ShapeError(
            f"kernel_size: {windows.kernel_size} with dilation {windows.dilation} is larger than the input {size}"
            f" with padding {windows.padding}; allowed: at least one output cell"
        )
    return out
