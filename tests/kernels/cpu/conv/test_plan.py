"""Plans of the direct convolution where each output pixel comes from one of the input: whole register tiles."""

from __future__ import annotations

import pytest

from fastconv.backends import use_backend
from tests.backends.cases.conv import Conv, backward_input, forward, pad
from tests.backends.cases.fused.convolutions import backward_input_through, conv_after
from tests.backends.cases.fused.parts import ADDED
from tests.backends.op_case import Case, PoisonedWorkspace, check

pytest.importorskip("numba")
from fastconv.kernels.cpu.conv.plan import Gather, flat, forward_gathers
from fastconv.kernels.cpu.vector.tile import ROWS
from fastconv.kernels.geometry import ConvGeometry


def _forward(x: tuple[int, ...], kernel: int, outputs: int, *, stride: int = 1, pad: int = 0) -> Gather:
    out_h, out_w = ((n + 2 * pad - kernel) // stride + 1 for n in x[1:3])
    geometry = ConvGeometry((kernel, kernel), (stride, stride), ((pad, pad), (pad, pad)))
    (gather,) = forward_gathers(x, (kernel, kernel, x[3], outputs), (x[0], out_h, out_w, outputs), geometry, 4)
    return gather


@pytest.mark.parametrize(
    ("x", "outputs"), [((128, 16, 16, 256), 64), ((3, 7, 5, 40), 24), ((2048, 1, 1, 2048), 2048), ((128, 1, 1, 64), 10)]
)
def test_pixels_of_a_1x1_convolution_fill_register_tiles(x: tuple[int, ...], outputs: int) -> None:
    gather = _forward(x, 1, outputs)
    plan = flat(gather.plan, 4)
    pixels = x[0] * x[1] * x[2]
    assert (plan.batch, plan.in_h, plan.in_w, plan.out_h, plan.out_w) == (pixels, 1, 1, 1, 1)
    assert plan.block_images % ROWS == 0
    assert plan.block_images * (plan.blocks - 1) < pixels <= plan.block_images * plan.blocks
    assert plan.in_place or plan.block_images <= gather.plan.block_images * gather.plan.block_rows * x[2]


def test_other_convolutions_keep_their_maps() -> None:
    for gather in (_forward((2, 8, 8, 16), 3, 16), _forward((2, 8, 8, 16), 1, 16, stride=2)):
        assert flat(gather.plan, 4) is gather.plan


ONE = (1, 1)
CONVS = [
    Conv("many-blocks", 5, (16, 17), 24, 40, kernel=ONE, padding=pad(0, 0)),
    Conv("groups", 3, (14, 14), 16, 80, kernel=ONE, padding=pad(0, 0), groups=2, bias=False),
    Conv("one-set-of-the-cache", 3, (13, 9), 1024, 17, kernel=ONE, padding=pad(0, 0)),
    Conv("few-channels", 2, (21, 20), 3, 16, kernel=ONE, padding=pad(0, 0)),
]
CASES = [
    *(make(c) for make in (forward, backward_input) for c in CONVS),
    *(conv_after(c, ADDED) for c in CONVS),
    *(backward_input_through(c, None, add=True, in_place=True) for c in CONVS),
]


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op}-{case.id}")
def test_matches_reference(case: Case, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("numba") as numba:
        monkeypatch.setattr(numba, "pool", PoisonedWorkspace(numba))
        check(case, numba, dtype)
