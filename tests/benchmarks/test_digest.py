"""The digest of what is computed notices a bit, and finds a case that was renamed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from benchmarks.digest import functions as asked
from benchmarks.digest.__main__ import show, write
from benchmarks.digest.comparison import compare
from benchmarks.digest.contract import Insisting, contract_cases
from benchmarks.digest.functions import convolutions, functions
from benchmarks.digest.hashing import compute, digest
from benchmarks.digest.nets import all_models, every_layer, layers_of_few
from fastconv.kernels.pointwise import POINTWISE
from tests.copied_tree import ROOT


def test_one_bit_changes_it() -> None:
    a = np.ones((3, 5), np.float32)
    assert digest([a]) == digest([a.copy()])
    others = [np.nextafter(a, np.float32(2)), a.reshape(5, 3), a.view(np.int32), -0.0 * a]
    assert len({digest([a]), *(digest([other]) for other in others)}) == 5


def test_order_of_arrays_does_not_count_but_their_number_does() -> None:
    a, b = np.zeros(2), np.ones(2)
    assert digest([a, b]) == digest([b, a])
    assert digest([a, b]) != digest([a, b, b])


def test_an_error_is_kept_by_its_class() -> None:
    def fail() -> list[np.ndarray]:
        raise fc.errors.ShapeError("x")

    assert compute([np.zeros(1)], fail).endswith(":ShapeError")


def test_comparison_sorts_the_names() -> None:
    old = {"s: a": "1:1", "s: b": "1:2", "s: c": "1:3", "s: d": "4:4", "s: e": "5:5"}
    new = {"s: a": "1:1", "s: b": "1:9", "s: c": "9:3", "s: dd": "4:4", "t: e": "5:5"}
    assert compare(old, new) == {
        "equal": ["s: a"],
        "renamed": ["s: d -> s: dd"],
        "different": ["s: b"],
        "other inputs": ["s: c"],
        "only old": ["s: e"],
        "only new": ["t: e"],
    }


def test_cases_are_those_of_the_contract_tests() -> None:
    from tests.backends import test_ops

    assert sorted((case.op, case.id) for case in contract_cases()) == sorted((c.op, c.id) for c in test_ops.CASES)


def test_precision_is_insisted_on() -> None:
    heard = []
    insisting = Insisting(SimpleNamespace(op=lambda *a, **k: heard.append((a, k)), name="n"), "strict")
    insisting.op(1, out=2)
    assert not insisting.asked
    insisting.op(1, precision="default", out=2)
    assert insisting.asked
    assert heard == [((1,), {"out": 2}), ((1,), {"precision": "strict", "out": 2})]
    assert insisting.name == "n"


def _spy(name: str, function: Callable[..., Any], called: set[str]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        called.add(name)
        return function(*arguments, **named)

    return call


def test_every_public_function_and_layer_is_asked() -> None:
    called: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        for name in fc.functional.__all__:
            function = getattr(fc.functional, name)
            if name != "dropout":  # whose types are asked for
                patch.setattr(fc.functional, name, _spy(name, function, called))
        patch.setattr(asked, "convolutions", lambda: list(convolutions())[:1])
        functions("numpy", ["default"], [1])
    assert called >= set(fc.functional.__all__) - {"dropout"}
    layers = {type(layer) for make in (every_layer, layers_of_few, all_models()["lenet5"]) for layer in make().walk()}
    public = {value for value in vars(fc.nn).values() if isinstance(value, type) and issubclass(value, fc.nn.Layer)}
    pointwise = {getattr(fc.nn, function.layer) for function in POINTWISE.values()}  # asked one by one in the functions
    others = {layer.__name__ for layer in public - layers - pointwise}
    # SyncBatchNorm is a BatchNorm2d where a batch is not cut.
    assert others <= {"Layer", "Identity", "GlobalAvgPool2d", "PointwiseLayer", "SyncBatchNorm"}


def test_two_runs_are_equal_and_a_missing_name_is_told(tmp_path, monkeypatch, capsys) -> None:
    from benchmarks.digest import __main__ as program

    a, b = tmp_path / "a.json", tmp_path / "b.json"
    monkeypatch.setitem(program.STAGES, "functions", lambda: {"n f": "1:1", "n g": "1:ShapeError"})
    write(a, ["functions"])
    assert "functions: 2 digests" in capsys.readouterr().out
    write(b, ["functions"])
    assert show(a, b, 5) == 0
    monkeypatch.setitem(program.STAGES, "functions", lambda: {"n f": "1:1"})
    write(b, ["functions"])
    assert show(a, b, 5) == 1
    assert "only old: 1\n    functions: n g" in capsys.readouterr().out


_IMITATED = """
from benchmarks.digest.imitation import imitate
imitate()
import numpy as np
import fastconv as fc

backend = fc.get_backend()
assert "fast" in backend.precisions, "no vectors of 64 bytes"
rng = np.random.default_rng(0)
x, weight = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((2, 9, 8, 40), (3, 3, 40, 24)))
with fc.precision("strict"):
    exact = fc.functional.conv2d(x, weight, stride=2)
with fc.precision("fast"):
    assert np.array_equal(fc.functional.conv2d(x, weight, stride=2), exact)  # small integers are bfloat16
    x += np.float32(2**-8)  # 1 + 2**-8 is not, and rounds to even
    rounded = x.view(np.uint32)
    rounded = ((rounded + 0x7FFF + (rounded >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    got = fc.functional.conv2d(x, weight, stride=2)
with fc.precision("strict"):
    assert not np.array_equal(rounded, x)
    np.testing.assert_allclose(got, fc.functional.conv2d(rounded, weight, stride=2), rtol=0, atol=1e-3)
"""


@pytest.mark.slow
def test_imitated_bfloat16_rounds_and_multiplies(tmp_path: Path) -> None:
    variables = {"FASTCONV_CACHE_DIR": str(tmp_path), "FASTCONV_BACKEND": "numba"}
    done = subprocess.run(
        [sys.executable, "-c", _IMITATED],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if "no vectors of 64 bytes" in done.stderr:
        pytest.skip("needs a CPU with AVX-512")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "imitated").rglob("*.kernel"))
