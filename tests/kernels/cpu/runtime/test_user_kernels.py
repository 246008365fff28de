"""Kernels that somebody writes outside of the package: what runs is what is written, and what cannot run is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

from fastconv.kernels.cpu.elementwise import maps, pointwise
from fastconv.kernels.cpu.runtime import launch
from fastconv.kernels.cpu.runtime.compiler import NeedsInterpreterError
from fastconv.kernels.cpu.runtime.launch import device, kernel

# Each kind of place where a number of the user's may stand. A script prints what every kernel gives for x = 1.
PARTS = """
FACTOR = NUMBER
def helper(x): return x * NUMBER
"""
SCRIPT = """
import numpy as np, numba
from fastconv.kernels.cpu.elementwise.maps import make_binary, make_unary, run_binary, run_unary
from fastconv.kernels.cpu.elementwise.pointwise import FORWARD
from fastconv.kernels.cpu.runtime.launch import device, kernel, launch
from fastconv.kernels.cpu.vector.simd import vsplat
import parts
from parts import helper
FACTOR, TABLE, PAIR = float(NUMBER), np.array([1.0, NUMBER]), (0, (1.0, NUMBER))
made = {}
def keep(function):
    made[function.function.__name__] = function
    return function
@kernel
def written(begin, end, x):
    for i in range(begin, end): x[i] *= NUMBER
keep(written)
@keep
@kernel
def of_a_global(begin, end, x):
    for i in range(begin, end): x[i] *= FACTOR
@keep
@kernel
def of_an_array(begin, end, x):
    for i in range(begin, end): x[i] *= TABLE[1]
@keep
@kernel
def of_a_tuple(begin, end, x):
    for i in range(begin, end): x[i] *= PAIR[1][1]
@keep
@kernel
def of_another_module(begin, end, x):
    for i in range(begin, end): x[i] *= parts.FACTOR
def closed(factor):
    @kernel
    def of_a_closure(begin, end, x):
        for i in range(begin, end): x[i] *= factor
    return of_a_closure
keep(closed(NUMBER))
inner = device(lambda x: x * NUMBER)
outer = device(lambda x: inner(x) + 0.0)
@keep
@kernel
def of_a_helper(begin, end, x):
    for i in range(begin, end): x[i] = outer(x[i])
imported = numba.njit(helper)
@keep
@kernel
def of_a_helper_elsewhere(begin, end, x):
    for i in range(begin, end): x[i] = imported(x[i])
for name, function in made.items():
    x = np.ones(4)
    launch(function, 4, x)
    print(name, x[0])
x, out = np.ones(1000), np.empty(1000)
# Factories of the package, and names that it has itself.
@device
def times(x, parameters, dt):
    for _ in range(NUMBER - 1):
        x = x + vsplat(parameters[0], dt)
    return x
@device
def both(a, b, parameters, dt):
    for _ in range(NUMBER - 1):
        a = a + b
    return a
run_unary(make_unary("relu_forward", times), x, out, (1.0,))
print("unary", out[0])
run_binary(make_binary("add_arrays", both), x, x, out)
print("binary", out[0])
run_unary(FORWARD["relu"], -x, out)
print("relu", out[0])
"""
KINDS = (
    *("written", "of_a_global", "of_an_array", "of_a_tuple", "of_another_module", "of_a_closure", "of_a_helper"),
    *("of_a_helper_elsewhere", "unary", "binary"),
)


def _run(folder: Path, code: str, **environment: str) -> str:
    command = [sys.executable, "-B", "-c", code] if "\n" in code else [sys.executable, "-B", code]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, dict[str, float]]]:
    """What a script prints that is edited between its runs, as are the functions that it imports."""
    folder, found = tmp_path_factory.mktemp("user"), []
    for number in (3, 5):
        (folder / "parts.py").write_text(PARTS.replace("NUMBER", str(number)))
        (folder / "script.py").write_text(SCRIPT.replace("NUMBER", str(number)))
        pairs = (line.split() for line in _run(folder, "script.py").splitlines())
        found.append((number, {word: float(value) for word, value in pairs}))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_kernel_runs_its_new_code(kind: str, printed: list[tuple[int, dict[str, float]]]) -> None:
    assert [values[kind] for _, values in printed] == [number for number, _ in printed]


@pytest.mark.slow
def test_the_packages_own_kernel_stays_what_it_is(printed: list[tuple[int, dict[str, float]]]) -> None:
    assert [values["relu"] for _, values in printed] == [0, 0]


def test_a_cell_run_again_is_what_it_says(rng: np.random.Generator) -> None:
    """In one process, as in a notebook: the same name and place, other code; and a closure's other value."""
    cell = "@kernel\ndef scaled(begin, end, x):\n    for i in range(begin, end): x[i] *= FACTOR if ON else 1.0\n"
    for factor in rng.integers(2, 100, 2):
        for on in (0, 1):
            space = {"kernel": kernel, "FACTOR": float(factor), "__name__": "__main__"}
            exec(compile(cell.replace("ON", str(on)), "<cell>", "exec"), space)
            x = np.ones(4)
            launch.launch(space["scaled"], 4, x)
            assert x.tolist() == [factor if on else 1] * 4


