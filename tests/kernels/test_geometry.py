"""Sizes against windows that are counted one by one, and the two ways of a convolution against each other."""

from __future__ import annotations

import copy
import itertools
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from fastconv.kernels.geometry import ConvGeometry, PoolWindows, output_length, whole_map

AXES = [
    (size, kernel, stride, padding, dilation)
    for size, kernel, stride, dilation in itertools.product(range(1, 9), (1, 2, 3, 5), (1, 2, 3), (1, 2))
    for padding in ((0, 0), (1, 0), (0, 2), (2, 2))
]


def counted(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int, ceil_mode: bool) -> int:
    """Walk over the padded axis and count the windows."""
    low, high = padding
    reach, begin = dilation * (kernel - 1), -low
    windows = []
    while begin + reach < size + high:
        windows.append(begin)
        begin += stride
    if ceil_mode and windows:
        if windows[-1] + reach < size + high - 1:  # cells are left over
            windows.append(begin)
        if windows[-1] >= size:
            windows.pop()
    return len(windows)


@pytest.mark.parametrize("ceil_mode", [False, True], ids=["floor", "ceil"])
def test_number_of_windows(ceil_mode: bool) -> None:
    for axis in AXES:
        if counted(*axis, False):  # the first window fits
            assert output_length(*axis, ceil_mode=ceil_mode) == counted(*axis, ceil_mode), axis
        else:
            assert output_length(*axis) < 1, axis


def test_each_axis_has_its_own() -> None:
    geometry = ConvGeometry((3, 5), (2, 1), ((1, 0), (0, 2)), (1, 2), groups=3)
    assert geometry.output_size(9, 11) == (4, 5)
    assert PoolWindows((2, 3), (2, 3), ceil_mode=True).output_size(5, 7) == (3, 3)
    assert PoolWindows((2, 3), (2, 3)).output_size(5, 7) == (2, 2)
    assert whole_map(7, 5).output_size(7, 5) == (1, 1)


def test_the_transposed_size_is_the_least_that_has_so_many_windows() -> None:
    for size, kernel, stride, padding, dilation in AXES:
        geometry = ConvGeometry((kernel, 1), (stride, 1), (padding, (0, 0)), (dilation, 1))
        windows, _ = geometry.output_size(size, 4)
        if windows < 1:
            continue
        least, columns = geometry.transposed().output_size(windows, 4)
        assert columns == 4
        assert least <= size < least + stride
        assert geometry.output_size(least, 4)[0] == windows
        assert geometry.output_size(least - 1, 4)[0] == windows - 1


def test_transposed_twice_is_the_same() -> None:
    geometry = ConvGeometry((3, 3), padding=((1, 0), (2, 1)), groups=2)
    other = geometry.transposed()
    assert other.is_transposed
    assert other != geometry
    assert other.transposed() == geometry
    assert replace(other, is_transposed=False) == geometry


@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_before(kernel: int) -> None:
    """With stride 1 the transposed convolution is one of the turned weight, padded by what the other leaves."""
    geometry = ConvGeometry((kernel, kernel), padding=((1, 0), (0, 2)), dilation=(1, 2))
    assert geometry.padding_before == (1, 0)
    assert geometry.transposed().padding_before == (kernel - 2, 2 * (kernel - 1))


def test_equal_ones_are_one_key() -> None:
    made = [ConvGeometry((3, 3), (2, 2), ((1, 1), (1, 1)), groups=2) for _ in range(2)]
    made += [copy.deepcopy(made[0]), pickle.loads(pickle.dumps(made[0]))]
    assert len(set(made)) == 1
    others = {made[0], made[0].transposed(), replace(made[0], groups=1), replace(made[0], stride=(1, 2))}
    assert len(others) == 4
    assert (
        len({PoolWindows((2, 2)), PoolWindows((2, 2), ceil_mode=True), PoolWindows((2, 2), count_include_pad=False)})
        == 3
    )
    assert PoolWindows((3, 3)) != ConvGeometry((3, 3))


def test_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ConvGeometry((3, 3)).groups = 2
