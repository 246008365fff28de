"""The model of an H100: how long a launch of a CUDA kernel takes, by what it needs of each part of the device.

A launch of a tensor-core kernel takes the longest of

- what the blocks do: the main loop, which takes the longest of its products (padding included, at the rate that
  `mma.sync` reaches), its wavefronts of shared memory (one a clock and multiprocessor), its sectors of L2 and its
  instructions (one a clock and scheduler); and then what a warp does before and behind that loop. Blocks of a
  multiprocessor begin together and so end together: nothing of another block hides these ends;
- the arrays in memory.

Products, wavefronts and instructions are stretched where blocks do not divide evenly among the multiprocessors, as if
a block that is alone on one ran at its full rate. Any other launch takes the longer of its arrays and its instructions,
and no launch less than LAUNCH. Latency, clocks under load and arrays that stay in L2 are not in it: it says what binds,
not what a clock will show.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from benchmarks import nvrtc, sass
from benchmarks.cuda_compile import label
from benchmarks.cuda_launches import (
    TENSOR_KERNELS,
    Operand,
    element_bytes,
    multiply_adds,
    needed,
    operands,
    turns,
    warps,
)
from benchmarks.cuda_traffic import SECTOR, Traffic, traffic_of
from fastconv.backends.cuda.launches import Launch
from fastconv.kernels.cuda.runtime.device import Kernel

# An H100 SXM. Dense rates are the data sheet's; the clock is what they are at, with 4096 bf16 FLOP a clock and
# multiprocessor. `mma.sync` reaches 63 % of them (arXiv:2501.12084). 3.0 TB/s is what copies reach. The bandwidth of
# L2 is an assumption.
MULTIPROCESSORS = 132
FULL_RATE = {4: 494.7e12, 2: 989.4e12}  # by the bytes of an element
CLOCK = FULL_RATE[2] / (4096 * MULTIPROCESSORS)
MMA_SHARE = 0.63
L2_RATE, MEMORY_RATE = 5.5e12, 3.0e12
SCHEDULERS = 4
ISSUE_RATE = SCHEDULERS * MULTIPROCESSORS * CLOCK
LAUNCH = 2e-6
REGISTERS, REGISTER_UNIT, WARPS, BLOCKS = 65536, 256, 64, 32
SHARED_BYTES, SHARED_RESERVED = 228 << 10, 1 << 10


@dataclass(frozen=True)
class Work:
    """What a launch needs: arrays, and seconds of each part of the device alone.

    Attributes
    ----------
    reads, writes : in memory
    tensor, shared, l2_read, l2_written, issue : of the main loop
    before, behind : of the instructions before and behind it
    roofline : of the convolution: its products at the full rate, or its arrays in the type that is multiplied
    columns : of a tensor-core kernel
    """

    kernel: str
    reads: tuple[Operand, ...]
    writes: tuple[Operand, ...]
    tensor: float = 0.0
    shared: float = 0.0
    l2_read: float = 0.0
    l2_written: float = 0.0
    issue: float = 0.0
    before: float = 0.0
    behind: float = 0.0
    roofline: float = 0.0
    columns: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, each once in each direction."""
        return sum(operand.nbytes for operand in (*self.reads, *self.writes))

    @property
    def memory(self) -> float:
        """Seconds of memory."""
        return self.nbytes / MEMORY_RATE

    @property
    def l2(self) -> float:
        """Seconds of L2."""
        return self.l2_read + self.l2_written

    @property
    def ends(self) -> float:
        """Seconds before and behind the main loop."""
        return self.before + self.behind

    @property
    def loop(self) -> float:
        """Seconds of the main loop."""
        return max(self.tensor, self.shared, self.l2, self.issue)

    @property
    def total(self) -> float:
        """Seconds of the launch."""
        return max(LAUNCH, self.memory, self.loop + self.ends)

    @property
    def binds(self) -> str:
        """Name of what the launch waits for most."""
        if self.total == LAUNCH:
            return "launch"
        if self.total == self.memory:
            return "memory"
        return max(("tensor", "shared", "l2", "issue", "ends"), key=lambda name: float(getattr(self, name)))


