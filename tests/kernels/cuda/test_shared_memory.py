"""Every launch's shared memory, dynamic and static together, fits the device: models, batches, random geometries."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from benchmarks import cuda_compile, nvrtc
from fastconv.backends.cuda.launches import Launch
from fastconv.backends.emulator.dry import DryBackend, dry_backend
from fastconv.kernels.cuda.conv import choice
from fastconv.kernels.cuda.runtime.device import SHARED_MEMORY, Kernel, SharedMemoryError
from fastconv.kernels.epilogue import NO_EPILOGUE
from fastconv.kernels.geometry import ConvGeometry
from tests.backends.cases.conv import Conv, backward_input, backward_weight, forward
from tests.backends.cuda.fake_cupy import static_shared_bytes
from tests.backends.emulator.emulated import emulator_or_skip
from tests.benchmarks.test_cuda_compile import RECORD, needs_nvrtc

LIMITS = (choice.LEAST_SHARED_MEMORY, *sorted(set(SHARED_MEMORY.values())))
MODELS = ("lenet5", "keras_cnn", "resnet20", "resnet9")
BATCHES = (1, 7, 16, 128, 512, 1024, 4096)


def bytes_of(launch: Launch) -> int:
    return launch.shared_bytes + static_shared_bytes(launch.kernel)


def launches_of_a_step(model: str, batch: int, precision: Any, limit: int) -> list[Launch]:
    with dry_backend() as backend, fc.precision(precision):
        backend.device.shared_memory_per_block = limit
        net = getattr(fc.models, model)()
        optimizer = fc.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        trainer = fc.Trainer(net, fc.losses.SoftmaxCrossEntropy(), optimizer, capture=False)
        x, y = backend.empty((batch, 32, 32, 3), np.float32), backend.empty((batch,), np.int32)
        with backend.device.recording() as launches:
            trainer.train_step(x, y)
    return launches


def steps() -> list[Any]:
    """Every model, precision and limit; of these one of the tightest runs in the default suite."""
    often = {("keras_cnn", "default", LIMITS[0])}
    every = itertools.product(MODELS, ("strict", "default", "fast"), LIMITS)
    return [pytest.param(*step, marks=() if step in often else pytest.mark.slow) for step in every]


@pytest.mark.parametrize(("model", "precision", "limit"), steps())
def test_every_launch_of_a_step_fits(model: str, precision: str, limit: int) -> None:
    for batch in BATCHES:
        for launch in launches_of_a_step(model, batch, precision, limit):
            assert bytes_of(launch) <= limit, (batch, launch.kernel, launch.shared_bytes)


def random_geometry(rng: np.random.Generator) -> tuple[ConvGeometry, tuple[int, ...], tuple[int, ...]]:
    """Return the geometry of a convolution, the shape of its input, and that of its weight."""
    stride = tuple(int(n) for n in rng.choice([1, 1, 1, 2, 3], 2))
    dilation = tuple(int(n) for n in rng.choice([1, 1, 1, 2], 2))
    kernel = tuple(int(n) for n in rng.choice([1, 2, 3, 3, 4, 5, 5, 7, 11, 25], 2))
    groups = int(rng.choice([1, 1, 1, 2, 4]))
    channels, columns = (int(n) for n in rng.choice([1, 3, 7, 8, 16, 31, 32, 64, 96, 128, 200, 256, 512], 2))
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = tuple((int(r) // 2, int(r) - int(r) // 2) for r in reach)
    size = tuple(int(n) for n in rng.choice([1, 2, 4, 5, 7, 8, 12, 16, 17, 28, 32], 2))
    batch = int(rng.choice([1, 2, 16, 64, 256, 1024]))
    geometry = ConvGeometry(kernel, stride, padding, dilation, groups)
    return geometry, (batch, *size, channels * groups), (*kernel, channels, columns * groups)


def launches_of_passes(
    backend: DryBackend, geometry: ConvGeometry, x_shape: tuple, w_shape: tuple, precision: Any
) -> list:
    """Return the launches of the three passes of a convolution."""
    x, weight = backend.empty(x_shape, np.float32), backend.empty(w_shape, np.float32)
    grad = backend.empty((x_shape[0], *geometry.output_size(*x_shape[1:3]), w_shape[3]), np.float32)
    asked, pool = {"precision": precision, "algorithm": "shapes"}, backend.pool
    how = {**asked, "input_shape": x_shape, "workspace": pool}
    with backend.device.recording() as launches:
        prepared = backend.prepare_conv2d_weight(weight, geometry=geometry, **how)
        backend.conv2d(x, prepared, None, NO_EPILOGUE, out=grad, workspace=pool)
        prepared = backend.prepare_conv2d_weight(weight, geometry=geometry.transposed(), **how)
        backend.conv2d_backward_input(grad, prepared, out=x, workspace=pool)
        backend.conv2d_backward_weight(grad, x, geometry=geometry, **asked, out=weight, workspace=pool)
    return launches


@pytest.mark.parametrize("limit", [LIMITS[0], *(pytest.param(limit, marks=pytest.mark.slow) for limit in LIMITS[1:])])
def test_random_geometries_fit(limit: int) -> None:
    rng, backend, seen = np.random.default_rng(21), DryBackend(), set()
    backend.device.shared_memory_per_block = limit
    for _ in range(150):
        geometry, x_shape, w_shape = random_geometry(rng)
        for precision in ("default", "fast"):
            for launch in launches_of_passes(backend, geometry, x_shape, w_shape, precision):
                assert bytes_of(launch) <= limit, (geometry, x_shape, w_shape, launch.kernel)
                seen.add(launch.kernel.name)
    assert {"conv2d_gather", "conv2d_halo", "conv2d_weight"} <= seen


def test_a_geometry_that_was_refused_by_every_device() -> None:
    """5x5 with 128 channels on maps tiled four wide took 245,760 bytes; an H100 has 232,448."""
    backend, geometry = DryBackend(), ConvGeometry((5, 5), padding=((2, 2), (2, 2)))
    launches = launches_of_passes(backend, geometry, (1024, 4, 4, 128), (5, 5, 128, 128), "default")
    halo = [launch for launch in launches if launch.kernel.name == "conv2d_halo"]
    assert len(halo) == 2
    assert all(launch.shared_bytes <= SHARED_MEMORY[90] for launch in halo)


@pytest.mark.emulator
@pytest.mark.parametrize("limit", LIMITS[:2])
@pytest.mark.parametrize("precision", ["default", "fast"])
@pytest.mark.parametrize("make", [forward, backward_input, backward_weight], ids=lambda make: make.__name__)
def test_smaller_tiles_give_the_same(make, precision: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an H100's tiles, but for the order of sums."""
    backend, sizes = emulator_or_skip(), []
    case = make(Conv("small", 8, (4, 4), 130, 72, (5, 3), padding=((2, 2), (1, 1)), precision=precision))
    arrays = case.arrays(np.random.default_rng(5), "float32")
    wanted = case.run(backend, arrays, "float32")
    monkeypatch.setattr(backend.device, "shared_memory_per_block", limit)
    with backend.device.listening(lambda launch: sizes.append(bytes_of(launch))):
        got = case.run(backend, arrays, "float32")
    assert max(sizes) <= limit
    for name, value in got.items():
        assert np.abs(value - wanted[name]).max() <= 1e-5 * np.abs(wanted[name]).max(), name


