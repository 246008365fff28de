"""The CUDA kernels on a real GPU: what the emulator was asked, and what only a GPU can say.

Run by ``pytest -m gpu`` or, with the results kept, by ``python -m benchmarks.gpu all --out DIR``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.backends import get_backend, use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.errors import BackendMismatchError, DeviceMemoryError
from fastconv.models import lenet5
from fastconv.testing import Report, gradcheck
from tests.backends.cases import CASES
from tests.backends.cases.conv import Conv, backward_input, backward_weight, forward
from tests.backends.op_case import Case, PoisonedWorkspace, check, check_captured
from tests.backends.usable import backend_or_skip

pytestmark = pytest.mark.gpu

ONE_OF_EACH = list({case.kind: case for case in reversed(CASES) if "empty" not in case.id}.values())
# Large enough for many blocks and waves, ragged in every size.
LARGE = [
    Conv("stem", 37, (32, 32), 3, 64),
    Conv("64", 9, (31, 33), 64, 64),
    Conv("ragged", 5, (29, 17), 96, 208),
    Conv("512", 16, (4, 4), 512, 512),
    Conv("stride2", 11, (32, 31), 64, 128, stride=(2, 2)),
    Conv("1x1", 7, (16, 15), 256, 64, (1, 1), padding=((0, 0), (0, 0))),
]
_REPEATS = 50


@pytest.fixture
def gpu() -> Iterator[Backend]:
    """The backend "cupy", made the active one; skips where there is no GPU."""
    backend_or_skip("cupy")
    with use_backend("cupy") as backend:
        yield backend


def _name(case: Case) -> str:
    return f"{case.op}-{case.id}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=_name)
def test_matches_reference(case: Case, dtype: str, gpu: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "pool", PoisonedWorkspace(gpu))
    check(case, gpu, dtype)


@pytest.mark.parametrize("precision", ["strict", "default", "fast"])
@pytest.mark.parametrize("make", [forward, backward_input, backward_weight], ids=lambda make: make.__name__)
@pytest.mark.parametrize("conv", LARGE, ids=lambda conv: conv.id)
def test_large_convolutions_match_the_cpu(make, conv: Conv, precision: str, gpu: Backend) -> None:
    """Against float64 of the CPU's kernels, as a share of the largest result."""
    case = make(replace(conv, precision=precision))
    arrays = case.arrays(np.random.default_rng(1), "float32")
    wide = make(replace(conv, precision="strict"))
    cpu = get_backend("numpy")
    expected = wide.run(cpu, {name: a.astype(np.float64) for name, a in arrays.items()}, np.float64)
    bound = {"strict": 1e-5, "default": 2e-3, "fast": 1.5e-2}[precision]
    for name, value in case.run(gpu, arrays, "float32").items():
        assert np.abs(value - expected[name]).max() <= bound * np.abs(expected[name]).max(), name


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=_name)
def test_the_same_bits_every_time(case: Case, gpu: Backend) -> None:
    arrays = case.arrays(np.random.default_rng(zlib.crc32(_name(case).encode())), "float32")
    first = case.run(gpu, arrays, "float32")
    for _ in range(_REPEATS - 1):
        for name, value in case.run(gpu, arrays, "float32").items():
            assert value.tobytes() == first[name].tobytes(), name


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=_name)
def test_captured_gives_the_same_bits(case: Case, gpu: Backend) -> None:
    check_captured(case, gpu, "float32")


def checked_gradients(*, raise_on_failure: bool = True) -> Report:
    """Check the gradients of a model with most kinds of layers, in float64."""
    model = nn.Sequential(
        *(nn.Conv2d(6, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 3, stride=2)),
        *(nn.GELU(), nn.Flatten(), nn.Dense(4), nn.Tanh(), nn.Dense(3)),
    )
    x = np.random.default_rng(2).standard_normal((4, 9, 8, 3))
    return gradcheck(model, x, raise_on_failure=raise_on_failure)


def test_gradients(gpu: Backend) -> None:
    assert checked_gradients().ok


def losses(backend: str, *, capture: bool | None, precision: str = "strict", steps: int = 6) -> list[float]:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((32, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, 32).astype(np.int32)
    with use_backend(backend), fc.precision(precision):
        model = lenet5(seed=1)
        optimizer = fc.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=3, capture=capture)
        batch = fc.asarray(x), fc.asarray(y)
        return [float(trainer.train_step(*batch)) for _ in range(steps)]


@pytest.mark.parametrize("precision", ["strict", "default", "fast"])
def test_a_captured_step_gives_the_same_bits(gpu: Backend, precision: str) -> None:
    plain, captured = (losses("cupy", capture=capture, precision=precision) for capture in (False, True))
    assert captured == plain
    assert captured[-1] < captured[0]


def test_training_follows_the_reference(gpu: Backend) -> None:
    for step, (a, b) in enumerate(zip(losses("numpy", capture=False), losses("cupy", capture=None), strict=True)):
        assert b == pytest.approx(a, rel=1e-5 * (step + 1))


def test_a_host_array_is_refused(gpu: Backend) -> None:
    with pytest.raises(BackendMismatchError, match=r"fastconv\.asarray\(x\)"):
        fc.functional.relu(np.zeros(3, np.float32))


def test_out_of_memory_says_what_to_do(gpu: Backend) -> None:
    with pytest.raises(DeviceMemoryError, match="smaller batches"):
        gpu.empty((1 << 45,), np.float32)
    x = fc.asarray(np.ones(3, np.float32))
    assert fc.to_numpy(fc.functional.relu(x)).tolist() == [1, 1, 1]  # and the backend goes on
