"""The plan's steps on launches made up by hand, and what must hold of every training step of today."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from benchmarks import cuda_plan, cuda_report, cuda_steps
from benchmarks.cuda_launches import Operand
from benchmarks.cuda_model import LAUNCH, MEMORY_RATE, Work

RECORD = json.loads(cuda_report.RESULTS.read_text())
BYTES = 6_000_000_000  # two milliseconds: no launch is bound by its least time
X, W, Z, MEAN, Y, POOLED = (Operand(key, BYTES, activation=True) for key in range(1, 7))
SMALL = Operand(50, 1000)
PACKED = [Operand(20 + i, BYTES // 2) for i in range(4)]


def work(kernel: str, reads, writes, **more: float) -> Work:
    return Work(kernel, tuple(reads), tuple(writes), **more)


def kernels(works) -> list[str]:
    return [w.kernel for w in works]


def seconds(works) -> float:
    return sum(w.total for w in works)


def test_a_launch_takes_the_longest_of_its_parts() -> None:
    main = work("conv2d_halo", [X], [], tensor=3.0, shared=1.0, l2_read=2.0, l2_written=2.0, issue=1.0, behind=0.5)
    assert main.total == 4.5
    assert main.binds == "l2"
    assert replace(main, tensor=5.0).total == 5.5
    assert replace(main, tensor=5.0).binds == "tensor"
    assert replace(main, behind=9.0).binds == "ends"
    only = work("add_arrays", [X, Z], [Y])
    assert only.total == 3 * BYTES / MEMORY_RATE
    assert only.binds == "memory"
    assert (work("sum_losses", [SMALL], []).total, work("sum_losses", [SMALL], []).binds) == (LAUNCH, "launch")


def test_groups_add_up_and_name_the_largest_loss() -> None:
    conv = work("conv2d_halo", [SMALL], [], tensor=3.0, roofline=2.0)
    works = [conv, conv, work("pack_input", [X], [PACKED[0]]), work("sum_losses", [SMALL], [])]
    step = cuda_steps.step_of("made_up", 1, "fast", works)
    assert step.seconds == pytest.approx(seconds(works))
    assert (step.launches, step.nbytes) == (4, sum(w.nbytes for w in works))
    assert [g.kernel for g in step.groups] == ["conv2d_halo", "pack_input", "sum_losses"]
    assert [g.lost for g in step.groups] == pytest.approx([2.0, 1.5 * BYTES / MEMORY_RATE, LAUNCH])
    assert step.largest_loss.kernel == "conv2d_halo"


def test_an_array_is_packed_once_until_it_is_written_again() -> None:
    def pack(i: int) -> Work:
        return work("pack_input", [X], [PACKED[i]])

    works = [pack(0), pack(1), work("conv2d_weight", [PACKED[1]], [SMALL]), work("relu_forward", [X], [X]), pack(2)]
    left = cuda_plan.pack_once(works)
    assert kernels(left) == ["pack_input", "conv2d_weight", "relu_forward", "pack_input"]
    assert left[1].reads[0].key == PACKED[0].key


def test_bf16_storage_halves_activations_and_drops_what_packs_without_padding() -> None:
    data = Operand(99, BYTES, activation=True)  # what nobody writes: the images
    works = [
        work("pack_input", [data], [Operand(98, BYTES)]),  # padded: it stays
        work("conv2d_gather", [Operand(98, BYTES)], [X], l2_written=4.0),
        work("relu_forward", [X], [Y]),
        work("pack_input", [Y], [PACKED[0]]),
        work("conv2d_weight", [PACKED[0]], [SMALL], l2_written=4.0),
    ]
    left = cuda_plan.store_bf16(works)
    assert kernels(left) == ["pack_input", "conv2d_gather", "relu_forward", "conv2d_weight"]
    assert left[0].nbytes == 2 * BYTES
    assert (left[1].writes[0].nbytes, left[1].l2_written) == (BYTES // 2, 2.0)
    assert left[2].nbytes == BYTES
    assert (left[3].reads[0].key, left[3].reads[0].nbytes, left[3].l2_written) == (Y.key, BYTES // 2, 4.0)


def _block(*, pooled: bool) -> list[Work]:
    """Return a convolution, its normalisation with a rectifier, and a pooling or none behind; forward and backward."""
    grad, masked, out = (Operand(key, BYTES, activation=True) for key in (30, 31, 32))
    argmax, sums = Operand(33, BYTES // 8), Operand(34, 1000)
    works = [
        work("conv2d_halo", [PACKED[0]], [Z], tensor=1e-3, behind=1e-3, columns=64),
        work("batch_norm_statistics", [Z], [sums]),
        work("combine_statistics", [sums], [MEAN]),
        work("normalise_activate", [Z, MEAN], [Y]),
    ]
    if pooled:
        works.append(work("max_pool2d_pixels", [Y], [POOLED, argmax]))
    works.append(work("conv2d_halo", [PACKED[1]], [grad], tensor=1e-3, behind=1e-3, columns=16))
    if pooled:
        works += [
            work("relu_gradient", [grad, POOLED], [W]),
            work("max_pool2d_backward_pixels", [W, argmax], [masked]),
            work("batch_norm_gradient_sums", [masked, Z, MEAN], [sums]),
        ]
    else:
        works.append(work("activate_gradient_sums", [grad, Z, MEAN, Y], [masked, sums]))
    return [
        *works,
        work("combine_gradients", [sums], [SMALL]),
        work("batch_norm_gradient_apply", [masked, Z, MEAN, SMALL], [out]),
    ]


def test_a_pooling_is_joined_to_its_normalisation() -> None:
    left = cuda_plan.fuse_pooling(_block(pooled=True))
    assert kernels(left) == [
        *("conv2d_halo", "batch_norm_statistics", "combine_statistics", "normalise_fused", "conv2d_halo"),
        *("batch_norm_gradient_sums", "combine_gradients", "batch_norm_gradient_apply"),
    ]
    keys = [[o.key for o in left[i].reads] for i in (3, 5, 7)]
    assert keys == [[Z.key, MEAN.key], [30, 33, Z.key, MEAN.key], [30, 33, Z.key, MEAN.key, SMALL.key]]
    assert [o.key for o in left[3].writes] == [POOLED.key, 33]
    shared = cuda_plan.fuse_pooling([*_block(pooled=True), work("pack_input", [Y], [PACKED[2]])])
    assert [o.key for o in shared[3].writes] == [Y.key, POOLED.key, 33]


def test_without_a_pooling_nothing_is_joined() -> None:
    assert cuda_plan.fuse_pooling(_block(pooled=False)) == _block(pooled=False)


def test_sums_go_into_epilogues() -> None:
    left = cuda_plan.statistics_in_epilogue(_block(pooled=False))
    assert "batch_norm_statistics" not in kernels(left)
    assert left[0].behind == pytest.approx(1e-3 * (1 + cuda_plan.STATISTICS_SHARE))
    left = cuda_plan.sums_in_epilogue(left)
    assert "activate_gradient_sums" not in kernels(left)
    conv = left[3]
    assert [o.key for o in conv.reads] == [PACKED[1].key, Z.key, MEAN.key, Y.key]
    assert left[-1].reads[0].key == conv.writes[0].key
    assert conv.l2_read > 0
    left = cuda_plan.fewer_launches(
        [*left, work("pack_weight", [SMALL], [SMALL]), work("sgd_update", [SMALL], [SMALL])]
    )
    assert kernels(left)[-1] == "sgd_update"
    assert not {"pack_weight", "combine_statistics", "combine_gradients"} & set(kernels(left))
    assert left[-1].nbytes == 3 * SMALL.nbytes
    wide = cuda_plan.use_wgmma(left)
    assert [w.tensor for w in wide if w.columns == 64] == pytest.approx([1e-3 * 0.63 / 0.80])
    assert [w.tensor for w in wide if w.columns == 16] == [1e-3]


def test_no_step_of_the_plan_costs_time() -> None:
    rows = [cuda_plan.Stage(**row) for row in RECORD["plan"]]
    for model, batch in cuda_steps.STEPS:
        mine = [row for row in rows if (row.model, row.batch) == (model, batch)]
        assert [row.name for row in mine] == [name for name, _ in cuda_plan.PLAN]
        for before, row in itertools.pairwise(mine):
            assert row.seconds <= before.seconds * (1 + 1e-9), row
            assert row.launches <= before.launches, row
        step = next(
            s for s in cuda_report.read_steps(RECORD) if (s.model, s.batch, s.precision) == (model, batch, "fast")
        )
        assert mine[0].seconds == pytest.approx(step.seconds)
        assert (mine[0].launches, mine[0].nbytes) == (step.launches, step.nbytes)


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cuda_plan.main() == 0
    assert capsys.readouterr().out == cuda_plan.table([cuda_plan.Stage(**row) for row in RECORD["plan"]])
