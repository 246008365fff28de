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
    engines = {p.name.removeprefix("engine "): statistics.median(p.seconds) for p in peers if p.name[:6] == "engine"}
    if engines:
        best = min(engines, key=engines.__getitem__)
        benchmark.extra_info.update(engine_best=best, engine_ratio=engines[best] / ours, engines=engines)
    torch_peers = {p.name: statistics.median(p.seconds) for p in peers if p.name.startswith("torch")}
    if torch_peers:
        best = min(torch_peers, key=torch_peers.__getitem__)
        benchmark.extra_info.update(torch_best=best, torch_ratio=torch_peers[best] / ours)
    strict = next((statistics.median(peer.seconds) for peer in peers if peer.name == "strict"), None)
    if strict is not None:
        benchmark.extra_info.update(strict_milliseconds=1e3 * strict)
        if torch_peers:
            benchmark.extra_info.update(strict_ratio=min(torch_peers.values()) / strict)
    fast = next((statistics.median(peer.seconds) for peer in peers if peer.name == "fast"), None)
    if fast is not None:
        benchmark.extra_info.update(fast_milliseconds=1e3 * fast)
    if "arrays_bytes" in info:
        floor = max(info["floor_flops"] / peak_flops(), info["arrays_bytes"] / memory_rate())
        benchmark.extra_info.update(roofline=floor / ours, memory_rate=memory_rate())
    for peer in peers:
        if peer.name.startswith("bf16"):
            benchmark.extra_info.update(bf16_ratio=statistics.median(peer.seconds) / ours)
            if fast is not None:
                benchmark.extra_info.update(fast_ratio=statistics.median(peer.seconds) / fast)
        if peer.name == "relu":
            benchmark.extra_info.update(beside_relu=ours / statistics.median(peer.seconds))
        if peer.name == "ncnn":
            benchmark.extra_info.update(ncnn_ratio=statistics.median(peer.seconds) / ours)
        if peer.name == "numpy":
            benchmark.extra_info.update(numpy_ratio=statistics.median(peer.seconds) / ours)


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