def test_only_what_the_package_declares_is_kept(tmp_path: Path) -> None:
    mine = maps.make_unary("relu_forward", pointwise._relu)
    signature = (numba.float32[::1], numba.types.Tuple(()), numba.float32[::1], numba.boolean)
    assert mine._cache._path(signature) is None
    mine._cache.enable()
    assert mine._cache._path(signature) is None
    assert pointwise.FORWARD["relu"]._cache._path(signature) is not None


@device
def _shout(x):
    print("x is", x)
    return x


@numba.njit
def _whisper(x):
    print(x)
    return x


@kernel
def prints_words(begin, end, x):
    for _ in range(begin, end):
        print("here")


@kernel
def prints_values(begin, end, x):
    for i in range(begin, end):
        print(i, x[i])


@kernel
def prints_in_a_part(begin, end, x):
    for i in range(begin, end):
        x[i] = _shout(x[i])


@kernel
def prints_in_a_function_of_numba(begin, end, x):
    for i in range(begin, end):
        x[i] = _whisper(x[i])


@kernel
def calls_python(begin, end, x):
    for i in range(begin, end):
        with numba.objmode():
            pass
        x[i] += 1


@pytest.mark.filterwarnings("ignore:Code running in object mode")  # which is refused here
@pytest.mark.parametrize(
    ("function", "where"),
    [
        (prints_words, "prints_words"),
        (prints_values, "prints_values"),
        (prints_in_a_part, "_shout"),
        (prints_in_a_function_of_numba, "_whisper"),
        (calls_python, "calls_python"),
    ],
    ids=lambda value: None if isinstance(value, str) else value.function.__name__,
)
def test_what_needs_the_interpreter_is_refused(function, where: str) -> None:
    """Threads that wait there for its lock wait for ever; so nothing of it is run, also on one thread."""
    x = np.zeros(64)
    for _ in range(2):
        with pytest.raises(NeedsInterpreterError, match=f"calls Python's interpreter, in {where}; allowed"):
            launch.launch(function, 64, x)
    assert not x.any()
    out = np.empty(4, np.float32)
    maps.scale(np.ones(4, np.float32), factor=2.0, out=out)
    assert out.tolist() == [2] * 4


@kernel
def computes_with_much_of_numba(begin, end, x):
    for i in range(begin, end):
        pairs = {i: 1.0}
        if x[i] < 0:
            raise ValueError("negative at", i)
        x[i] += len([1.0, pairs[i]]) + np.empty(3).size + len(str(7))


@pytest.mark.slow
def test_what_needs_none_runs_and_its_error_arrives() -> None:
    x = np.zeros(64)
    launch.launch(computes_with_much_of_numba, 64, x)
    assert (x == 6).all()
    x[5] = -1
    with pytest.raises(ValueError, match="negative"):
        launch.launch(computes_with_much_of_numba, 64, x)


def test_the_example_of_the_catalogue_computes() -> None:
    text = (Path(__file__).parents[4] / "kernels" / "README.md").read_text()
    block = text.split("## A kernel of your own")[1].split("\n##")[0]
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(textwrap.dedent("\n".join(line for line in block.splitlines() if line.startswith("    "))), space)
    x, out = space["x"], space["out"]
    np.testing.assert_allclose(out, x**3)
    out[:] = 0
    space["cubed"].function(0, 10, x, out)  # in plain Python
    assert np.count_nonzero(out) == 9


OVERRUN = """
import numpy as np
from fastconv.kernels.cpu.runtime.launch import kernel, launch, set_num_threads
set_num_threads(2)
@kernel
def overrun(begin, end, x, far):
    for task in range(begin, end):
        x[task + far] += 1
for far in (5, -70):
    try:
        launch(overrun, 64, np.zeros(64), far)
    except IndexError:
        continue
    raise SystemExit(f"no IndexError at {far}")
out = np.zeros(69)
launch(overrun, 64, out, 5)
assert out.sum() == 64
"""


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["FASTCONV_BOUNDSCHECK", "NUMBA_BOUNDSCHECK"])
def test_an_index_out_of_bounds_is_an_error_where_asked_for(variable: str, tmp_path: Path) -> None:
    _run(tmp_path, OVERRUN, **{variable: "1"})


def test_a_kernel_of_code_without_a_module():
    """What ``exec`` runs in names of its own, as some notebooks and doctests do, has no ``__name__``."""
    x, out, names = np.arange(4.0), np.empty(4), {}
    for number in (2, 3):
        source = f"""
from fastconv.kernels.cpu.runtime.launch import kernel
@kernel
def shifted(begin, end, x, out):
    for i in range(begin, end):
        out[i] = x[i] + {number}
"""
        exec(source, names)
        launch.launch(names["shifted"], 4, x, out)
        np.testing.assert_array_equal(out, x + number)


