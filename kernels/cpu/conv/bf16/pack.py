"""Weights of the convolutions in bfloat16: pairs of input elements by 16 output channels, in the order of the runs."""

from ...runtime.launch import device, kernel, launch
from ...vector.bf16 import BLOCK_BYTES, square_pairs, store_bf16_pairs
from ...vector.memory import load
from ...vector.simd import address, vsplat
from ...vector.tile import square_load, square_store, square_transpose
from .plan import STEP_ELEMENTS, bf16_runs, packed_bytes


@device
def _vector_place(packed, task, plan):
    """Return group, first output channel, address and step of a vector's blocks."""
    vectors = (plan.group_out + 15) // 16
    group, vector = divmod(task, vectors)
    paired = vector < plan.group_out // 32 * 2
    block = vector // 2 * 2 if paired else vector
    place = packed + ((group * vectors + block) * plan.chunks + vector - block) * BLOCK_BYTES
    return group, vector * 16, place, BLOCK_BYTES * (2 if paired else 1)


@kernel
def pack_bf16(begin, end, source, packed, runs, taps, strides, plan):
    """Pairs of a weight whose output channels follow each other, a vector of them a task."""
    dt = source.dtype
    stride_r, stride_s, _, _, stride_group = strides
    zero = vsplat(0, dt)
    for task in range(begin, end):
        group, k, target, step = _vector_place(address(packed), task, plan)
        count = min(16, plan.group_out - k)
        start = address(source) + (group * stride_group + k) * 4
        tap = 0
        for r in range(runs.shape[0]):
            rows = runs[r, 1] * plan.group_in
            at, c = tap, 0
            place = start + (taps[at, 0] * stride_r + taps[at, 1] * stride_s) * 4
            for chunk in range(runs[r, 2]):
                for pair in range(16):
                    row = chunk * STEP_ELEMENTS + 2 * pair
                    first, second = zero, zero
                    if row < rows:
                        first = load(place, count, dt)
                        at, c, place = _next_row(place, at, c, start, taps, strides, plan)
                    if row + 1 < rows:
                        second = load(place, count, dt)
                        at, c, place = _next_row(place, at, c, start, taps, strides, plan)
                    store_bf16_pairs(target + pair * 64, first, second)
                target += step
            tap += runs[r, 1]


@device
def _next_row(place, tap, c, start, taps, strides, plan):
    """Return tap, input channel and address of the next row."""
    if c + 1 < plan.group_in:
        return tap, c + 1, place + strides[2] * 4
    tap = min(tap + 1, taps.shape[0] - 1)
    return tap, 0, start + (taps[tap, 0] * strides[0] + taps[tap, 1] * strides[1]) * 4


@kernel
def pack_bf16_transposed(begin, end, source, packed, runs, taps, strides, plan):
    """Pairs of a weight whose input channels follow each other, a vector of output channels a task."""
    dt = source.dtype
    stride_r, stride_s, _, stride_out, stride_group = strides
    for task in range(begin, end):
        group, k, target, step = _vector_place(address(packed), task, plan)
        rows = min(16, plan.group_out - k)
        start = address(source) + (group * stride_group + k * stride_out) * 4
        for tap in range(taps.shape[0]):
            place = start + (taps[tap, 0] * stride_r + taps[tap, 1] * stride_s) * 4
            for c in range(0, plan.group_in, STEP_ELEMENTS):
                count = plan.group_in - c
                low = square_load(place + 4 * c, stride_out * 4, rows, min(count, 16), dt)
                high = square_load(place + 4 * c + 64, stride_out * 4, rows, max(min(count - 16, 16), 0), dt)
                square_store(square_transpose(square_pairs(low, high)), target, 64, 16, 16)
                target += step


def prepare(weight, gathers, strides, workspace, *, transposed):
    """Return the weight packed for all plans, as bytes.

    `strides` are those of (r, s, in, out, group), in elements; `transposed` if those of `in` follow each
    other, not those of `out`.
    """
    plans = [bf16_runs(gather, transposed=transposed) for gather in gathers]
    packed = workspace.empty((sum(packed_bytes(runs.plan) for runs in plans),), "uint8")
    start, flat = 0, weight.reshape(-1)
    for plan, runs, taps in plans:
        stop = start + packed_bytes(plan)
        tasks = plan.groups * -(-plan.group_out // 16) if len(taps) else 0
        launch(
            pack_bf16_transposed if transposed else pack_bf16,
            tasks,
            flat,
            packed[start:stop],
            runs,
            taps,
            strides,
            plan,
        )
        start = stop
    return packed
