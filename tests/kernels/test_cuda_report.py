"""The static report of the CUDA kernels: arithmetic on cases known by hand, and the committed tables against today."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import fastconv as fc
from benchmarks import cuda_compile, cuda_report, nvrtc, sass
from benchmarks.cuda_compile import label
from benchmarks.gpu_layers import BATCH, DIRECTIONS, LAYERS, PRECISIONS
from benchmarks.shapes import Conv
from fastconv.backends.cuda_backend import Launch
from fastconv.kernels.cuda.device import Kernel
from tests.backends.emulated import emulator_or_skip

RECORD = json.loads(cuda_report.RESULTS.read_text())
needs_tools = pytest.mark.skipif(
    nvrtc.library_path() is None or sass.disassembler() is None,
    reason="nvidia-cuda-nvrtc-cu12 or nvidia-cuda-nvdisasm is not installed",
)

# A kernel with a loop for copies in front, and a main loop with a smaller one for copies inside.
CODE = """
	.headerflags	@"EF_CUDA_SM90"
.text.probe:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   LDGSTS.E.BYPASS.128 [R3], [R4.64] ;
        /*0020*/              @!P1 BRA `(.L_x_0) ;
.L_x_1:
        /*0030*/                   LDGDEPBAR ;
        /*0040*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
.L_x_2:
        /*0050*/                   LDGSTS.E.BYPASS.128 [R3], [R4.64] ;
        /*0060*/               @P2 BRA `(.L_x_2) ;
        /*0070*/              @!P0 BRA `(.L_x_3) ;
        /*0080*/                   LDSM.16.M88.4 R4, [R8] ;
.L_x_3:
        /*0090*/                   LDS R5, [R8+0x10] ;
        /*00a0*/                   HMMA.16816.F32.BF16 R12, R4, R6, R12 ;
        /*00b0*/                   HMMA.16816.F32.BF16 R16, R4, R7, R16 ;
        /*00c0*/                   IADD3 R2, R2, 0x1, RZ ;
        /*00d0*/              @!P3 BRA `(.L_x_1) ;
        /*00e0*/                   STG.E [R2.64], R12 ;
        /*00f0*/                   EXIT ;
