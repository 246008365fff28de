"""The static report of the CUDA kernels: arithmetic on cases known by hand, and the committed tables against today."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

import fastconv as fc
from benchmarks import cuda_compile, cuda_launches, cuda_model, cuda_plan, cuda_report, cuda_steps, nvrtc, sass
from benchmarks.cuda_compile import label
from benchmarks.cuda_traffic import shrunk, traffic_of
from benchmarks.gpu_layers import BATCH, DIRECTIONS, LAYERS, PRECISIONS
from benchmarks.shapes import Conv
from fastconv.backends.cuda.launches import Launch
from fastconv.kernels.cuda.runtime.device import Kernel
from tests.backends.emulator.emulated import emulator_or_skip

RECORD = json.loads(cuda_report.RESULTS.read_text())
needs_tools = pytest.mark.skipif(
    nvrtc.library_path() is None or sass.disassembler() is None,
    reason="nvidia-cuda-nvrtc-cu12 or nvidia-cuda-nvdisasm is not installed",
)


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "expected"),
    [
        (128, 128, 0, (4, "registers")),  # 4 warps of 4096 registers: 16384 a block
        (128, 129, 0, (3, "registers")),  # a warp takes 4352
        (128, 32, 100 << 10, (2, "shared memory")),  # 101 KB of 228
        (1024, 32, 0, (2, "registers")),
        (256, 16, 0, (8, "warps")),
        (32, 16, 0, (32, "blocks")),
    ],
)
def test_resident_blocks(threads: int, registers: int, shared: int, expected: tuple[int, str]) -> None:
    assert cuda_model.resident_blocks(threads, registers, shared) == expected


def test_stretch_is_that_of_the_multiprocessor_with_most_blocks() -> None:
    assert cuda_model.stretch_of(132 * 2) == 1
    assert cuda_model.stretch_of(132 + 1) == pytest.approx(2 * 132 / 133)
    assert cuda_model.stretch_of(66) == 2


def _launch(name: str, grid: tuple[int, int, int], defines: dict[str, int | str], *args) -> Launch:
    return Launch(Kernel(f"{name}.cu", name, tuple(defines.items())), grid, (128, 1, 1), args, 0)


KERNEL = {"MATH": "BF16", "KERNEL_H": 3, "KERNEL_W": 3, "CHANNELS": 64, "BACKWARD": 0}


def test_turns_and_products_of_known_launches() -> None:
    tile = {"TILE_IMAGES": 1, "TILE_H": 8, "TILE_W": 16, "TILE_N": 64, "ROW_BYTES": 128}
    halo = _launch("conv2d_halo", (10, 1, 1), KERNEL | tile)
    assert cuda_launches.turns(halo) == 10 * 9  # 64 channels are a row
    assert cuda_launches.multiply_adds(halo) == 10 * 9 * 128 * 64 * 64
    strided = {"TILE_M": 64, "TILE_N": 32, "ROW_BYTES": 64, "STRIDE_H": 2, "STRIDE_W": 2, "FLAT": 0}
    gather = _launch("conv2d_gather", (10, 1, 4), KERNEL | {"BACKWARD": 1} | strided)
    assert cuda_launches.turns(gather) == 10 * 9 * 2  # all phases together have the nine taps
    flat = _launch("conv2d_gather", (10, 1, 1), KERNEL | strided | {"FLAT": 1, "CHANNELS": 3, "MATH": "TF32"})
    assert cuda_launches.turns(flat) == 10 * 2  # 27 numbers in rows of 16
    assert cuda_launches.multiply_adds(flat) == 20 * 64 * 32 * 16
    sizes = {"TILE_M": 64, "TILE_N": 64, "ROW_TAPS": 3, "PIXELS": 32}
    arrays = [np.empty(4, np.float32)] * 3
    weight = _launch("conv2d_weight", (1, 3, 7), KERNEL | sizes, *arrays, np.int32(5), np.int32(99))
    assert cuda_launches.turns(weight) == 3 * 7 * 5
    assert cuda_launches.multiply_adds(weight) == 3 * 7 * 5 * 32 * 64 * 64 * 3


def test_bytes_of_arrays() -> None:
    x, y, z = np.empty(10, np.float32), np.empty(6, np.uint16), np.empty(10, np.float32)
    assert _bytes("pack.cu", "pack_input", x, y, np.int64(3)) == 52
    assert _bytes("elementwise.cu", "add_arrays", x, z, y, np.int64(3)) == 92
    assert _bytes("elementwise.cu", "add_arrays", x, z, x, np.int64(3)) == 120  # in place: read and written
    assert _bytes("elementwise.cu", "add_arrays", x, x, z, np.int64(3)) == 80  # one array twice is read once
    assert _bytes("conv2d_halo.cu", "conv2d_halo", y, y, x, *[None] * 4, z) == 52  # the weight itself is spare
    assert _bytes("conv2d_splits.cu", "sum_splits", y, x, x, z) == 52
    assert _bytes("optimizer.cu", "sgd_update", x, z, y) == 2 * (x.nbytes + y.nbytes) + z.nbytes


def _bytes(source: str, name: str, *args) -> int:
    return cuda_launches.array_bytes(Launch(Kernel(source, name), (1, 1, 1), (128, 1, 1), args, 0))


@pytest.mark.slow
def test_every_kernel_has_its_arrays_read_and_written() -> None:
    """What a kernel writes is told from its source; each of today's launches writes something."""
    for model, batch in cuda_steps.STEPS:
        for launch in cuda_compile.training_launches(model, "fast", batch=batch):
            reads, writes = cuda_launches.operands(launch, batch)
            assert reads, launch.kernel.name
            assert writes, launch.kernel.name


