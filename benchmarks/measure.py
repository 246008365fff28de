"""How times are taken.

The machine is shared, so a speed is a ratio: in every round ours and each peer run, one after the other, and medians of
the times are compared. Before it is timed, each runs for some milliseconds, at least once: its threads slept while
another one computed, and until the system has them on cores of their own again, a small kernel takes twice as long. The
result is checked before anything is timed.
"""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastconv as fc

ROUNDS = 15
WARM_SECONDS = 0.01
_RATIOS = ("engine", "torch", "bf16", "ncnn", "numpy")  # kinds of peers whose time is kept as a share of ours
SLOW_SECONDS = 5.0  # a peer that takes longer gets one round: bfloat16 on a CPU that must imitate it, for one


@dataclass
class Peer:
    """Another implementation of the same work."""

    name: str
    run: Callable[[], Any]
    rounds: int = ROUNDS
    seconds: list[float] = field(default_factory=list)

    def time_once(self) -> None:
        """Run once more, unless it has had its rounds, with its threads awake."""
        if len(self.seconds) < self.rounds:
            wake(self.run)
            start = time.perf_counter()
            self.run()
            self.seconds.append(time.perf_counter() - start)


def wake(run: Callable[[], Any]) -> None:
    """Run once, and again until some milliseconds have passed."""
    stop = time.perf_counter() + WARM_SECONDS
    run()
    while time.perf_counter() < stop:
        run()


def compare(benchmark: Any, run: Callable[[], Any], peers: Sequence[Peer], *, pause: float = 0.0, **info: Any) -> None:
    """Time `run` with pytest-benchmark, each peer once before each round, and keep the ratios in `extra_info`.

    The peers' first round is a warm-up and does not count. `pause` are seconds between one and the next, for libraries
    whose threads go on spinning for a while.
    """
    if not benchmark.enabled:
        benchmark.pedantic(run, rounds=1)
        return
    for peer in peers:
        if _seconds(peer.run) > SLOW_SECONDS:
            peer.rounds = 1

    def setup() -> None:
        for peer in peers:
            peer.time_once()
            time.sleep(pause)
        wake(run)

    benchmark.pedantic(run, setup=setup, rounds=ROUNDS, warmup_rounds=2)
    ours = benchmark.stats.stats.median
    spread = benchmark.stats.stats.iqr / ours
    benchmark.extra_info.update(info, milliseconds=1e3 * ours, spread=spread, peak=peak_flops())
    if "flops" in info:
        benchmark.extra_info.update(
            gflops=info["flops"] / ours / 1e9, share_of_peak=info["flops"] / ours / peak_flops()
        )
    if "bytes" in info:
        benchmark.extra_info.update(gbytes=info["bytes"] / ours / 1e9)
    benchmark.extra_info.update(_compared(peers, ours))
    if "arrays_bytes" in info:
        floor = max(info["floor_flops"] / peak_flops(), info["arrays_bytes"] / memory_rate())
        benchmark.extra_info.update(roofline=floor / ours, memory_rate=memory_rate())


def _compared(peers: Sequence[Peer], ours: float) -> dict[str, Any]:
    """Return what is kept of the peers' times; the first word of a peer's name says what kind of peer it is."""
    times: dict[str, dict[str, float]] = {}
    for peer in peers:
        kind, _, variant = peer.name.partition(" ")
        times.setdefault(kind, {})[variant] = statistics.median(peer.seconds)
    least = {kind: min(found.values()) for kind, found in times.items()}
    best = {kind: min(found, key=found.__getitem__) for kind, found in times.items()}
    kept: dict[str, Any] = {f"{kind}_ratio": seconds / ours for kind, seconds in least.items() if kind in _RATIOS}
    kept |= {f"{kind}_milliseconds": 1e3 * least[kind] for kind in ("strict", "fast") if kind in least}
    if "engine" in times:
        kept |= {"engine_best": best["engine"], "engines": times["engine"]}
    if "torch" in times:
        kept["torch_best"] = f"torch {best['torch']}".strip()
    if {"strict", "torch"} <= times.keys():
        kept["strict_ratio"] = least["torch"] / least["strict"]
    if {"fast", "bf16"} <= times.keys():
        kept["fast_ratio"] = least["bf16"] / least["fast"]
    if "relu" in times:
        kept["beside_relu"] = ours / least["relu"]
    return kept


def on_lines(array: np.ndarray) -> np.ndarray:
    """Return a copy that begins on a cache line, as tensors of PyTorch and arrays that fastconv made itself do.

    NumPy's own begin 16 bytes behind one, so every load of 64 bytes touches two lines (sums of a normalisation's
    gradient, 128x32x32x16 on Zen 5: 0.13 ms on lines, 0.32 beside them).
    """
    copy: np.ndarray = fc.get_backend().empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def largest_error(result: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a share of the largest expected value."""
    difference = np.abs(result.astype(np.float64) - expected).max(initial=0.0)
    return float(difference / max(np.abs(expected).max(initial=0.0), 1e-300))


@functools.cache
def peak_flops() -> float:
    """Return the float32 multiply-add rate of all threads, measured with 12 accumulators and nothing from memory."""
    from fastconv.kernels.cpu.runtime.launch import get_num_threads, kernel, launch
    from fastconv.kernels.cpu.vector.simd import VECTOR_BYTES, address, vfma, vload, vstore

    steps = 200_000

    @kernel
    def multiply_add(begin, end, x):
        dt = x.dtype
        for task in range(begin, end):
            b = vload(address(x), dt)
            a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = a8 = a9 = a10 = a11 = b
            for _ in range(steps):
                a0, a1, a2 = vfma(a0, b, b), vfma(a1, b, b), vfma(a2, b, b)
                a3, a4, a5 = vfma(a3, b, b), vfma(a4, b, b), vfma(a5, b, b)
                a6, a7, a8 = vfma(a6, b, b), vfma(a7, b, b), vfma(a8, b, b)
                a9, a10, a11 = vfma(a9, b, b), vfma(a10, b, b), vfma(a11, b, b)
            total = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11
            vstore(address(x) + (1 + task) * VECTOR_BYTES, total)

    tasks = 4 * get_num_threads()
    x = np.full((1 + tasks) * VECTOR_BYTES // 4, 0.5, np.float32)
    launch(multiply_add, tasks, x)
    best = min(_seconds(lambda: launch(multiply_add, tasks, x)) for _ in range(5))
    return 2 * 12 * (VECTOR_BYTES // 4) * steps * tasks / best


@functools.cache
def memory_rate() -> float:
    """Return the bytes a second that all threads read and write together, on arrays that no cache holds."""
    from fastconv.kernels.cpu.elementwise import maps

    x = np.ones(1 << 25, np.float32)
    out = np.empty_like(x)
    best = min(_seconds(lambda: maps.scale(x, factor=2.0, out=out)) for _ in range(8))
    return 2 * x.nbytes / best


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
