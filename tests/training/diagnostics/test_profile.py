"""The table of times: what it counts, with a clock of its own."""

import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, ShapeError
from fastconv.training.diagnostics import Machine, profile_layers

from ..trainers import assert_same_bits, data_of, model_of, weights
from .containers import PAIRS, branched, heads, pair

MACHINE = Machine(1e12, 1e9)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A millisecond passes between two looks at the clock."""
    now = [0]

    def tick():
        now[0] += 1
        return now[0] / 1000

    monkeypatch.setattr("time.perf_counter", tick)


@pytest.mark.parametrize("backend", ["numpy", "numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_each_step_is_timed_without_those_inside(rng, backend):
    with fc.use_backend(backend):
        model = model_of()
        x, _ = data_of(rng, 4)
        before = weights(model)
        found = profile_layers(model, x, repeats=2, machine=MACHINE)
        assert_same_bits(weights(model), before)
    rows = {row.names: row for row in found.rows}
    assert list(rows) == [("0", "1", "2", "3"), ("4",), ("4.body.0", "4.body.1"), ("5",), ("6",), ("7",)]
    for names, row in rows.items():
        if names == ("4",):  # a tick before and one behind what is inside
            assert (row.forward_ms, row.backward_ms) == pytest.approx((2, 2))
        else:
            assert (row.forward_ms, row.backward_ms) == pytest.approx((1, 1))
    assert (found.forward_ms, found.backward_ms) == pytest.approx((7, 7))
    assert (found.backend, found.input_shape) == (backend, (4, 8, 8, 2))


def test_work_is_counted():
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Conv2d(8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Dense(5)).build((6, 6, 4))
        found = profile_layers(model, np.ones((2, 6, 6, 4), np.float32), repeats=1, machine=MACHINE)
    conv, flatten, dense = found.rows
    macs = 2 * 36 * 8 * 9 * 4
    assert (conv.forward_macs, conv.backward_macs) == (macs, macs)  # the first: no gradient of the input
    weights = 4 * (9 * 4 * 8 + 8)
    x, y = 4 * 2 * 36 * 4, 4 * 2 * 36 * 8
    assert conv.forward_bytes == x + y + weights
    assert conv.backward_bytes == y + x + 2 * weights
    assert (dense.forward_macs, dense.backward_macs) == (2 * 288 * 5, 2 * 2 * 288 * 5)
    assert (flatten.forward_macs, flatten.backward_macs) == (0, 0)
    assert conv.forward_share == pytest.approx(conv.forward_bytes / 1e9 / 1e-3)
    assert json.loads(json.dumps(found.to_dict()))["rows"][0]["kinds"] == ["Conv2d", "ReLU"]
    lines = str(found).splitlines()
    assert "1,000 GFLOP/s and 1.0 GB/s (stated)" in lines[0]
    assert lines[3].split()[:3] == ["0,", "1", "Conv2d"]
    assert lines[-1].startswith("total")


def _conv():
    return nn.Conv2d(2, 3, padding=1)


CONTAINERS = {
    "bare body": lambda: (nn.Residual(_conv()),),
    "bare body and shortcut": lambda: (nn.Residual(_conv(), nn.Conv2d(2, 1)), nn.ReLU()),
    "fused, bare shortcut": lambda: (
        nn.Residual(nn.Sequential(_conv(), nn.ReLU(), _conv(), nn.BatchNorm2d()), nn.Conv2d(2, 1)),
        nn.ReLU(),
    ),
    "branches": lambda: (nn.Parallel(_conv(), nn.Sequential(_conv(), nn.ReLU()), nn.Residual(_conv())),),
    "within others": lambda: (nn.Residual(nn.Sequential(nn.Residual(_conv()), _conv())),),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_all_work_within_containers_is_counted_once(kind):
    with fc.use_backend("numpy"):
        model = nn.Sequential(*CONTAINERS[kind]()).build((6, 6, 2))
        found = profile_layers(model, np.ones((2, 6, 6, 2), np.float32), repeats=1, machine=MACHINE)
        assert sum(row.forward_macs for row in found.rows) == 2 * model.summary().macs > 0
    weights = sum(4 * tensor.size for tensor in model.parameters())
    arrays = sum(row.forward_bytes for row in found.rows) - weights
    assert arrays >= 4 * 2 * 2 * 6 * 6 * 2  # what comes in and what comes out, once at least


def test_a_share_may_come_from_computing():
    with fc.use_backend("numpy"):
        model = nn.Dense(5).build((4,))
        (row,) = profile_layers(model, np.ones((3, 4), np.float32), repeats=1, machine=Machine(1e5, 1e12)).rows
    assert row.forward_share == pytest.approx(2 * 3 * 4 * 5 / 1e5 / 1e-3)


def test_what_cannot_be_timed_is_refused():
    with fc.use_backend("numpy"):
        model = model_of()
        with pytest.raises(ArgumentError, match="repeats: got 0"):
            profile_layers(model, np.ones((1, 8, 8, 2), np.float32), repeats=0)
        with pytest.raises(ArgumentError, match=r"x: got shape \(0, 8, 8, 2\); allowed: .*at least one"):
            profile_layers(model, np.ones((0, 8, 8, 2), np.float32))
        with pytest.raises(ArgumentError, match="machine: got 3; allowed: a Machine, or None"):
            profile_layers(model, np.ones((1, 8, 8, 2), np.float32), machine=3)
        with pytest.raises(ShapeError, match=r"x: got shape \(1, 8, 8, 3\)"):
            profile_layers(model, np.ones((1, 8, 8, 3), np.float32))


@pytest.mark.parametrize("kind", PAIRS)
def test_a_graph_has_the_rows_of_a_sequential(rng, kind):
    with fc.use_backend("numpy"):
        x = rng.standard_normal((2, 6, 6, 2)).astype(np.float32)
        rows, graph_rows = (profile_layers(model, x, repeats=1, machine=MACHINE).rows for model in pair(kind))
    for row, graph_row in zip(rows, graph_rows, strict=True):
        ours, theirs = ({**vars(each), "names": len(each.names), "kinds": None} for each in (graph_row, row))
        assert ours == pytest.approx(theirs)
        assert graph_row.kinds == row.kinds


def test_the_joins_of_a_graph_are_its_row(rng):
    with fc.use_backend("numpy"):
        x = rng.standard_normal((2, 6, 6, 2)).astype(np.float32)
        rows = profile_layers(branched()[1], x, repeats=1, machine=MACHINE).rows
    assert rows[0].names == ("",)
    assert {row.names for row in rows[1:]} == {("stem", "active"), ("left", "fired"), ("right",), ("pool",), ("dense",)}


@pytest.mark.parametrize("make", [heads, lambda: nn.Sequential(nn.Tanh(), heads())])
def test_several_outputs_are_timed_and_counted(make):
    with fc.use_backend("numpy"):
        model = make().build((6, 6, 1))
        found = profile_layers(model, np.ones((2, 6, 6, 1), np.float32), repeats=1, machine=MACHINE)
    rows = {row.names[-1].rpartition(".")[2]: row for row in found.rows}
    graph = next(row for row in found.rows if row.kinds == ("Graph",))
    assert {"relu", "pool", "few", "many"} < rows.keys()
    assert graph.forward_bytes == 4 * 2 * (6 * 6 + 2 + 5)
    assert all(row.backward_ms > 0 for row in found.rows if row.kinds != ("Tanh",))
