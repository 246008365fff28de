"""What the CUDA kernels should take on an H100, predicted without one.

    python -m benchmarks.cuda_report

takes some minutes and writes benchmarks/results/cuda_report.json and kernels/cuda/PREDICTED.md. For each pass of each
layer it adds up the launches; a launch takes the longest of

- tensor cores: multiply-adds of all tiles, padding included, at the rate that `mma.sync` reaches;
- shared memory: wavefronts, one a clock and multiprocessor, counted by the emulator on a few images;
- L2: sectors that the blocks fetch or write, from the same counters;
- memory: each array once.

Beside them stands what issuing the main loop's instructions takes at most: in the machine code, every branch counted as
taken, one a clock and scheduler. Tensor cores, shared memory and issue are stretched by the last wave of blocks, which
fills the multiprocessors only in part. No launch takes less than LAUNCH. Latency, clocks under load and caches are not
in it: it says what binds, not what a clock will show.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import cuda_compile, nvrtc, sass
from benchmarks.cuda_compile import label
from benchmarks.gpu_layers import BATCH, DIRECTIONS, LAYERS, PRECISIONS, operation, result_shape
from benchmarks.shapes import Conv
from fastconv.backends import get_backend, use_backend
from fastconv.backends.base import Backend
from fastconv.backends.cuda_backend import Launch
from fastconv.backends.dry import dry_backend
from fastconv.backends.emulator.settings import Settings, using
from fastconv.kernels.cuda import conv2d
from fastconv.kernels.cuda.device import Kernel

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cuda_report.json"
TABLE = ROOT / "kernels" / "cuda" / "PREDICTED.md"
COMMAND = "python -m benchmarks.cuda_report"

# An H100 SXM. Dense rates are the data sheet's; the clock is what they are at, with 4096 bf16 FLOP a clock and
# multiprocessor. `mma.sync` reaches 63 % of them (arXiv:2501.12084). 3.0 TB/s is what copies reach. The bandwidth of
# L2 is an assumption.
MULTIPROCESSORS = 132
FULL_RATE = {"TF32": 494.7e12, "BF16": 989.4e12}
CLOCK = FULL_RATE["BF16"] / (4096 * MULTIPROCESSORS)
MMA_SHARE = 0.63
L2_RATE, MEMORY_RATE = 5.5e12, 3.0e12
SCHEDULERS = 4
LAUNCH = 2e-6
REGISTERS, REGISTER_UNIT, WARPS, BLOCKS = 65536, 256, 64, 32
SHARED_BYTES, SHARED_RESERVED = 228 << 10, 1 << 10
TENSOR_KERNELS = ("conv2d_gather", "conv2d_halo", "conv2d_weight")
# Arguments that only results that are not finite are computed from.
_SPARE = {"conv2d_gather": (2,), "conv2d_halo": (2,), "sum_splits": (1, 2)}
_PIXELS = 128  # of a tile: so many at least go through the emulator


@dataclass(frozen=True)
class Variant:
    """One tensor-core kernel as compiled for sm_90; rows of the report.

    Attributes
    ----------
    registers : of a thread
    shared_bytes : of a block, static and dynamic
    blocks : that a multiprocessor holds; limit : what limits them
    loop : instructions of a turn of the main loop, by class
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
    loop: dict[str, int]
    conflicts: float
    sectors: float


@dataclass(frozen=True)
class Prediction:
    """A pass of a layer: seconds, by what takes them."""

    layer: str
    direction: str
    precision: str
    kernel: str
    variant: str
    tensor: float
    shared: float
    l2: float
    memory: float
    issue: float
    others: float
    total: float
    roofline: float

    @property
    def binds(self) -> str:
        """Return the name of the longest of the main launch's times."""
        return max(("tensor", "shared", "l2", "memory"), key=lambda name: float(getattr(self, name)))


# Counting


