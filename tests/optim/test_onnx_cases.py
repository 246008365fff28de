"""The training operators of the ONNX standard, ai.onnx.preview.training: its node cases and its published reference.

Where the formulas are written otherwise:

- ONNX counts steps from 0; update rules from 1. So the decay factor of Adagrad is our `lr_decay`, and beta of Momentum
  is 1 less our `dampening`, 1 in the first step in both.
- Adam of ONNX adds epsilon to the root before the bias is corrected, ours behind it: ours, at step t, is theirs with
  ``eps / sqrt(1 - beta2**t)``. Its T is the number of the step from 1; at 0 nothing is corrected, as at a step so late
  that there is nothing left to correct.
- Nesterov's momentum goes with beta 1 only here, as in PyTorch; decay behind the step (`norm_coefficient_post`) is not
  there, AdamW's being in front of it.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import pytest

from fastconv.backends.contract.backend import Backend
from fastconv.kernels.update_rules import UPDATE_RULES, Update

pytestmark = pytest.mark.peer

NODES = {  # the attributes are those of ONNX where a case has none
    "adagrad": {"decay_factor": 0.0, "epsilon": 1e-6, "norm_coefficient": 0.0},
    "adagrad_multiple": {"decay_factor": 0.0, "epsilon": 1e-6, "norm_coefficient": 0.0},
    "momentum": {},
    "momentum_multiple": {},
    "nesterov_momentum": {},
    "adam": {"norm_coefficient_post": 0.0},
    "adam_multiple": {"norm_coefficient_post": 0.0},
}
LATE = 10**6
PROBLEMS, STEPS = 20, 4
FLOOR = 580  # vectors of parameters or state that are compared: those of the nodes, and of the random problems

Arrays = list[np.ndarray]


def rule_of(operator: str, attributes: dict[str, Any], t: int) -> tuple[Update, int]:
    """Return our rule for a node, and the number of the step."""
    decay = attributes["norm_coefficient"]
    if operator == "Adagrad":
        return UPDATE_RULES["adagrad"](attributes["decay_factor"], attributes["epsilon"], decay), t + 1
    if operator == "Momentum":
        nesterov = attributes["mode"] in (b"nesterov", "nesterov")
        assert attributes["beta"] == 1 or not nesterov
        return UPDATE_RULES["sgd"](attributes["alpha"], nesterov, decay, 1 - attributes["beta"]), t + 1
    assert attributes["norm_coefficient_post"] == 0
    step, beta1, beta2 = t or LATE, attributes["alpha"], attributes["beta"]
    eps = attributes["epsilon"] / np.sqrt(1 - beta2**step)
    return UPDATE_RULES["adam"](beta1, beta2, eps, decay), step


def ours(backend: Backend, operator: str, attributes: dict[str, Any], rate: float, t: int, arrays: Arrays) -> Arrays:
    """Return the parameter and the arrays of state behind a step; `arrays` are (x, gradient, state...)."""
    update, step = rule_of(operator, attributes, t)
    x, grad, *state = (backend.asarray(array.copy()) for array in arrays)
    kept = dict(zip(update.rule.state, state, strict=False))
    numbers = {"lr": backend.asarray(np.full(1, rate)), "step": backend.asarray(np.full(1, step, np.int64))}
    backend.update(update, x, grad, kept, **numbers)
    return [backend.to_numpy(array) for array in (x, *state)]


@functools.cache
def cases() -> dict[str, Any]:
    pytest.importorskip("onnx")
    for module in ("adagrad", "momentum", "adam"):
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    from onnx.backend.test.case.node import _NodeTestCases

    domain = "ai.onnx.preview.training"
    return {
        case.name.removeprefix("test_"): case for case in _NodeTestCases if case.model.graph.node[0].domain == domain
    }


def test_all_of_its_cases_are_there() -> None:
    assert set(cases()) == set(NODES)


@pytest.mark.parametrize("name", NODES)
def test_node(name: str, backend: Backend) -> None:
    helper = pytest.importorskip("onnx.helper")
    node = cases()[name].model.graph.node[0]
    attributes = NODES[name] | {a.name: helper.get_attribute_value(a) for a in node.attribute}
    ((inputs, wanted),) = cases()[name].data_sets
    rate, t, *arrays = inputs
    tensors = 2 if name.endswith("multiple") else 1
    assert len(wanted) == len(arrays) - tensors
    for i in range(tensors):
        got = ours(backend, node.op_type, attributes, float(rate), int(t), arrays[i::tensors])
        for array, want in zip(got, wanted[i::tensors], strict=True):
            np.testing.assert_allclose(array, want, rtol=2e-6)


def problem(operator: str, rng: np.random.Generator) -> tuple[dict[str, Any], float, Arrays]:
    """Return attributes, a rate, and the parameter with its state."""
    decay, rate = rng.choice([0.0, 0.01]), 10 ** rng.uniform(-4, -1)
    x, state = rng.standard_normal(37), np.abs(rng.standard_normal((2, 37)))
    if operator == "Adagrad":
        more = {"decay_factor": rng.choice([0.0, 0.1]), "epsilon": 10 ** rng.uniform(-8, -3)}
        return {"norm_coefficient": decay, **more}, rate, [x, state[0]]
    if operator == "Momentum":
        nesterov = rng.random() < 0.5
        more = {"alpha": rng.uniform(0.1, 0.99), "beta": 1.0 if nesterov else rng.uniform(0, 1)}
        mode = "nesterov" if nesterov else "standard"
        return {"norm_coefficient": decay, "mode": mode, **more}, rate, [x, state[0]]
    more = {"alpha": rng.uniform(0.1, 0.99), "beta": rng.uniform(0.5, 0.999), "epsilon": 10 ** rng.uniform(-8, -3)}
    return {"norm_coefficient": decay, "norm_coefficient_post": 0.0, **more}, rate, [x, *state]


def theirs(operator: str, attributes: dict[str, Any], rate: float, t: int, arrays: Arrays) -> Arrays:
    module = importlib.import_module(f"onnx.reference.ops.aionnx_preview_training.op_{operator.lower()}")
    return list(getattr(module, operator)._run1(None, np.float64(rate), t, *arrays, **attributes))


@pytest.mark.parametrize("number", range(PROBLEMS))
@pytest.mark.parametrize("operator", ["Adagrad", "Momentum", "Adam"])
def test_steps_are_those_of_its_reference(operator: str, number: int, backend: Backend) -> None:
    pytest.importorskip("onnx")
    rng = np.random.default_rng(number)
    attributes, rate, (x, *state) = problem(operator, rng)
    for t in range(STEPS):
        grad = rng.standard_normal(x.shape)
        got = ours(backend, operator, attributes, rate, t, [x, grad, *state])
        x, *state = theirs(operator, attributes, rate, t, [x, grad, *state])
        for array, want in zip(got, (x, *state), strict=True):
            np.testing.assert_allclose(array, want, rtol=1e-12, atol=1e-13)


def test_there_are_as_many_vectors_as_there_were() -> None:
    outputs = sum(len(case.data_sets[0][1]) for case in cases().values())
    assert outputs + PROBLEMS * STEPS * (2 + 2 + 3) >= FLOOR