def test_a_device_on_which_nothing_fits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = emulator_or_skip()
    monkeypatch.setattr(backend.device, "shared_memory_per_block", 2 << 10)
    case = forward(Conv("any", 1, (4, 4), 16, 16))
    arrays = case.arrays(np.random.default_rng(0), "float32")
    with pytest.raises(SharedMemoryError, match=r"conv2d_\w+: a block has 2048 bytes .* smallest variant needs \d+"):
        case.run(backend, arrays, "float32")


def test_static_bytes_are_those_of_the_compile_table() -> None:
    """One number for a kernel and type of element, but for tables, which grow with the tile."""
    for row in RECORD["rows"]:
        macros = (word.split("=", 1) for word in row["variant"].split())
        kernel = Kernel("", row["kernel"], tuple((name.upper(), value) for name, value in macros))
        assert static_shared_bytes(kernel) == row["static_shared"], row
        if row["kernel"] == "conv2d_weight":
            assert row["static_shared"] == 0


@needs_nvrtc
def test_static_bytes_are_those_of_the_compiler() -> None:
    for model, name in (("lenet5", "conv2d_gather"), ("resnet20", "conv2d_halo")):
        launches = cuda_compile.training_launches(model, "default", batch=16)
        kernel = next(launch.kernel for launch in launches if launch.kernel.name == name)
        assert nvrtc.compile_kernel(kernel, 90).static_shared == static_shared_bytes(kernel)
