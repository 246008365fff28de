"""The trace of a step: what is in it, and the form of the file."""

import itertools
import json

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError
from fastconv.training.diagnostics import trace_step

from ..trainers import assert_same_bits, data_of, model_of, trainer_of, weights


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A second passes between two looks at the clock."""
    monkeypatch.setattr("time.perf_counter", itertools.count().__next__)


def traced(rng, backend):
    with fc.use_backend(backend):
        trainer = trainer_of(model_of())
        x, y = data_of(rng, 4)
        before = weights(trainer.model)
        found = trace_step(trainer, x, y)
        assert_same_bits(weights(trainer.model), before)
        assert trainer.step == trainer.optimizer.steps == 0
    return found


@pytest.mark.parametrize("backend", ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_kernels_lie_within_their_layers(rng, backend):
    found = traced(rng, backend)
    events = found.events
    (step,) = (event for event in events if event.row == "step")
    kernels = [event for event in events if event.row == "kernels"]
    layers = {event.name: event for event in events if event.row == "layers"}
    fused = "Conv2d 0 + BatchNorm2d 1 + ReLU 2 + MaxPool2d 3"
    assert {f"{fused}, forward", f"{fused}, backward", "Residual 4, forward", "Dense 7, backward"} <= set(layers)

    def within(inner, outer):
        end = outer.begin_us + outer.duration_us
        return outer.begin_us <= inner.begin_us and inner.begin_us + inner.duration_us <= end

    assert all(within(event, step) for event in events)
    assert not [event for event in events if not event.duration_us]  # each has ended
    assert within(layers["Conv2d 4.body.0 + ReLU 4.body.1, forward"], layers["Residual 4, forward"])
    assert any(within(kernel, layers[f"{fused}, forward"]) and "conv2d" in kernel.name for kernel in kernels)
    last = max(event.begin_us for event in layers.values())
    assert "sgd_update" in [kernel.name for kernel in kernels if kernel.begin_us > last]
    assert [event.begin_us for event in kernels] == sorted(event.begin_us for event in kernels)
    assert str(found).endswith(f"{len(layers)} of layers, {len(kernels)} kernels")


def test_the_reference_has_layers_only(rng):
    assert {event.row for event in traced(rng, "numpy").events} == {"step", "layers"}


def test_the_file_has_the_form_of_the_trace_event_format(rng, tmp_path):
    found = traced(rng, "numpy")
    found.save(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert trace["displayTimeUnit"] == "ms"
    heads = [event for event in trace["traceEvents"] if event["ph"] == "M"]
    assert {(head["name"], head["args"]["name"]) for head in heads} >= {
        ("process_name", "fastconv, backend numpy"),
        *(("thread_name", row) for row in ("step", "layers", "kernels")),
    }
    complete = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(complete) == len(found.events) == 13
    for event in complete:
        assert {"name", "cat", "ph", "ts", "dur", "pid", "tid"} == set(event)
        assert np.isfinite([event["ts"], event["dur"]]).all()


def test_a_trace_is_of_a_trainer():
    with (
        fc.use_backend("numpy"),
        pytest.raises(ArgumentError, match=r"^trainer: got Sequential; allowed: a Trainer"),
    ):
        trace_step(model_of(), np.zeros((1, 4)), np.zeros(1, int))
