"""Philox against the published known answers, and dropout's mask against the blocks it is defined by."""

import numpy as np
import pytest

from fastconv.backends.contract.types import RandomKey
from fastconv.kernels.cpu.elementwise.dropout import dropout
from fastconv.kernels.cpu.elementwise.philox import philox_block, philox_vectors
from fastconv.kernels.cpu.runtime import launch as launching
from fastconv.kernels.cpu.runtime.launch import kernel, launch
from fastconv.kernels.cpu.vector.memory import TASK_ELEMENTS
from fastconv.kernels.cpu.vector.simd import address, itemsize, lanes, vload, vsplat, vstore

# Counter, key, result: "philox4x32 10" in kat_vectors of Random123 (https://github.com/DEShawResearch/random123).
KNOWN = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@kernel
def one_block(begin, end, counter, key, out):
    words = philox_block(counter[0], counter[1], counter[2], counter[3], key[0], key[1])
    out[0], out[1], out[2], out[3] = words


@kernel
def vector_of_blocks(begin, end, counters, key, out):
    """Counters and results have a row for each of the four words."""
    dt = counters.dtype
    step = counters.shape[1] * itemsize(dt)
    place, target = address(counters), address(out)
    key0, key1 = vsplat(key[0], dt), vsplat(key[1], dt)
    words = philox_vectors(
        vload(place, dt),
        vload(place + step, dt),
        vload(place + 2 * step, dt),
        vload(place + 3 * step, dt),
        key0,
        key1,
        dt,
    )
    vstore(target, words[0])
    vstore(target + step, words[1])
    vstore(target + 2 * step, words[2])
    vstore(target + 3 * step, words[3])


@kernel
def lanes_of(begin, end, x, out):
    out[0] = lanes(x.dtype)


def _block(counter, key):
    out = np.zeros(4, np.uint64)
    launch(one_block, 1, np.array(counter, np.uint64), np.array(key, np.uint64), out)
    return out


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter, key, expected):
    np.testing.assert_array_equal(_block(counter, key), expected)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_every_lane_is_a_block_of_its_own(counter, key, expected):
    width = np.zeros(1, np.int64)
    launch(lanes_of, 1, np.zeros(1, np.uint64), width)
    for lane in range(width[0]):
        counters = np.random.default_rng(lane).integers(0, 2**32, (4, width[0]), np.uint64)
        counters[:, lane] = counter
        out = np.zeros_like(counters)
        launch(vector_of_blocks, 1, counters, np.array(key, np.uint64), out)
        np.testing.assert_array_equal(out[:, lane], expected)
        np.testing.assert_array_equal(out[:, lane - 1], _block(counters[:, lane - 1], key))


def _dropped(x, p, key):
    out = np.full_like(x, np.nan)
    dropout(x, p=p, key=key, out=out)
    return out


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", [1, 3, 4, 5, 31, 32, 33, 500, TASK_ELEMENTS + 37])
def test_element_takes_its_word_of_its_block(size, dtype):
    key = RandomKey(seed=0x299F31D0_A4093822, stream=0x13198A2E, step=0x03707344)
    y = _dropped(np.ones(size, dtype), 0.3, key)
    numbers = {*range(min(size, 40)), *range(max(0, size - 40), size)}
    blocks = {i: _block([i, 0, key.stream, key.step], [0xA4093822, 0x299F31D0]) for i in {n // 4 for n in numbers}}
    for n in numbers:
        assert (y[n] != 0) == (int(blocks[n // 4][n % 4]) >= int(0.3 * 2**32)), n
    assert set(np.unique(y)) <= {0, dtype(1 / 0.7)}


def test_share_of_kept_elements():
    """Within six standard deviations, at rates from nearly none to nearly all."""
    x = np.ones(400_000, np.float32)
    for p in (0.0, 1e-3, 0.25, 0.5, 0.9, 0.999):
        kept = np.count_nonzero(_dropped(x, p, RandomKey(1, 2, 3)))
        assert abs(kept - x.size * (1 - p)) <= 6 * np.sqrt(x.size * p * (1 - p))


def test_each_part_of_the_key_counts():
    x = np.ones(4096, np.float32)
    keys = [RandomKey(1, 1, 1), RandomKey(2, 1, 1), RandomKey(1 + 2**32, 1, 1), RandomKey(1, 2, 1), RandomKey(1, 1, 2)]
    masks = {_dropped(x, 0.5, key).tobytes() for key in keys}
    assert len(masks) == len(keys)


def test_dropped_elements_are_zero_whatever_they_were():
    x = np.full(4096, np.nan, np.float32)
    y = _dropped(x, 0.5, RandomKey(7, 0, 0))
    mask = _dropped(np.ones_like(x), 0.5, RandomKey(7, 0, 0)) != 0
    assert (y[~mask] == 0).all()
    assert np.isnan(y[mask]).all()


def test_threads_change_no_bit():
    x = np.random.default_rng(2).standard_normal(9 * TASK_ELEMENTS + 5).astype(np.float32)
    before, results = launching.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            launching.set_num_threads(threads)
            results.append(_dropped(x, 0.4, RandomKey(5, 6, 7)).tobytes())
    finally:
        launching.set_num_threads(before)
    assert results[0] == results[1] == results[2]
