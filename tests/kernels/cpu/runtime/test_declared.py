"""Kernels of somebody's own that cannot run as they are written or launched: who wrote them is told what and where."""

from __future__ import annotations

import multiprocessing
import pickle
import re
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("numba")

from fastconv.kernels.cpu.elementwise.maps import make_binary, make_unary, run_binary, run_unary
from fastconv.kernels.cpu.runtime.launch import device, kernel, launch, record
from tests.kernels.cpu.runtime.test_user_kernels import copied


@kernel
def stored(begin, end, value, out):
    for i in range(begin, end):
        out[i] = value


@kernel
def calls_a_kernel(begin, end, out):
    stored(begin, end, 1.0, out)


@device
def part_that_calls(begin, end, out):
    stored(begin, end, 1.0, out)
    return 0


@kernel
def calls_one_in_a_part(begin, end, out):
    part_that_calls(begin, end, out)


@kernel
def calls_itself(begin, end, out):
    if begin < end:
        calls_itself(begin + 1, end, out)


@kernel
def names_nothing(begin, end, out):
    out[begin] = nothing(end)  # noqa: F821


def _yields(begin, end, x):
    yield x


async def _waits(begin, end, x):
    return x


def _without_end(begin):
    pass


def _by_name(begin, end, x, *, y=1.0):
    pass


def _of_an_object(self, begin, end, x):
    pass


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (_yields, "_yields, of which a call runs nothing"),
        (_waits, "_waits, of which a call runs nothing"),
        (_without_end, "_without_end(begin)"),
        (_by_name, "_by_name(begin, end, x, *, y=1.0)"),
        (_of_an_object, "the method _of_an_object"),
        (stored, "<kernel stored(begin, end, value, out)>"),
        (len, "<built-in function len>"),
        (3, "3"),
        (dict, "<class 'dict'>"),
    ],
)
def test_a_kernel_is_made_of_a_plain_function(wrong: object, got: str) -> None:
    allowed = re.escape("allowed: a plain function f(begin, end, *arguments)")
    with pytest.raises(TypeError, match=f"^kernel: got {re.escape(got)}.*; {allowed}$"):
        kernel(wrong)


@pytest.mark.parametrize(
    ("function", "called"),
    [(calls_a_kernel, "stored"), (calls_one_in_a_part, "stored"), (calls_itself, "calls_itself")],
    ids=lambda value: None if isinstance(value, str) else value.function.__name__,
)
def test_a_kernel_calls_no_kernel(function: Callable, called: str) -> None:
    """Compiled, the call wrote its arguments to the address that `begin` is, which ended the process."""
    out = np.zeros(4)
    with pytest.raises(TypeError, match=f"^{called}: got a call of a kernel in a kernel; allowed: .* by `device`$"):
        launch(function, 4, out)
    assert not out.any()


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        ("a", "'a'"),
        ([1, 2], r"\[1, 2\]"),
        (np.float16(2), r"np.float16\(2.0\)"),
        (np.arange(2, dtype=np.float16), r"array\(\[0., 1.\], dtype=float16\)"),
        (np.array([None]), r"array\(\[None\], dtype=object\)"),
        (np.longdouble(2), "np.longdouble"),
        (2**63, "9223372036854775808"),
        (-(2**63) - 1, "-9223372036854775809"),
        ((1, (2, "a")), r"\(1, \(2, 'a'\)\)"),
        (print, "<built-in function print>"),
    ],
    ids=str,
)
def test_an_argument_of_no_kind_that_kernels_take_is_named(wrong: object, got: str) -> None:
    out = np.zeros(3)
    launch(stored, 3, 1, out)  # from now on, Numba takes every int for an int64
    with pytest.raises(TypeError, match=f"^stored: value: got {got}.*; allowed: arrays, numbers, None and tuples"):
        launch(stored, 3, wrong, out)
    with record() as program, pytest.raises(TypeError, match=f"^stored: value: got {got}"):
        launch(stored, 3, wrong, out)
    assert not program.names
    assert (out == 1).all()


def test_as_many_arguments_as_a_kernel_has() -> None:
    out = np.zeros(3)
    for arguments, got in (((), "0 arguments"), ((out,), "1 argument"), ((1.0, out, 2), "3 arguments")):
        with pytest.raises(TypeError, match=f"^stored: got {got}; allowed: value, out$"):
            launch(stored, 3, *arguments)
    with pytest.raises(TypeError, match=r"^copied: got 1 argument; allowed: x, out$"):
        launch(copied, 3, out, scratch=np.zeros((2, 1)))


def test_code_that_numba_does_not_know_is_told_of_without_what_packs_arguments() -> None:
    out = np.zeros(3)
    with pytest.raises(TypeError, match=r"^names_nothing: got what Numba cannot compile") as caught:
        launch(names_nothing, 3, out)
    assert "NameError: name 'nothing' is not defined" in str(caught.value)
    assert "pack_job" not in str(caught.value)
    with pytest.raises(TypeError, match=r"^stored: got what Numba cannot compile(.|\n)*readonly array"):
        launch(stored, 3, 1.0, np.broadcast_to(0.0, 3))


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (None, "None"),
        (np.zeros((0, 3)), r"an array of shape \(0, 3\)"),
        ([[1.0]], r"\[\[1.0\]\]"),
        (5, "5"),
        (np.zeros(()), r"an array of shape \(\)"),
    ],
    ids=str,
)
def test_scratch_has_a_row(wrong: object, got: str) -> None:
    """The first row of none is memory of somebody else's."""
    x, out = np.arange(3.0), np.full(3, -1.0)
    with pytest.raises(TypeError, match=f"^copied: scratch: got {got}; allowed: an array with a row for each thread"):
        launch(copied, 3, x, out, scratch=wrong)
    assert (out == -1).all()
    launch(copied, 3, x, out, scratch=np.zeros((1, 1)))
    assert out.tolist() == [0, 1, 2]


