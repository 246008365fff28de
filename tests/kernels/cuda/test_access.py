"""Memory accesses of the tensor-core kernels: no bank conflict and no half-used sector without a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.backends.cases.conv import Conv, backward_input, backward_weight, forward
from tests.backends.emulator.emulated import emulator_or_skip, running

pytestmark = pytest.mark.emulator

# Where more wavefronts or sectors are taken than needed, at most how many times as many, and why that is so:
# (kernel, part of the line or "" for all).
REASONS = {
    ("pack_weight", ""): (8, "turns the weight round, once a step and not once a pixel"),
    ("conv2d_gather", "conv2d_gather.cu:"): (4, "the table of a block's pixels: written once, read while copies fly"),
    ("conv2d_gather", "operand.cuh"): (3, "copies of fewer channels than 16 bytes go one by one"),
    ("conv2d_weight", "operand.cuh"): (3, "copies of fewer channels than 16 bytes go one by one"),
    ("conv2d_weight", "ptx.cuh"): (2, "eight copies span two rows of few channels, whose padding is for the reads"),
    ("conv2d_halo", "conv2d_halo.cu:"): (4, "the table of a patch's cells: written once, sixteen bytes a thread"),
    ("conv2d_halo", "store_tile.cuh"): (3, "fewer results a pixel than a sector holds"),
}
MAPS = {
    "wide": Conv("wide", 2, (8, 16), 64, 64),
    "small": Conv("small", 8, (4, 4), 64, 64),
    "odd": Conv("odd", 2, (7, 9), 32, 48),
    "stride2": Conv("stride2", 2, (8, 8), 64, 64, stride=(2, 2)),
    "1x1": Conv("1x1", 2, (8, 8), 64, 32, (1, 1), padding=((0, 0), (0, 0))),
    "stem": Conv("stem", 1, (8, 16), 3, 64),
}


def wasteful(make, c: Conv) -> dict[tuple[str, str], float]:
    """Return the places that take more than they need, and how many times as much."""
    backend = emulator_or_skip()
    case = make(c)
    arrays = {name: backend.asarray(a) for name, a in case.arrays(np.random.default_rng(0), "float32").items()}
    results = {name: backend.empty(shape, np.float32) for name, shape in case.outputs.items()}
    with running(checks=True), backend.device.counting() as counters:
        case.call(backend, arrays, results, backend.pool)
    assert any(counter.shared for counter in counters)
    return {(k.kernel, k.line): k.taken / k.best for k in counters if k.taken > 1.02 * k.best}


@pytest.mark.parametrize("precision", ["default", "fast"])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("make", [forward, backward_input, backward_weight], ids=lambda f: f.__name__)
def test_no_conflict_without_a_reason(make, name: str, precision: str) -> None:
    found = wasteful(make, replace(MAPS[name], precision=precision))
    unexplained = {
        place: times
        for place, times in found.items()
        if not any(
            place[0] == kernel and part in place[1] and times <= limit for (kernel, part), (limit, _) in REASONS.items()
        )
    }
    assert not unexplained