def test_products_cover_those_of_the_layer() -> None:
    """Padded tiles do at least the layer's products, and for round layers exactly those."""
    for conv in LAYERS:
        conv = replace(conv, batch=BATCH)
        for direction in DIRECTIONS:
            for precision in PRECISIONS:
                main = cuda_report.main_launch(cuda_report.launches_of(conv, direction, precision))
                products, elements = cuda_launches.needed(main)
                assert (2 * products, 4 * elements) == (conv.flops, conv.arrays_bytes), (conv.name, direction)
                done = 2 * cuda_launches.multiply_adds(main) / conv.flops
                assert done >= 1 or (conv.stride == 2 and direction == "backward_input"), (conv.name, direction)
                if conv.channels > 3 and conv.stride == 1:
                    assert done < 1.06, (conv.name, direction)


@pytest.mark.slow
def test_the_report_is_that_of_today() -> None:
    """Each pass's kernel and variant; a new variant needs a new report."""
    listed = {(r["layer"], r["direction"], r["precision"]): (r["kernel"], r["variant"]) for r in RECORD["predictions"]}
    today = {}
    for conv in LAYERS:
        for direction in DIRECTIONS:
            for precision in PRECISIONS:
                launches = cuda_report.launches_of(replace(conv, batch=BATCH), direction, precision)
                main = cuda_report.main_launch(launches)
                today[conv.name, direction, precision] = main.kernel.name, label(main.kernel)
    assert listed == today, f"run {cuda_report.COMMAND}"
    models = {(k.name, label(k)) for k in cuda_compile.variants() if k.name in cuda_launches.TENSOR_KERNELS}
    assert {(v["kernel"], v["variant"]) for v in RECORD["variants"]} == {*today.values(), *models}
    assert RECORD["kind"] == "prediction, not a measurement"


@pytest.mark.slow
def test_the_steps_are_those_of_today() -> None:
    """Kernels, launches and bytes of each step; another launch needs a new report."""
    steps = cuda_report.read_steps(RECORD)
    assert [(s.model, s.batch, s.precision) for s in steps] == [
        (model, batch, precision) for model, batch in cuda_steps.STEPS for precision in PRECISIONS
    ]
    for step in steps:
        today: dict[str, list[int]] = {}
        for launch in cuda_compile.training_launches(step.model, step.precision, batch=step.batch):
            counts = today.setdefault(launch.kernel.name, [0, 0])
            counts[0] += 1
            counts[1] += cuda_launches.array_bytes(launch)
        assert {g.kernel: [g.launches, g.nbytes] for g in step.groups} == today, f"run {cuda_report.COMMAND}"


def test_a_step_takes_no_less_than_its_bytes_and_launches() -> None:
    for step in cuda_report.read_steps(RECORD):
        assert step.seconds >= max(step.nbytes / cuda_model.MEMORY_RATE, step.launches * cuda_model.LAUNCH)
        for group in step.groups:
            assert 0 <= group.lost <= group.seconds, group
        assert f"The largest loss is `{step.largest_loss.kernel}`" in cuda_report.step_text(step)