def resident_blocks(threads: int, registers: int, shared_bytes: int) -> tuple[int, str]:
    """Return how many blocks a multiprocessor holds, and what limits them."""
    block_warps = -(-threads // 32)
    a_warp = -(-registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
    limits = {
        "registers": REGISTERS // a_warp // block_warps,
        "shared memory": SHARED_BYTES // (shared_bytes + SHARED_RESERVED),
        "warps": WARPS // block_warps,
        "blocks": BLOCKS,
    }
    name = min(limits, key=lambda key: limits[key])
    return limits[name], name


def stretch_of(blocks: int) -> float:
    """Return how many times as long as with all multiprocessors busy to the end: some get a block more than others."""
    return math.ceil(blocks / MULTIPROCESSORS) * MULTIPROCESSORS / blocks


@dataclass(frozen=True)
class Variant:
    """One tensor-core kernel as compiled for sm_90; rows of the report.

    Attributes
    ----------
    registers : of a thread
    shared_bytes : of a block, static and dynamic
    blocks : that a multiprocessor holds; limit : what limits them
    code : instructions of the kernel
    turn, before, behind : that a warp takes in a turn of the main loop, before it and behind it
    loop : instructions of a turn of the main loop, by class, every branch counted as taken
    conflicts : wavefronts of shared memory, as a multiple of those needed
    sectors : sectors of global memory, as a multiple of those needed
    """

    kernel: str
    variant: str
    threads: int
    registers: int
    shared_bytes: int
    blocks: int
    limit: str
    code: int
    turn: int
    before: int
    behind: int
    loop: dict[str, int]
    conflicts: float
    sectors: float


@functools.cache
def _compiled(kernel: Kernel) -> nvrtc.Compiled:
    return nvrtc.compile_kernel(kernel, 90)


@functools.cache
def main_loop(kernel: Kernel) -> sass.Loop:
    """Return the main loop of a variant."""
    return sass.main_loop(sass.disassemble(_compiled(kernel).cubin), kernel.name)


@functools.cache
def _instructions_a_byte(kernel: Kernel) -> float:
    return sass.instructions_a_byte(sass.disassemble(_compiled(kernel).cubin), kernel.name)


def variant_of(launch: Launch, traffic: Traffic) -> Variant:
    """Return what a variant is made of, with the traffic of a launch of it."""
    kernel, threads = launch.kernel, math.prod(launch.block)
    compiled, loop = _compiled(kernel), main_loop(kernel)
    shared = compiled.static_shared + launch.shared_bytes
    sizes = (threads, compiled.registers, shared, *resident_blocks(threads, compiled.registers, shared))
    counts = (loop.code, loop.turn, loop.before, loop.behind, loop.classes)
    return Variant(kernel.name, label(kernel), *sizes, *counts, round(traffic.conflicts, 3), round(traffic.excess, 3))


def work_of(launch: Launch, batch: int) -> Work:
    """Return what a launch needs; `batch` tells which of its arrays are activations."""
    reads, writes = operands(launch, batch)
    if launch.kernel.name not in TENSOR_KERNELS:
        moved = sum(operand.nbytes for operand in (*reads, *writes))
        issue = moved * _instructions_a_byte(launch.kernel) / ISSUE_RATE
        return Work(launch.kernel.name, reads, writes, issue=issue)
    traffic, loop = traffic_of(launch), main_loop(launch.kernel)
    stretch = stretch_of(math.prod(launch.grid))
    warp_turns = turns(launch) * warps(launch) / math.prod(launch.grid)
    copies = max(0.0, traffic.copies - loop.classes.get("cp.async", 0) * warp_turns)
    products, elements = needed(launch)
    size = element_bytes(launch)
    return Work(
        launch.kernel.name,
        reads,
        writes,
        tensor=stretch * 2 * multiply_adds(launch) / (MMA_SHARE * FULL_RATE[size]),
        shared=stretch * traffic.wavefronts / (MULTIPROCESSORS * CLOCK),
        l2_read=traffic.read * SECTOR / L2_RATE,
        l2_written=traffic.written * SECTOR / L2_RATE,
        issue=stretch * (warp_turns * loop.turn + copies * loop.copy) / ISSUE_RATE,
        before=stretch * warps(launch) * loop.before / ISSUE_RATE,
        behind=stretch * warps(launch) * loop.behind / ISSUE_RATE,
        roofline=max(2 * products / FULL_RATE[size], elements * size / MEMORY_RATE),
        columns=int(dict(launch.kernel.defines)["COLUMNS"]),
    )