def test_scratch_is_for_kernels_that_have_a_place_for_it() -> None:
    out = np.zeros(3)
    for wrong, got in ((np.zeros((2, 2)), r"an array of shape \(2, 2\)"), (5, "5"), ("rows", "'rows'")):
        with pytest.raises(TypeError, match=f"^stored: scratch: got {got}; allowed: None, "):
            launch(stored, 3, 1.0, out, scratch=wrong)
    assert not out.any()


same = make_unary("same", device(lambda x, parameters, dtype: x))
summed = make_binary("summed", device(lambda a, b, parameters, dtype: a + b))
LOCKED = np.zeros(4)
LOCKED.flags.writeable = False


@pytest.mark.parametrize(
    ("out", "got"),
    [
        (np.zeros(3), r"float64 \(3,\); allowed: float64 \(4,\), as {} is"),
        (np.zeros(4, "f4"), r"float32 \(4,\); allowed: float64 \(4,\), as {} is"),
        (np.zeros(8)[::2], "an array with gaps, or that is not to be written"),
        (LOCKED, "an array with gaps, or that is not to be written"),
        ([0.0] * 4, r"\[0.0, 0.0, 0.0, 0.0\]; allowed: an array"),
    ],
    ids=["short", "of another type", "with gaps", "locked", "a list"],
)
def test_vectors_of_ones_own_are_stored_where_an_array_is(out: np.ndarray, got: str) -> None:
    """They go by addresses: past the end of a short one, and into the copy that one with gaps is flattened to."""
    x = np.ones(4)
    with pytest.raises(TypeError, match=f"^same: out: got {got.format('x')}"):
        run_unary(same, x, out)
    with pytest.raises(TypeError, match=f"^summed: out: got {got.format('a')}"):
        run_binary(summed, x, x, out)
    assert not np.any(out)


def test_vectors_of_ones_own_are_read_where_an_array_is() -> None:
    out = np.zeros(4)
    with pytest.raises(TypeError, match=r"^summed: b: got float64 \(3,\); allowed: float64 \(4,\), as a is$"):
        run_binary(summed, np.ones(4), np.ones(3), out)


def test_vectors_of_ones_own_lose_no_mask() -> None:
    """It was dropped where an array is made one block."""
    x, out = np.ma.masked_array(np.ones(4), [0, 1, 0, 0]), np.zeros(4)
    got = "got a masked array, whose mask would be lost; allowed: an array without a mask"
    with pytest.raises(TypeError, match=f"^same: x: {got}$"):
        run_unary(same, x, out)
    with pytest.raises(TypeError, match=f"^summed: b: {got}$"):
        run_binary(summed, np.ones(4), x, out)
    assert not np.any(out)


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(None, None, 3), slice(1, None, 2)], ids=str)
@pytest.mark.parametrize("shape", [(40,), (40, 3), (40, 5, 2)], ids=str)
def test_vectors_of_ones_own_are_read_in_the_order_of_an_array_with_steps(shape: tuple[int, ...], order: slice) -> None:
    """Of one axis they were read one beside the other, from the first on; from there past the end with steps of -1."""
    x = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    part, out = x[order], np.zeros(x[order].shape, "f4")
    run_unary(same, part, out)
    np.testing.assert_array_equal(out, part)
    for a, b in ((part, np.ones_like(part)), (np.ones_like(part), part)):
        run_binary(summed, a, b, out)
        np.testing.assert_array_equal(out, part + 1)


@pytest.mark.parametrize("dtype", ["?", "F", "e", "g", "O", "M8[s]"])
def test_vectors_of_ones_own_are_made_of_numbers_that_registers_hold(dtype: str) -> None:
    """Complex numbers went through as halves of something else, and gave numbers."""
    x, out = np.zeros(4, dtype), np.zeros(4, dtype)
    got = f"got {x.dtype}; allowed: integers, float32, float64, of which vectors are made".replace("[", r"\[")
    with pytest.raises(TypeError, match=f"^same: x: {got}$"):
        run_unary(same, x, out)
    with pytest.raises(TypeError, match=f"^summed: a: {got}$"):
        run_binary(summed, x, x, out)


def _launched(function: Callable) -> float:
    out = np.zeros(2)
    launch(function, 2, 3.0, out)
    return float(out.sum())


@pytest.mark.slow
def test_a_kernel_goes_to_another_process_by_its_name() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_launched, (stored,)) == 6


def test_a_kernel_is_called_what_its_function_is() -> None:
    assert pickle.loads(pickle.dumps(stored)) is stored
    assert (stored.__name__, stored.__module__, stored.__doc__) == ("stored", __name__, None)
    assert repr(stored) == "<kernel stored(begin, end, value, out)>"
