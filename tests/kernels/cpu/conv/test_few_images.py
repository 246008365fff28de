"""One to four images and small maps: tasks for two threads in what takes time, and no Winograd for a few tiles."""

from __future__ import annotations

import pytest

pytest.importorskip("numba")
import fastconv as fc
from fastconv.kernels.cpu.conv.bf16.plan import bf16_runs
from fastconv.kernels.cpu.conv.plan import forward_gathers
from fastconv.kernels.cpu.conv.weight_gradient import weight_plan
from fastconv.kernels.cpu.conv.winograd.plan import winograd_plan
from fastconv.kernels.cpu.conv.winograd.weight_gradient.plan import winograd_weight_plan
from fastconv.kernels.cpu.vector.tile import ROWS
from fastconv.kernels.geometry import ConvGeometry

BATCHES = pytest.mark.parametrize("batch", [1, 2, 4])


@BATCHES
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    ("size", "inputs", "outputs"),
    [(32, 16, 16), (16, 32, 32), (8, 64, 64), (32, 64, 64), (14, 96, 208), (8, 256, 256), (4, 512, 512)],
)
def test_winograd(batch: int, size: int, inputs: int, outputs: int, fixed: bool) -> None:
    plan = winograd_plan((batch, size, size, inputs), (batch, size, size, outputs), 1, 1, fixed=fixed)
    assert plan.blocks * plan.splits >= 2
    assert plan.block_tiles * (plan.blocks - 1) < plan.tiles <= plan.block_tiles * plan.blocks


@BATCHES
@pytest.mark.parametrize(("size", "inputs", "outputs"), [(16, 128, 128), (14, 96, 208), (8, 256, 256), (4, 512, 512)])
def test_winograd_gradient_of_the_weight(batch: int, size: int, inputs: int, outputs: int) -> None:
    plan = winograd_weight_plan((batch, size, size, inputs), (batch, size, size, outputs), 1, 1)
    assert plan.parts * plan.in_blocks * plan.out_blocks >= 2


@BATCHES
@pytest.mark.parametrize(
    ("size", "inputs", "outputs", "stride"), [(32, 3, 16, 1), (32, 16, 32, 2), (16, 32, 64, 2), (56, 24, 24, 2)]
)
def test_direct(batch: int, size: int, inputs: int, outputs: int, stride: int) -> None:
    x, weight, padding = (batch, size, size, inputs), (3, 3, inputs, outputs), ((1, 1), (1, 1))
    out = (batch, size // stride, size // stride, outputs)
    geometry = ConvGeometry((3, 3), (stride, stride), padding)
    (gather,) = forward_gathers(x, weight, out, geometry, 4)
    assert gather.plan.blocks * gather.plan.splits >= 2
    plan = bf16_runs(gather, transposed=False).plan
    assert plan.blocks * plan.splits >= 2
    plan = weight_plan(x, out, weight, geometry, 4)
    assert batch * out[1] * out[2] <= 64 or plan.parts * plan.channel_blocks * plan.out_blocks >= 2


@pytest.mark.parametrize(
    ("batch", "forward", "backward"), [(1, False, False), (ROWS // 2 + 1, True, False), (ROWS, True, True)]
)
def test_few_tiles_are_computed_directly(batch: int, forward: bool, backward: bool) -> None:
    model = fc.nn.Sequential(fc.nn.Conv2d(32, 3, padding=1)).build((4, 4, 32), seed=0)
    with fc.use_backend("numba"):
        (row,) = fc.explain(model, (batch, 4, 4, 32)).rows
    found = [reason.split(":")[0].split()[1] for reason in row.reasons]
    assert found == ["Winograd" if winograd else "direct" for winograd in (forward, backward, backward)]
    assert forward or "1 tiles of 4x4 are fewer than" in row.reasons[0]
