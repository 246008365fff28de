"""The CuPy backend's own code: what it says where no GPU can be used; its launches, on a CuPy made of the emulator."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.backends as registry
from fastconv import nn
from fastconv.backends.cuda.cupy import CupyBackend
from fastconv.errors import BackendUnavailableError, DeviceMemoryError
from fastconv.kernels.cuda.runtime import nvrtc
from tests.backends.cases import conv as cases_conv
from tests.backends.cases import elementwise as cases_elementwise
from tests.backends.cases import norm as cases_norm
from tests.backends.cases import pool as cases_pool
from tests.backends.cases import training as cases_training
from tests.backends.emulator.emulated import emulator_or_skip
from tests.backends.op_case import Case, check

_ALL = [c for m in (cases_conv, cases_pool, cases_norm, cases_elementwise, cases_training) for c in m.CASES]
ONE_OF_EACH = list({case.kind: case for case in reversed(_ALL) if "empty" not in case.id}.values())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    emulator_or_skip()
    from tests.backends.cuda.fake_cupy import FakeCupy, install

    def make(**what: Any) -> Any:
        cupy = FakeCupy(**what)
        install(monkeypatch, cupy, tmp_path)
        return cupy

    return make


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
        ({"shared": 47 << 10}, "gives a block 48128 bytes of shared memory; the kernels need 49152"),
    ],
)
def test_unusable_gpu_says_why(what: dict, message: str, fake) -> None:
    fake(**what)
    with pytest.raises(BackendUnavailableError, match=f"backend 'cupy': .*{message}"):
        CupyBackend()


def test_out_of_memory(fake) -> None:
    fake(memory=1000)
    backend = CupyBackend()
    with pytest.raises(DeviceMemoryError, match=r"no memory left.*smaller batches.*fastconv.free_memory"):
        backend.empty((1001,), np.uint8)
    with pytest.raises(DeviceMemoryError):
        backend.asarray(np.zeros(1001, np.uint8))
    backend.empty((999,), np.uint8)


def test_idle_memory_goes_back(fake) -> None:
    fake()
    backend = CupyBackend()
    assert (backend.free_memory(), backend.free_memory()) == (1000, 0)


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


# Some in the default suite; the others with those of the emulator, as each compiles a kernel or more.
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if number % 16 == 0 else pytest.mark.emulator, id=f"{case.op}-{case.id}")
        for number, case in enumerate(ONE_OF_EACH)
    ],
)
def test_one_case_of_each_operation(case: Case, fake) -> None:
    cupy = fake()
    check(case, CupyBackend(), "float32")
    assert cupy.compiled


def _conv(name: str, op: str = "conv2d") -> Case:
    return next(case for case in cases_conv.CASES if (case.op, case.id) == (op, name))


# Just 48 KB of dynamic shared memory, and a table of pixels besides.
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(_conv(name), marks=() if name == "3x3-c64-k64-4x4" else pytest.mark.emulator, id=name)
        for name in ("3x3-c64-k64-4x4", "3x3-c96-k48-7x5", "3x3-c31-k33-4x15")
    ],
)
def test_static_shared_memory_counts(case: Case, fake) -> None:
    fake()
    check(case, CupyBackend(), "float32")


def test_a_kernel_is_compiled_once_and_gets_its_shared_memory(fake) -> None:
    cupy = fake()
    backend = CupyBackend()
    check(_conv("3x3-c64-k160-2x3"), backend, "float32")
    assert len(cupy.compiled) == len(set(cupy.compiled)) == len(cupy.loaded)
    granted = {k.name: f.max_dynamic_shared_size_bytes for (_, k), f in backend.device._functions.items()}
    assert granted["pack_weight"] == 48 << 10
    assert granted["conv2d_gather"] > 48 << 10


@pytest.mark.emulator
def test_a_device_with_less_shared_memory_gets_smaller_tiles(fake) -> None:
    """The launch that an H100 gets would be refused; the result is right all the same."""
    case = cases_conv.forward(cases_conv.Conv("wide", 8, (4, 4), 160, 64, (5, 5), padding=((2, 2), (2, 2))))
    tiles = []
    for capability, shared in (("90", 227 << 10), ("86", 48 << 10)):
        cupy = fake(capability=capability, shared=shared)
        check(case, CupyBackend(), "float32")
        tiles.append(next(kernel for kernel in cupy.loaded if kernel.name == "conv2d_halo"))
    assert tiles[0] != tiles[1]


def test_what_was_made_ahead_needs_no_compiler(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    case = _conv("1x1-c64-k32")
    first = fake()
    check(case, CupyBackend(), "float32")
    assert first.compiled
    second = fake()
    monkeypatch.setattr(nvrtc, "compile_text", _no_compiler)
    check(case, CupyBackend(), "float32")
    assert not second.compiled
    assert second.loaded == first.loaded


def _no_compiler(*arguments: object) -> None:
    raise nvrtc.CompilerUnavailableError("NVRTC, CUDA's compiler, is not installed")


def test_without_a_compiler_it_says_what_to_install(fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake()
    monkeypatch.setattr(nvrtc, "compile_text", _no_compiler)
    backend = CupyBackend()
    x = backend.asarray(np.ones(3, np.float32))
    message = (
        r"backend 'cupy': scale_array: NVRTC, CUDA's compiler, is not installed, and .*sm_90/scale_array-\w+\.cubin"
        r" is not there; pip install 'fastconv\[cuda12\]' \(or cuda13\) brings a compiler, or .*warmup --target sm_90'"
    )
    with pytest.raises(BackendUnavailableError, match=message):
        backend.scale(x, factor=2.0, out=x)


@pytest.mark.parametrize("damage", [b"", b"nonsense"])
def test_damaged_machine_code_is_compiled_anew(damage: bytes, fake, tmp_path: Path) -> None:
    fake()
    backend = CupyBackend()
    x = backend.asarray(np.ones(3, np.float32))
    backend.scale(x, factor=2.0, out=x)
    (path,) = tmp_path.rglob("*.cubin")
    whole = path.read_bytes()
    path.write_bytes(damage)
    cupy = fake()
    backend = CupyBackend()
    x = backend.asarray(np.ones(3, np.float32))
    backend.scale(x, factor=2.0, out=x)
    assert (len(cupy.compiled), path.read_bytes()) == (1, whole)
    assert backend.to_numpy(x).tolist() == [2, 2, 2]


def test_machine_code_of_another_device_is_not_looked_at(fake) -> None:
    first = fake()
    check(_conv("1x1-c64-k32"), CupyBackend(), "float32")
    second = fake(capability="80", shared=163 << 10)
    check(_conv("1x1-c64-k32"), CupyBackend(), "float32")
    assert len(second.compiled) == len(first.compiled) > 0


def test_an_older_driver_is_told(fake) -> None:
    fake()
    backend = CupyBackend()
    backend.scale(backend.asarray(np.ones(3)), factor=2.0, out=backend.empty((3,), np.float64))
    fake(driver=12040)
    backend = CupyBackend()
    message = "the driver, of CUDA 12.4, does not load machine code for sm_90 made by NVRTC 13.0 .*INVALID_IMAGE.*newer"
    with pytest.raises(BackendUnavailableError, match=message):
        backend.scale(backend.asarray(np.ones(3)), factor=2.0, out=backend.empty((3,), np.float64))


def test_a_launch_that_fails_ends_the_capture(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake()
    backend = CupyBackend()
    x, y = backend.asarray(np.ones(5)), backend.empty((5,), np.float64)
    launch_of, failing = backend.device.run, []

    def run(launch):
        if failing and launch.kernel.name == failing[0]:
            raise RuntimeError("refused")
        launch_of(launch)

    def twice() -> None:
        backend.scale(x, factor=2.0, out=y)
        backend.add(x, y, out=y)

    monkeypatch.setattr(backend.device, "run", run)
    failing.append("add_arrays")
    with pytest.raises(RuntimeError, match="refused"):
        backend.capture(twice)
    failing.clear()
    backend.scale(x, factor=4.0, out=y)  # as before: nothing captures
    assert backend.to_numpy(y).tolist() == [4.0] * 5
    backend.capture(twice)()
    assert backend.to_numpy(y).tolist() == [3.0] * 5


def test_capture_is_one_graph_that_repeats(fake) -> None:
    cupy = fake()
    backend = CupyBackend()
    x, y = backend.asarray(np.arange(5.0)), backend.asarray(np.zeros(5))

    def twice() -> None:
        part = backend.empty((5,), np.float64)
        backend.scale(x, factor=2.0, out=part)
        backend.add(y, part, out=y)

    replay = backend.capture(twice)
    assert not backend.to_numpy(y).any()  # only put down
    replay()
    replay()
    np.testing.assert_array_equal(backend.to_numpy(y), 4 * np.arange(5.0))
    x[...] = 1
    replay()
    np.testing.assert_array_equal(backend.to_numpy(y), 4 * np.arange(5.0) + 2)
    assert {k.name for k in cupy.loaded} == {"scale_array", "add_arrays"}


def _trainer(*, capture: bool) -> fc.Trainer:
    model = nn.Sequential(
        *(nn.Conv2d(8, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Dense(3)),
    ).build((6, 6, 2), seed=2)
    loss, optimizer = fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 0.01)
    return fc.Trainer(model, loss, optimizer, seed=1, capture=capture)


@pytest.mark.emulator
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
        loaded, run, ran = len(cupy.loaded), backend.device.run, []
        monkeypatch.setattr(backend.device, "run", lambda launch: (ran.append(launch.kernel.name), run(launch)))
        got += [float(captured.train_step(x, y)) for _ in range(2)]
    assert ran == ["copy_array"] * 4 * 2
    assert len(cupy.loaded) == loaded
    assert got == expected
    assert len(set(got)) == 3