.L_x_4:
        /*0100*/                   BRA `(.L_x_4);
        /*0110*/                   NOP;
"""


def test_main_loop_of_known_code() -> None:
    loop = sass.main_loop(CODE)
    assert loop.inner == 2
    assert loop.classes == {"wait": 2, "branch": 2, "ldsm": 1, "lds": 1, "mma": 2, "other": 1}
    assert loop.instructions == 9


def test_without_a_loop_the_whole_kernel_counts() -> None:
    lines = [line for line in CODE.splitlines() if "BRA" not in line]
    loop = sass.main_loop("\n".join(lines))
    assert loop.instructions == 13
    assert loop.classes["mma"] == 2
    with pytest.raises(sass.DisassemblerError, match="no matrix products"):
        sass.main_loop("\n".join(line for line in lines if "HMMA" not in line))


def test_without_the_disassembler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sass, "disassembler", lambda: None)
    with pytest.raises(sass.DisassemblerError, match=r"pip install -e '\.\[gate\]'"):
        sass.disassemble(b"")


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
    assert cuda_report.resident_blocks(threads, registers, shared) == expected


def test_last_wave() -> None:
    assert cuda_report.last_wave(132 * 2, 2) == 1
    assert cuda_report.last_wave(132 + 1, 1) == pytest.approx(2 * 132 / 133)
    assert cuda_report.last_wave(66, 1) == 2


def _launch(name: str, grid: tuple[int, int, int], defines: dict[str, int | str], *args) -> Launch:
    return Launch(Kernel(f"{name}.cu", name, tuple(defines.items())), grid, (128, 1, 1), args, 0)


KERNEL = {"MATH": "BF16", "KERNEL_H": 3, "KERNEL_W": 3, "CHANNELS": 64, "BACKWARD": 0}


def test_turns_and_products_of_known_launches() -> None:
    tile = {"TILE_IMAGES": 1, "TILE_H": 8, "TILE_W": 16, "TILE_N": 64, "ROW_BYTES": 128}
    halo = _launch("conv2d_halo", (10, 1, 1), KERNEL | tile)
    assert cuda_report.turns(halo) == 10 * 9  # 64 channels are a row
    assert cuda_report.multiply_adds(halo) == 10 * 9 * 128 * 64 * 64
    strided = {"TILE_M": 64, "TILE_N": 32, "ROW_BYTES": 64, "STRIDE_H": 2, "STRIDE_W": 2, "FLAT": 0}
    gather = _launch("conv2d_gather", (10, 1, 4), KERNEL | {"BACKWARD": 1} | strided)
    assert cuda_report.turns(gather) == 10 * 9 * 2  # all phases together have the nine taps
    flat = _launch("conv2d_gather", (10, 1, 1), KERNEL | strided | {"FLAT": 1, "CHANNELS": 3, "MATH": "TF32"})
    assert cuda_report.turns(flat) == 10 * 2  # 27 numbers in rows of 16
    assert cuda_report.multiply_adds(flat) == 20 * 64 * 32 * 16
    sizes = {"TILE_M": 64, "TILE_N": 64, "ROW_TAPS": 3, "PIXELS": 32}
    arrays = [np.empty(4, np.float32)] * 3
    weight = _launch("conv2d_weight", (1, 3, 7), KERNEL | sizes, *arrays, np.int32(5), np.int32(99))
    assert cuda_report.turns(weight) == 3 * 7 * 5
    assert cuda_report.multiply_adds(weight) == 3 * 7 * 5 * 32 * 64 * 64 * 3


def test_bytes_of_arrays() -> None:
    x, y = np.empty(10, np.float32), np.empty(6, np.uint16)
    assert cuda_report.array_bytes(_launch("pack_input", (1, 1, 1), {}, x, y, np.int64(3))) == 52
    assert cuda_report.array_bytes(_launch("add_arrays", (1, 1, 1), {}, x, y, x)) == 52  # in place
    assert cuda_report.array_bytes(_launch("conv2d_halo", (1, 1, 1), {}, y, y, x, None, None, y)) == 12
    assert cuda_report.array_bytes(_launch("sum_splits", (1, 1, 1), {}, y, x, x, y)) == 12


def test_products_cover_those_of_the_layer() -> None:
    """Padded tiles do at least the layer's products, and for round layers exactly those."""
    for conv in LAYERS:
        conv = replace(conv, batch=BATCH)
        for direction in DIRECTIONS:
            for precision in PRECISIONS:
                launches = cuda_report.launches_of(conv, direction, precision)
                (main,) = (launch for launch in launches if launch.kernel.name in cuda_report.TENSOR_KERNELS)
                done = 2 * cuda_report.multiply_adds(main) / conv.flops
                assert done >= 1 or (conv.stride == 2 and direction == "backward_input"), (conv.name, direction)
                if conv.channels > 3 and conv.stride == 1:
                    assert done < 1.06, (conv.name, direction)


def test_the_report_is_that_of_today() -> None:
    """Each pass's kernel and variant; a new variant needs a new report."""
    listed = {(r["layer"], r["direction"], r["precision"]): (r["kernel"], r["variant"]) for r in RECORD["predictions"]}
    today = {}
    for conv in LAYERS:
        for direction in DIRECTIONS:
            for precision in PRECISIONS:
                launches = cuda_report.launches_of(replace(conv, batch=BATCH), direction, precision)
                (main,) = (launch for launch in launches if launch.kernel.name in cuda_report.TENSOR_KERNELS)
                today[conv.name, direction, precision] = main.kernel.name, label(main.kernel)
    assert listed == today, f"run {cuda_report.COMMAND}"
    models = {(k.name, label(k)) for k in cuda_compile.variants() if k.name in cuda_report.TENSOR_KERNELS}
    assert {(v["kernel"], v["variant"]) for v in RECORD["variants"]} == {*today.values(), *models}
    assert RECORD["kind"] == "prediction, not a measurement"


def test_the_readable_report_holds_the_same_rows() -> None:
    rows = [line for line in cuda_report.TABLE.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(RECORD["predictions"]) + len(RECORD["variants"])
    assert "A prediction, made without a GPU" in cuda_report.TABLE.read_text()


@pytest.mark.emulator
@needs_tools
def test_a_prediction_is_that_of_the_report() -> None:
    """One pass, made again."""
    conv = next(conv for conv in LAYERS if conv.name == "1x1_256_64_at_16")
    main, prediction = cuda_report.predict(conv, "forward", "default")
    variant = cuda_report.variant_of(main, cuda_report.ratios_of(main))
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
        assert variant.loop == listed["loop"]
        assert variant.registers == listed["registers"]


@pytest.mark.emulator
@pytest.mark.parametrize("name", ["64_64_at_32", "stride2_64_128_at_32", "1x1_256_64_at_16", "512_512_at_4"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_launch_on_few_images_is_the_same_but_for_its_size(name: str, direction: str) -> None:
    """It runs with every access checked, in the same variant, and does a share of the products by its images."""
    emulator_or_skip()
    conv = replace(next(c for c in LAYERS if c.name == name), batch=BATCH)
    launches = cuda_report.launches_of(conv, direction, "default")
    (main,) = (launch for launch in launches if launch.kernel.name in cuda_report.TENSOR_KERNELS)
    with fc.use_backend("cuda-emulator") as backend:
        small = cuda_report.shrunk(backend, main)
    assert (small.kernel, small.block, small.shared_bytes) == (main.kernel, main.block, main.shared_bytes)
    assert len(small.args) == len(main.args)
    assert 0 < cuda_report.multiply_adds(small) < cuda_report.multiply_adds(main) / 20
    conflicts, sectors = cuda_report.ratios_of(main)
    assert 1 <= conflicts < 1.2
    assert 1 <= sectors < 2


def test_roofline_of_a_known_layer() -> None:
    """64 to 64 channels at 32x32: 38.7 GFLOP, 268.6 MB in float32."""
    conv = replace(next(c for c in LAYERS if c.name == "64_64_at_32"), batch=BATCH)
    assert conv.flops == pytest.approx(38.7e9, rel=2e-3)
    assert conv.arrays_bytes == pytest.approx(268.6e6, rel=1e-3)
    row = next(r for r in RECORD["predictions"] if (r["layer"], r["precision"]) == (conv.name, "default"))
    assert row["roofline"] == pytest.approx(89.5e-6, rel=2e-3)
    assert isinstance(conv, Conv)
