"""The seam itself: signatures, the registry, and what a wrong choice of backend says."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

import fastconv.backends as registry
from fastconv import functional as F
from fastconv.backends import available_backends, get_backend, set_backend, use_backend, why_unavailable
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.losses import Losses
from fastconv.errors import ArgumentError, BackendUnavailableError, FastconvError

# Read from the contract, not from the class under test, which would hide an operation that it lacks.
PUBLIC = sorted(
    name
    for cls in Backend.__mro__
    if issubclass(cls, Losses)
    for name, value in vars(cls).items()
    if inspect.isfunction(value) and name[0] != "_"
)


def concrete_classes() -> list[type[Backend]]:
    """Every backend class, usable here or not."""
    classes = []
    for place in registry._CLASSES.values():
        module_name, class_name = place.split(":")
        classes.append(getattr(importlib.import_module(module_name), class_name))
    return classes


def shape_of(function: object) -> list[tuple[str, object, object]]:
    """Names, kinds and defaults of what a caller gives: the backend, or its device, is bound to the first parameter."""
    parameters = list(inspect.signature(function).parameters.values())
    bound = parameters[0].name in ("self", "device")
    return [(p.name, p.kind, p.default) for p in parameters[bound:]]


def test_contract_has_operations() -> None:
    assert len(PUBLIC) >= 45
    assert set(Backend.__abstractmethods__) <= set(PUBLIC)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_signatures_are_those_of_the_contract(name: str) -> None:
    cls = type(get_backend(name))
    wrong = {
        operation: (shape_of(getattr(cls, operation)), shape_of(getattr(Backend, operation)))
        for operation in PUBLIC
        if shape_of(getattr(cls, operation)) != shape_of(getattr(Backend, operation))
    }
    assert not wrong


def test_all_importable_backends_keep_the_signatures() -> None:
    for cls in concrete_classes():
        for operation in PUBLIC:
            assert shape_of(getattr(cls, operation)) == shape_of(getattr(Backend, operation)), (cls, operation)


def test_no_backend_adds_an_operation() -> None:
    for cls in concrete_classes():
        public = {name for name in dir(cls) if name[0] != "_" and callable(getattr(cls, name))}
        assert public == set(PUBLIC), cls


def test_signature_check_notices_the_kind_of_a_parameter() -> None:
    def scale(self: object, x: object, factor: float, out: object) -> None: ...

    assert shape_of(scale) != shape_of(Backend.scale)


def test_names_and_precisions(backend: Backend) -> None:
    assert get_backend(backend.name) is backend
    assert {"strict", "default"} <= set(backend.precisions)
    assert backend.on_host is True


def test_cpu_backends_are_available() -> None:
    assert {"numpy", "numba"} <= set(available_backends())
    assert available_backends()[0] == "numba"


def test_unknown_name_lists_the_choices() -> None:
    for choose in (get_backend, set_backend, lambda name: use_backend(name).__enter__()):
        with pytest.raises(ArgumentError, match=r"backend: got 'tensor'; allowed: .*numba.*numpy.*cupy.*auto"):
            choose("tensor")


def test_name_is_folded() -> None:
    assert get_backend(" NumPy ") is get_backend("numpy")


@pytest.mark.parametrize("name", ["cupy", "cuda-emulator"])
def test_unusable_backend_says_why(name: str) -> None:
    reason = why_unavailable(name)
    if reason is None:
        pytest.skip(f"{name} can be used here")
    assert name in reason
    assert name not in available_backends()
    with pytest.raises(BackendUnavailableError, match=name):
        set_backend(name)
    assert get_backend().name != name


def test_use_backend_nests_and_ends() -> None:
    set_backend("numpy")
    before = get_backend()
    with use_backend("numpy") as outer, use_backend("numpy") as inner:
        assert outer is inner is get_backend()
    with pytest.raises(ZeroDivisionError), use_backend("numpy"):
        raise ZeroDivisionError
    assert get_backend() is before


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "FASTCONV_BACKEND"} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


ASK = "from fastconv.backends import get_backend; print(get_backend().name)"


@pytest.mark.parametrize(("device", "here"), [("cuda", "cupy"), ("cuda:0", "cupy"), ("GPU", "cupy"), ("cpu", "numba")])
def test_a_device_of_elsewhere_is_told_its_backend(device: str, here: str) -> None:
    with pytest.raises(ArgumentError, match=rf"backend: got '{device}'; allowed: .*, auto \(nearest: '{here}'\)$"):
        set_backend(device)


def test_environment_chooses() -> None:
    done = run_python(ASK, FASTCONV_BACKEND="NumPy")
    assert (done.stdout.strip(), done.returncode) == ("numpy", 0), done.stderr


def test_unknown_environment_value_is_an_error_that_lists_the_choices() -> None:
    done = run_python(ASK, FASTCONV_BACKEND="nmba")
    assert done.returncode != 0
    assert (
        "ArgumentError: FASTCONV_BACKEND: got 'nmba'; allowed: numba, numpy, cupy, cuda-emulator, auto" in done.stderr
    )


def test_unavailable_environment_value_does_not_fall_back() -> None:
    if why_unavailable("cupy") is None:
        pytest.skip("cupy can be used here")
    done = run_python(ASK, FASTCONV_BACKEND="cupy")
    assert done.returncode != 0
    assert "BackendUnavailableError" in done.stderr
    assert done.stdout == ""


def test_environment_is_read_at_first_use() -> None:
    code = "import os, fastconv.backends as b; os.environ['FASTCONV_BACKEND'] = 'numpy'; print(b.get_backend().name)"
    assert run_python(code, FASTCONV_BACKEND="nonsense").stdout.strip() == "numpy"


def test_array_operations(backend: Backend) -> None:
    made = backend.empty((2, 3), np.float32)
    assert made.shape == (2, 3)
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    assert backend.owns(made)
    assert not backend.owns([1.0])
    assert not backend.owns(np.float32(1))
    assert backend.to_numpy(made) is made
    assert backend.asarray(made) is made
    backend.synchronize()


@pytest.mark.parametrize(
    "odd",
    [
        np.arange(12.0).reshape(3, 4)[:, ::2],
        np.arange(12.0).reshape(3, 4)[::-1],
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12).astype(">f8").reshape(3, 4),
        np.broadcast_to(np.arange(3.0), (2, 3)),
        np.frombuffer(b"\0" + np.arange(4.0).tobytes(), "u1")[1:].view("f8"),
        np.array(2.5),
        np.zeros((0, 3)),
    ],
    ids=["strided", "reversed", "transposed", "big-endian", "broadcast", "unaligned", "scalar", "empty"],
)
def test_asarray_normalises(backend: Backend, odd: np.ndarray) -> None:
    array = backend.asarray(odd)
    assert type(array) is np.ndarray
    assert array.flags.c_contiguous
    assert array.flags.aligned
    assert array.dtype.isnative
    assert array.shape == odd.shape
    np.testing.assert_array_equal(array, odd)


def test_asarray_converts(backend: Backend) -> None:
    assert backend.asarray([[1, 2], [3, 4]], np.float32).dtype == np.float32
    assert backend.asarray(np.ones(3), np.float32).dtype == np.float32


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (
            np.ma.masked_array([1.0, 2.0], [True, False]),
            None,
            "got a masked array, whose mask would be lost; allowed: ",
        ),
        (
            [[1], [1, 2]],
            None,
            r"got \[\[1\], \[1, 2\]\] \(.*inhomogeneous.*; allowed: numbers, in an array or in nested",
        ),
        (["one"], np.float32, r"got \['one'\] \("),
        ([1000], np.int8, r"got \[1000\] \("),
        (np.array([1j]), np.float32, "got complex128; allowed: numbers that float32 holds"),
        (np.array(["1"]), np.float64, "got <U1; allowed: numbers that float64 holds"),
        (np.array(["2026-11-30"], "M8[D]"), np.int64, r"got datetime64\[D\]; allowed: numbers that int64 holds"),
    ],
    ids=["masked", "ragged", "word", "too large", "complex", "words", "dates"],
)
def test_asarray_names_what_is_no_array_of_numbers(
    backend: Backend, value: object, dtype: type | None, words: str
) -> None:
    with pytest.raises(FastconvError, match=f"^array: {words}"):
        backend.asarray(value, dtype)


class _Tensor:
    """One of PyTorch that asks for its gradient."""

    dtype = "float32"

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("Use tensor.detach().numpy() instead.")


def test_asarray_tells_what_a_tensor_says(backend: Backend) -> None:
    with pytest.raises(FastconvError, match=r"^array: got .* \(Use tensor\.detach\(\)\.numpy\(\) instead\.\); allowed"):
        backend.asarray(_Tensor(), np.float32)


@pytest.mark.parametrize(("channels", "columns"), [(16, 16), pytest.param(17, 33, marks=pytest.mark.slow)])
def test_set_num_threads_changes_no_bits(
    channels: int, columns: int, backend: Backend, rng: np.random.Generator
) -> None:
    shapes = (3, 9, 9, channels), (3, 3, channels, columns)
    x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    results, before = [], backend.num_threads
    try:
        for count in (1, 2, 4):
            backend.set_num_threads(count)
            assert backend.num_threads == (count if backend.name == "numba" else 1)
            y = F.conv2d(x, weight, padding=1)
            results.append(
                (y.tobytes(), F.conv2d_backward_weight(y, x, weight_shape=weight.shape, padding=1).tobytes())
            )
    finally:
        backend.set_num_threads(before)
    assert results[0] == results[1] == results[2]
