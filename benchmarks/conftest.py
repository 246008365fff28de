"""Fixtures of the benchmarks, and the table at the end of a run."""

import platform
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from benchmarks import measure, torch_peer


@pytest.fixture(scope="session")
def torch() -> Any:
    """The module torch, with as many threads as fastconv uses; None where it is not installed."""
    from fastconv.kernels.cpu.runtime.launch import get_num_threads

    return torch_peer.load(get_num_threads())


@pytest.fixture(autouse=True)
def backend() -> Any:
    """Time the Numba backend, whatever the environment says."""
    with fc.use_backend("numba") as active:
        yield active


@pytest.fixture
def rng() -> np.random.Generator:
    """Random data; never zeros, on which some hardware is faster."""
    return np.random.default_rng(0)


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """Print a line for each benchmark: speed, share of peak, error, and the ratios to the peers."""
    session = getattr(config, "_benchmarksession", None)
    rows = [b for b in getattr(session, "benchmarks", ()) if "milliseconds" in b.extra_info]
    if not rows:
        return
    write = terminalreporter.write_line
    write("")
    write(
        f"fastconv {fc.__version__}, {platform.machine()}, peak {measure.peak_flops() / 1e9:.0f} GFLOP/s;"
        f" medians of {measure.ROUNDS} alternated rounds; ratios are the peer's time by ours"
    )
    header = f"{'benchmark':58s} {'ms':>9s} {'spread':>6s} {'GFLOP/s':>8s} {'peak':>5s} {'GB/s':>6s} {'error':>8s}"
    write(header + f" {'torch/ours':>10s} {'numpy/ours':>10s}  best torch")
    for row in rows:
        info = row.extra_info

        def cell(key: str, form: str, width: int, info: dict[str, Any] = info) -> str:
            return format(info[key], form).rjust(width) if key in info else "-".rjust(width)

        write(
            f"{row.name:58s} {cell('milliseconds', '.3f', 9)} {cell('spread', '.0%', 6)} {cell('gflops', '.0f', 8)}"
            f" {cell('share_of_peak', '.0%', 5)} {cell('gbytes', '.1f', 6)} {cell('error', '.1e', 8)}"
            f" {cell('torch_ratio', '.2f', 10)} {cell('numpy_ratio', '.1f', 10)}  {info.get('torch_best', '')}"
        )