def resident_blocks(threads: int, registers: int, shared_bytes: int) -> tuple[int, str]:
    """Return how many blocks a multiprocessor holds, and what limits them."""
    warps = -(-threads // 32)
    a_warp = -(-registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
    limits = {
        "registers": REGISTERS // a_warp // warps,
        "shared memory": SHARED_BYTES // (shared_bytes + SHARED_RESERVED),
        "warps": WARPS // warps,
        "blocks": BLOCKS,
    }
    name = min(limits, key=lambda key: limits[key])
    return limits[name], name


def array_bytes(launch: Launch) -> int:
    """Return the bytes of the arrays that a launch moves, each once."""
    spare = _SPARE.get(launch.kernel.name, ())
    arrays = [a for i, a in enumerate(launch.args) if isinstance(a, np.ndarray) and i not in spare]
    return sum({id(a): a.nbytes for a in arrays}.values())


def turns(launch: Launch) -> int:
    """Return how many turns the main loops of all blocks take."""
    macros: dict[str, Any] = dict(launch.kernel.defines)
    blocks = math.prod(launch.grid)
    taps = macros["KERNEL_H"] * macros["KERNEL_W"]
    if launch.kernel.name == "conv2d_weight":
        steps = next(int(a) for a in launch.args if isinstance(a, np.int32))
        return blocks * steps
    depth = macros["ROW_BYTES"] // _element_bytes(macros)
    if macros.get("FLAT"):
        return blocks * -(-taps * macros["CHANNELS"] // depth)
    phases = macros["STRIDE_H"] * macros["STRIDE_W"] if macros["BACKWARD"] and "STRIDE_H" in macros else 1
    return blocks * taps * -(-macros["CHANNELS"] // depth) // phases  # each tap belongs to one phase


def multiply_adds(launch: Launch) -> int:
    """Return the multiply-adds that the tensor cores do for a launch, those of padding included."""
    macros: dict[str, Any] = dict(launch.kernel.defines)
    if launch.kernel.name == "conv2d_weight":
        a_turn = macros["PIXELS"] * macros["TILE_M"] * macros["TILE_N"] * macros["ROW_TAPS"]
    else:
        pixels = macros.get("TILE_M") or macros["TILE_IMAGES"] * macros["TILE_H"] * macros["TILE_W"]
        a_turn = pixels * macros["TILE_N"] * macros["ROW_BYTES"] // _element_bytes(macros)
    return turns(launch) * int(a_turn)


def _element_bytes(macros: dict[str, Any]) -> int:
    return 4 if macros["MATH"] == "TF32" else 2


def last_wave(blocks: int, resident: int) -> float:
    """Return how many times as long as with all multiprocessors busy to the end."""
    waves = blocks / (MULTIPROCESSORS * resident)
    return math.ceil(waves) / waves


# The launches of a pass, and what the emulator counts in them


def launches_of(conv: Conv, direction: str, precision: Any) -> list[Launch]:
    """Return what a pass launches at the batch of `conv`."""
    with dry_backend() as backend:
        run = operation(backend, conv, direction, precision, _arrays(backend, conv, direction))
        with backend.device.recording() as launches:
            run()
    return launches


def _arrays(backend: Backend, conv: Conv, direction: str) -> dict[str, Any]:
    shapes = {"x": conv.x_shape, "weight": conv.weight_shape, "grad": result_shape(conv, "forward")}
    return {name: backend.empty(shape, np.float32) for name, shape in shapes.items()} | {
        "out": backend.empty(result_shape(conv, direction), np.float32)
    }


def few_images(conv: Conv) -> int:
    """Return how many images fill a tile."""
    return max(1, _PIXELS // conv.out_size**2)


@contextmanager
def tiles_of_batch(batch: int) -> Iterator[None]:
    """Choose tiles as for a batch of this size, whatever the batch is."""
    halo, gather = conv2d.halo_tiles, conv2d.gather_tiles
    with (
        mock.patch.object(conv2d, "halo_tiles", lambda g, shape, math_: halo(g, (batch, *shape[1:]), math_)),
        mock.patch.object(conv2d, "gather_tiles", lambda g, shape: gather(g, (batch, *shape[1:]))),
    ):
        yield


@dataclass(frozen=True)
class Traffic:
    """What the emulator counted of one kernel: wavefronts and sectors, and how many are needed."""

    wavefronts: int
    wavefronts_needed: int
    read: int
    read_needed: int
    written: int
    written_needed: int

    def sectors(self, launch: Launch, images: float) -> float:
        """Return the sectors of a launch on `images` times as many images.

        What conv2d_weight writes depends on the number of its parts, not of images.
        """
        if launch.kernel.name != "conv2d_weight":
            return images * (self.read + self.written)
        sums: Any = launch.args[2]
        return images * self.read + sums.nbytes / 32 * self.written / self.written_needed


def traffic_of(conv: Conv, direction: str, precision: Any, kernel: Kernel) -> Traffic:
    """Count the traffic of `kernel` in a pass on a few images."""
    conv = replace(conv, batch=few_images(conv))
    seen: list[Kernel] = []
    with use_backend("cuda-emulator") as backend, using(Settings(checks=True)), tiles_of_batch(BATCH):
        arrays = _arrays(backend, conv, direction)
        for array in arrays.values():
            backend.fill(1.0, out=array)
        device: Any = backend.device  # type: ignore[attr-defined]
        with device.listening(lambda launch: seen.append(launch.kernel)), device.counting() as counters:
            operation(backend, conv, direction, precision, arrays)()
    assert kernel in seen, "the emulator ran another variant"
    mine = [counter for counter in counters if counter.kernel == kernel.name]
    shared = [counter for counter in mine if counter.shared]
    read, written = ([c for c in mine if not c.shared and c.write is kind] for kind in (False, True))
    sums = [sum(getattr(c, name) for c in part) for part in (shared, read, written) for name in ("taken", "best")]
    return Traffic(*sums)


# Predictions


def predict(conv: Conv, direction: str, precision: Any) -> tuple[Launch, Prediction]:
    """Predict one pass; return its main launch too."""
    conv = replace(conv, batch=BATCH)
    launches = launches_of(conv, direction, precision)
    main = next(launch for launch in launches if launch.kernel.name in TENSOR_KERNELS)
    traffic = traffic_of(conv, direction, precision, main.kernel)
    variant = variant_of(main)
    math_ = str(dict(main.kernel.defines)["MATH"])
    stretch = last_wave(math.prod(main.grid), variant.blocks)
    times_batch = BATCH / few_images(conv)
    times = {
        "tensor": stretch * 2 * multiply_adds(main) / (MMA_SHARE * FULL_RATE[math_]),
        "shared": stretch * times_batch * traffic.wavefronts / (MULTIPROCESSORS * CLOCK),
        "l2": traffic.sectors(main, times_batch) * 32 / L2_RATE,
        "memory": array_bytes(main) / MEMORY_RATE,
    }
    issue = (
        stretch
        * turns(main)
        * variant.threads
        // 32
        * sum(variant.loop.values())
        / (SCHEDULERS * MULTIPROCESSORS * CLOCK)
    )
    others = sum(max(LAUNCH, array_bytes(other) / MEMORY_RATE) for other in launches if other is not main)
    element = 4 if precision == "default" else 2
    roofline = max(conv.flops / FULL_RATE[math_], conv.arrays_bytes / 4 * element / MEMORY_RATE)
    total = max(LAUNCH, *times.values()) + others
    names = (conv.name, direction, precision, main.kernel.name, label(main.kernel))
    return main, Prediction(*names, **times, issue=issue, others=others, total=total, roofline=roofline)


@functools.cache
def _compiled(kernel: Kernel) -> tuple[int, int, dict[str, int]]:
    """Return registers and static shared memory of a variant, and what its main loop is made of."""
    compiled = nvrtc.compile_kernel(kernel, 90)
    return compiled.registers, compiled.static_shared, sass.main_loop(sass.disassemble(compiled.cubin)).classes


def variant_of(launch: Launch, ratios: tuple[float, float] = (0.0, 0.0)) -> Variant:
    """Return what a variant is made of; `ratios` are those of `ratios_of`."""
    kernel, threads = launch.kernel, math.prod(launch.block)
    registers, static_shared, loop = _compiled(kernel)
    shared = static_shared + launch.shared_bytes
    blocks, limit = resident_blocks(threads, registers, shared)
    sizes = (threads, registers, shared, blocks, limit)
    return Variant(kernel.name, label(kernel), *sizes, loop, *(round(ratio, 3) for ratio in ratios))


def shrunk(backend: Backend, launch: Launch) -> Launch:
    """Return a launch of the same variant on so few images that they fill a tile, with columns of one tile.

    A 1x1 convolution's gradient of the weight takes all images as one row of pixels: then the row is cut.
    """
    macros: dict[str, Any] = dict(launch.kernel.defines)
    weight = launch.kernel.name == "conv2d_weight"
    numbers = [int(a) for a in launch.args if isinstance(a, np.int32)][1:]  # behind `rectify`, or the steps of a part
    batch, height, width, out_height, out_width, *before = numbers
    row = weight and batch == height == 1 and width == out_width > _PIXELS
    whole, few = (width, 2 * _PIXELS) if row else (batch, max(1, -(-_PIXELS // (out_height * out_width))))
    if whole < few:
        whole, few = batch, batch
    numbers = [1, 1, few, 1, few, *before] if row else [few, *numbers[1:]]
    out_height, out_width = numbers[3:5]
    images = {0, 1} if weight else {0, 4, 5}

    def smaller(index: int, array: np.ndarray) -> Any:
        parts = array.shape[0] if weight and index == 2 else 1
        size = array.size // whole * few if index in images else array.size // parts
        made = backend.empty((max(size, 1),), array.dtype)
        made[...] = 1
        return made

    arrays = [smaller(i, a) if isinstance(a, np.ndarray) else a for i, a in enumerate(launch.args)]
    steps, grid = [a for a in arrays if isinstance(a, np.int32)][:1], launch.grid
    if weight:
        strips = numbers[0] * out_height * -(-out_width // macros["STRIP"])
        steps, grid = [np.int32(-(-strips * macros["STRIP"] // macros["PIXELS"]))], (1, launch.grid[1], 1)
    elif launch.kernel.name == "conv2d_halo":
        tiles = zip((numbers[0], out_height, out_width), ("TILE_IMAGES", "TILE_H", "TILE_W"), strict=True)
        grid = (math.prod(-(-n // macros[name]) for n, name in tiles), 1, launch.grid[2])
    else:
        stride = (macros["STRIDE_H"], macros["STRIDE_W"]) if macros["BACKWARD"] else (1, 1)
        places = numbers[0] * -(-out_height // stride[0]) * -(-out_width // stride[1])
        grid = (-(-places // macros["TILE_M"]), 1, launch.grid[2])
    kept = [a for a in arrays if not isinstance(a, np.int32)]
    return replace(launch, grid=grid, args=(*kept, *steps, *(np.int32(n) for n in numbers)))


def ratios_of(launch: Launch) -> tuple[float, float]:
    """Return wavefronts of shared memory and sectors of global memory, as multiples of those needed."""
    with use_backend("cuda-emulator") as backend, using(Settings(checks=True)):
        device: Any = backend.device  # type: ignore[attr-defined]
        with device.counting() as counters:
            device.submit(shrunk(backend, launch))
    found = []
    for shared in (True, False):
        mine = [counter for counter in counters if counter.shared is shared]
        found.append(sum(c.taken for c in mine) / sum(c.best for c in mine))
    return found[0], found[1]


# The files

_HEAD = f"""# Predicted times

**A prediction, made without a GPU** by `{COMMAND}`; no time in here was measured. Batch {BATCH}, an H100 SXM.
Microseconds of each pass, its packing of operands and its sums of parts included. A pass takes its packing and sums,
and of the main launch the longest of: products on the tensor cores (padding included, at {MMA_SHARE:.0%} of the data
sheet's rate, which is what `mma.sync` reaches), wavefronts of shared memory (one a clock), sectors of L2
({L2_RATE / 1e12:g} TB/s, an assumption), and arrays in memory (once each, {MEMORY_RATE / 1e12:g} TB/s). Issue is what
the instructions of the main loop take at most, every branch counted as taken (of a kernel whose loop has one turn, all
of its code); it is no part of the total. The roofline is the longer of the layer's
operations at the full rate and its arrays, in the type that is multiplied, moved once.

"""
_LOOPS = """
## The kernels

Every variant of a tensor-core kernel that the layers above, the models or the tests' cases launch. Instructions of one
turn of the main loop in the sm_90 machine code, without the loops inside of it; blocks that a
multiprocessor holds, and what limits them; wavefronts of shared memory and sectors of global memory as multiples of
those needed (1 is no conflict and no byte too many), counted by the emulator over the whole kernel on a few images.

"""


def write(variants: list[Variant], predictions: list[Prediction]) -> None:
    """Write the JSON and the readable tables."""
    record: dict[str, Any] = {"command": COMMAND, "nvrtc": nvrtc.version(), "kind": "prediction, not a measurement"}
    record["predictions"] = [asdict(row) for row in predictions]
    record["variants"] = [asdict(row) for row in variants]
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    TABLE.write_text(_HEAD + _predictions_table(predictions) + _LOOPS + _variants_table(variants))


def _predictions_table(rows: list[Prediction]) -> str:
    columns = ("tensor", "shared", "l2", "memory", "issue", "others", "total", "roofline")
    titles = ("layer", "pass", "multiplies", "tensor", "shared", "L2", "memory", "issue", "other launches", "total")
    lines = [f"| {' | '.join(titles)} | roofline | share | binds |", "|---|---|---|" + "--:|" * 9 + "---|"]
    for row in rows:
        numbers = [f"{1e6 * getattr(row, name):.1f}" for name in columns]
        math_ = {"default": "tf32", "fast": "bf16"}[row.precision]
        cells = (f"`{row.layer}`", row.direction, math_, *numbers, f"{row.roofline / row.total:.0%}", row.binds)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _variants_table(rows: list[Variant]) -> str:
    classes = (*sass.CLASSES, "other")
    titles = ("kernel", "variant", "registers", "shared bytes", "blocks", "limit", *classes, "wavefronts", "sectors")
    lines = [f"| {' | '.join(titles)} |", "|---|---|--:|--:|--:|---|" + "--:|" * (len(classes) + 2)]
    for row in rows:
        sizes = (row.registers, row.shared_bytes, row.blocks, row.limit)
        counts = [row.loop.get(name, 0) for name in classes]
        cells = (f"`{row.kernel}`", row.variant, *sizes, *counts, f"{row.conflicts:.2f}", f"{row.sectors:.2f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Predict all passes and write."""
    get_backend("cuda-emulator")  # says what is missing, before minutes go by
    launches = {k: launch for k, launch in cuda_compile.variants().items() if k.name in TENSOR_KERNELS}
    predictions: list[Prediction] = []
    for conv in LAYERS:
        for direction in DIRECTIONS:
            for precision in PRECISIONS:
                main_launch, prediction = predict(conv, direction, precision)
                launches.setdefault(main_launch.kernel, main_launch)
                predictions.append(prediction)
                print(
                    f"{conv.name} {direction} {precision}: {1e6 * prediction.total:.1f} us, {prediction.binds}",
                    flush=True,
                )
    variants = []
    for number, launch in enumerate(launches.values(), start=1):
        variants.append(variant_of(launch, ratios_of(launch)))
        print(
            f"{number} of {len(launches)}: {variants[-1].kernel} {variants[-1].conflicts} {variants[-1].sectors}",
            flush=True,
        )
    write(sorted(variants, key=lambda row: (row.kernel, row.variant)), predictions)
    print(f"{len(predictions)} passes in {TABLE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