def test_a_kernel_is_no_function_and_a_function_no_kernel():
    """As compiled code it would write to the address that `begin` is."""

    @kernel
    def doubled(begin, end, x):
        for i in range(begin, end):
            x[i] *= 2

    def plain(begin, end, x):
        pass

    x = np.ones(4)
    for call in (lambda: doubled(0, 4, x), lambda: doubled(1 << 40, 4, x), doubled):
        with pytest.raises(TypeError, match=r"doubled: got a call of a kernel; allowed: launch\(doubled, tasks"):
            call()
    for wrong in (plain, None, np.sum):
        with pytest.raises(TypeError, match=r"launch: got .*; allowed: what `kernel` made of a function"):
            launch.launch(wrong, 4, x)
    assert (x == 1).all()
    launch.launch(doubled, 4, x)
    doubled.function(0, 2, x)
    assert x.tolist() == [4, 4, 2, 2]


@kernel
def copied(begin, end, scratch, x, out):
    for i in range(begin, end):
        scratch[0] = x[i]
        out[i] = scratch[0]


@kernel
def first_copied(begin, end, pair, out):
    for i in range(begin, end):
        out[i] = pair[0][i]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (np.arange(4, dtype=np.dtype("f4").newbyteorder()), "an array of .f4, bytes in the order of other machines"),
        (np.ma.masked_array(np.arange(4, dtype="f4"), [True] * 4), "a masked array, whose mask would be lost"),
        (np.ma.masked_array(np.arange(4, dtype="f4")), "a masked array, whose mask would be lost"),
    ],
)
def test_arrays_that_compiled_code_would_misread_are_refused(wrong: np.ndarray, got: str, compiled: bool) -> None:
    x, out, scratch = np.arange(4, dtype="f4"), np.zeros(4, "f4"), np.zeros((launch.get_num_threads(), 1), "f4")
    if compiled:
        launch.launch(copied, 4, x, out, scratch=scratch)
        launch.launch(first_copied, 4, (x, 1), out)
        assert out.tolist() == [0, 1, 2, 3]
    out[:] = -1
    for name, call in {
        "copied: x": lambda: launch.launch(copied, 4, wrong, out, scratch=scratch),
        "copied: scratch": lambda: launch.launch(copied, 4, x, out, scratch=wrong[:, None]),
        "first_copied: pair": lambda: launch.launch(first_copied, 4, (wrong, 1), out),
    }.items():
        with pytest.raises(TypeError, match=f"^{name}: got {got}; allowed: "):
            call()
        with launch.record() as program, pytest.raises(TypeError, match=f"^{name}: got {got}"):
            call()
        assert not program.names
    assert (out == -1).all()


def test_arrays_of_other_types_and_layouts_are_compiled_for():
    for x in (np.arange(8.0)[::2], np.arange(4, dtype="i2"), np.broadcast_to(np.float32(3), 4), np.arange(4.0)[::-1]):
        out = np.zeros(4)
        launch.launch(first_copied, 4, (x, 1), out)
        assert out.tolist() == x.tolist()


def test_what_a_factory_makes_of_a_function_of_ones_own_is_looked_at_too():
    made = maps.make_unary("same", device(lambda x, parameters, dtype: x))
    out = np.zeros(4)
    maps.run_unary(made, np.ones(4), out)
    assert (out == 1).all()
    with pytest.raises(TypeError, match=r"same: x: got an array of .f8, bytes in the order"):
        maps.run_unary(made, np.ones(4, np.dtype(float).newbyteorder()), out)


@pytest.mark.parametrize("wrong", [2.5, 2.0, "2", None, np.float32(2), np.arange(2)], ids=str)
def test_a_number_of_tasks_is_an_int(wrong) -> None:
    x, out = np.arange(4, dtype="f4"), np.zeros(4, "f4")
    with pytest.raises(TypeError, match=r"^launch: tasks: got .* for .*first_copied.*; allowed: an int$"):
        launch.launch(first_copied, wrong, (x, 1), out)
    with launch.record() as program, pytest.raises(TypeError, match=r"^launch: tasks: got"):
        launch.launch(first_copied, wrong, (x, 1), out)
    assert not program.names
    assert not out.any()
    launch.launch(first_copied, np.int64(3), (x, 1), out)
    assert out.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("many", [2**46 + 1, 2**62, 2**63, 10**30])
def test_more_tasks_than_can_be_divided_are_refused(many) -> None:
    """Of 2**62 the chunks began at numbers below 0; past 2**63 an int was too large to convert."""
    out = np.zeros(4, "f4")
    with pytest.raises(ValueError, match=rf"^launch: tasks: got {many} for .*; allowed: an int of at most 2\*\*46$"):
        launch.launch(first_copied, many, (out, 1), out)