def test_the_readable_reports_hold_the_same() -> None:
    text = cuda_report.TABLE.read_text()
    assert "A prediction, made without a GPU" in text
    steps = cuda_report.read_steps(RECORD)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    kernels = sum(len(step.groups) for step in steps)
    assert len(rows) == len(RECORD["predictions"]) + len(RECORD["variants"]) + kernels
    for step in steps:
        assert cuda_report.step_text(step) in text
    plan = cuda_plan.table([cuda_plan.Stage(**row) for row in RECORD["plan"]])
    notes = cuda_report.NOTES.read_text()
    assert cuda_report.with_plan(notes, plan) == notes, f"run {cuda_report.COMMAND}"
    assert plan in notes


def test_packing_and_epilogues_are_counted() -> None:
    rows = {(r["layer"], r["direction"], r["precision"]): r for r in RECORD["predictions"]}
    row = rows["64_64_at_32", "forward", "fast"]
    assert row["packing"] >= 2 * 67e6 / cuda_model.MEMORY_RATE  # 134 MB read, 67 MB written, and a weight
    assert row["total"] == pytest.approx(
        max(row["memory"], max(row[n] for n in ("tensor", "shared", "l2", "issue")) + row["ends"])
        + row["packing"]
        + row["others"]
    )
    (variant,) = (v for v in RECORD["variants"] if (v["kernel"], v["variant"]) == (row["kernel"], row["variant"]))
    assert row["ends"] > 0
    assert variant["code"] > variant["turn"] + variant["before"] + variant["behind"]
    assert variant["behind"] > 64 + 32  # a test of each of a thread's 64 results, and a store for each two


@pytest.mark.emulator
@needs_tools
def test_a_prediction_is_that_of_the_report() -> None:
    """One pass, made again."""
    conv = next(conv for conv in LAYERS if conv.name == "1x1_256_64_at_16")
    main, prediction = cuda_report.predict(conv, "forward", "default")
    variant = cuda_model.variant_of(main, traffic_of(main))
    row = next(
        r
        for r in RECORD["predictions"]
        if (r["layer"], r["direction"], r["precision"]) == (conv.name, "forward", "default")
    )
    listed = next(v for v in RECORD["variants"] if (v["kernel"], v["variant"]) == (row["kernel"], row["variant"]))
    for name in ("tensor", "shared", "l2", "memory", "others", "roofline"):
        assert getattr(prediction, name) == pytest.approx(row[name], rel=1e-6), name
    assert prediction.total >= prediction.roofline
    assert (variant.conflicts, variant.sectors) == (listed["conflicts"], listed["sectors"])
    if nvrtc.version() == RECORD["nvrtc"]:
        assert asdict(variant) == listed
        assert asdict(prediction).keys() == row.keys()
        for name, value in asdict(prediction).items():
            assert value == (row[name] if isinstance(value, str) else pytest.approx(row[name], rel=1e-6)), name


@pytest.mark.emulator
@pytest.mark.parametrize("name", ["64_64_at_32", "stride2_64_128_at_32", "1x1_256_64_at_16", "512_512_at_4"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_launch_on_few_images_is_the_same_but_for_its_size(name: str, direction: str) -> None:
    """It runs with every access checked, in the same variant, and does a share of the products by its images."""
    emulator_or_skip()
    conv = replace(next(c for c in LAYERS if c.name == name), batch=BATCH)
    main = cuda_report.main_launch(cuda_report.launches_of(conv, direction, "default"))
    with fc.use_backend("cuda-emulator") as backend:
        small = shrunk(backend, main)
    assert (small.kernel, small.block, small.shared_bytes) == (main.kernel, main.block, main.shared_bytes)
    assert len(small.args) == len(main.args)
    assert 0 < cuda_launches.multiply_adds(small) < cuda_launches.multiply_adds(main) / 20
    traffic = traffic_of(main)
    assert 1 <= traffic.conflicts < 1.2
    assert 1 <= traffic.excess < 2
    reads, writes = cuda_launches.operands(main)
    assert traffic.read * 32 > 0.9 * sum(o.nbytes for o in reads)  # nothing is read less than once
    assert traffic.written * 32 == pytest.approx(sum(o.nbytes for o in writes), rel=0.01)


def test_roofline_of_a_known_layer() -> None:
    """64 to 64 channels at 32x32: 38.7 GFLOP, 268.6 MB in float32."""
    conv = replace(next(c for c in LAYERS if c.name == "64_64_at_32"), batch=BATCH)
    assert conv.flops == pytest.approx(38.7e9, rel=2e-3)
    assert conv.arrays_bytes == pytest.approx(268.6e6, rel=1e-3)
    row = next(r for r in RECORD["predictions"] if (r["layer"], r["precision"]) == (conv.name, "default"))
    assert row["roofline"] == pytest.approx(89.5e-6, rel=2e-3)
    assert isinstance(conv, Conv)
