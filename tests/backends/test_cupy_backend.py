"""The CuPy backend's own code: what it says where no GPU can be used; its launches, on a CuPy made of the emulator."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

import numpy as np
import pytest

import fastconv as fc
import fastconv.backends as registry
from fastconv import nn
from fastconv.backends.cupy_backend import CupyBackend
from fastconv.errors import BackendUnavailableError, DeviceMemoryError
from tests.backends import cases_conv, cases_elementwise, cases_norm, cases_pool, cases_training
from tests.backends.emulated import emulator_or_skip
from tests.backends.op_case import Case, check

_ALL = [c for m in (cases_conv, cases_pool, cases_norm, cases_elementwise, cases_training) for c in m.CASES]
ONE_OF_EACH = list({case.op: case for case in reversed(_ALL) if "empty" not in case.id}.values())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    emulator_or_skip()
    from tests.backends.fake_cupy import FakeCupy

    def install(**what):
        cupy = FakeCupy(**what)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        return cupy

    return install


def test_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    message = r"'cupy': CuPy is not installed; pip install 'fastconv\[cuda12\]'"
    with pytest.raises(BackendUnavailableError, match=message):
        CupyBackend()


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="cupy is not installed")
def test_with_the_real_cupy() -> None:
    """Works, or says that there is no driver or device."""
    import cupy

    if cupy.is_available():
        CupyBackend()
        return
    with pytest.raises(BackendUnavailableError, match=r"no usable NVIDIA driver or device|no device"):
        CupyBackend()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"error": "cudaErrorInsufficientDriver"}, "no usable NVIDIA driver or device.*cudaErrorInsufficientDriver"),
        ({"devices": 0}, "no device.*CUDA_VISIBLE_DEVICES"),
        ({"capability": "75"}, r"compute capability 7\.5; the kernels need 8\.0"),
        ({"memory": 0}, "cannot be used.*Out of memory.*nvidia-smi"),
    ],
)
def test_unusable_gpu_says_why(what: dict, message: str, fake) -> None:
    fake(**what)
    with pytest.raises(BackendUnavailableError, match=f"backend 'cupy': .*{message}"):
        CupyBackend()


def test_out_of_memory(fake) -> None:
    fake(memory=1000)
    backend = CupyBackend()
    with pytest.raises(DeviceMemoryError, match=r"no memory left.*smaller batches"):
        backend.empty((1001,), np.uint8)
    with pytest.raises(DeviceMemoryError):
        backend.asarray(np.zeros(1001, np.uint8))
    backend.empty((999,), np.uint8)


def test_host_arrays_are_not_its_own(fake) -> None:
    fake()
    backend = CupyBackend()
    assert not backend.owns(np.zeros(3))
    moved = backend.asarray(np.zeros((3, 4), ">f4").T)
    assert backend.owns(moved)
    assert moved.flags.c_contiguous
    assert moved.dtype == np.dtype(np.float32)
    assert backend.asarray(moved) is moved
    assert backend.asarray(moved.T).flags.c_contiguous


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: f"{case.op}-{case.id}")
def test_one_case_of_each_operation(case: Case, fake) -> None:
    cupy = fake()
    check(case, CupyBackend(), "float32")
    assert cupy.compiled


def test_a_kernel_is_compiled_once_and_gets_its_shared_memory(fake) -> None:
    cupy = fake()
    case = next(c for c in cases_conv.CASES if c.op == "conv2d" and c.id == "3x3-c64-k160-2x3")
    backend = CupyBackend()
    check(case, backend, "float32")
    assert len(cupy.compiled) == len(set(cupy.compiled))
    granted = {k.name: f.max_dynamic_shared_size_bytes for (_, k), f in backend.device._functions.items()}
    assert granted["pack_weight"] == 48 << 10
    assert granted["conv2d_gather"] > 48 << 10


def test_capture_is_one_graph_that_repeats(fake) -> None:
    cupy = fake()
    backend = CupyBackend()
    x, y = backend.asarray(np.arange(5.0)), backend.asarray(np.zeros(5))

    def twice() -> None:
        part = backend.empty((5,), np.float64)
        backend.scale(x, factor=2.0, out=part)
        backend.add(y, part, out=y)

    replay = backend.capture(twice)
    assert not y.any()  # only put down
    replay()
    replay()
    np.testing.assert_array_equal(backend.to_numpy(y), 4 * np.arange(5.0))
    x[...] = 1
    replay()
    np.testing.assert_array_equal(backend.to_numpy(y), 4 * np.arange(5.0) + 2)
    assert {k.name for k in cupy.compiled} == {"scale_array", "add_arrays"}


def _trainer(*, capture: bool) -> fc.Trainer:
    model = nn.Sequential(
        *(nn.Conv2d(8, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Dense(3)),
    ).build((6, 6, 2), seed=2)
    loss, optimizer = fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 0.01)
    return fc.Trainer(model, loss, optimizer, seed=1, capture=capture)


def test_a_training_step_is_one_graph(fake, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """No launch and no compilation beside the graph but the copies of statistics, batch, loss; dropout draws anew."""
    cupy = fake()
    backend = CupyBackend()
    monkeypatch.setitem(registry._instances, "cupy", backend)
    with fc.use_backend("cupy"):
        x = fc.asarray(rng.standard_normal((4, 6, 6, 2)).astype(np.float32))
        y = fc.asarray(np.array([0, 2, 1, 1], np.int32))
        plain, captured = _trainer(capture=False), _trainer(capture=True)
        expected = [float(plain.train_step(x, y)) for _ in range(3)]
        got = [float(captured.train_step(x, y))]
        compiled, run, ran = len(cupy.compiled), backend.device.run, []
        monkeypatch.setattr(backend.device, "run", lambda launch: (ran.append(launch.kernel.name), run(launch)))
        got += [float(captured.train_step(x, y)) for _ in range(2)]
    assert ran == ["copy_array"] * 4 * 2
    assert len(cupy.compiled) == compiled
    assert got == expected
    assert len(set(got)) == 3
