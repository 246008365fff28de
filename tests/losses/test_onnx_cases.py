"""The cases of the ONNX standard for SoftmaxCrossEntropyLoss, on every backend: losses, and gradients by its log_prob.

Scores are (N, C, d1, d2, ...) there; each place of a map is a row here.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import pytest

from fastconv.losses import SoftmaxCrossEntropy

pytestmark = pytest.mark.peer
FLOOR = 34
WHOLE = 40  # that many rows of an unreduced loss are looked at one by one


@functools.cache
def all_cases() -> dict[str, Any]:
    pytest.importorskip("onnx")
    importlib.import_module("onnx.backend.test.case.node.softmax_cross_entropy_loss")
    from onnx.backend.test.case.node import _NodeTestCases

    return {
        case.name.removeprefix("test_"): case
        for case in _NodeTestCases
        if "_expanded" not in case.name and case.model.graph.node[0].op_type == "SoftmaxCrossEntropyLoss"
    }


def as_rows(scores: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(scores, 1, -1).reshape(-1, scores.shape[1]))


def test_there_are_as_many_as_there_were() -> None:
    assert len(all_cases()) >= FLOOR


@pytest.mark.parametrize("number", range(FLOOR))
def test_node(number: int, backend: Any) -> None:
    helper = pytest.importorskip("onnx.helper")
    case = sorted(all_cases().items())[number][1]
    attributes = {a.name: helper.get_attribute_value(a) for a in case.model.graph.node[0].attribute}
    ((inputs, (want, *log_prob)),) = case.data_sets
    scores, labels = as_rows(inputs[0]), inputs[1].ravel()
    weight = inputs[2] if len(inputs) > 2 else None
    ignored, reduction = attributes.get("ignore_index"), attributes["reduction"].decode()

    def make(reduction: str) -> SoftmaxCrossEntropy:
        return SoftmaxCrossEntropy(class_weight=weight, ignore_index=ignored, reduction=reduction)

    if reduction == "none":
        rows = [float(make("sum")(scores[i : i + 1], labels[i : i + 1])[0]) for i in range(min(WHOLE, len(labels)))]
        np.testing.assert_allclose(rows, want.ravel()[:WHOLE], rtol=1e-5, atol=1e-6)
        reduction, want = "sum", want.sum(dtype=np.float64)
    loss, grad = make(reduction)(scores, labels)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    for logarithms in log_prob:
        counted = np.ones(len(labels)) if ignored is None else np.where(labels == ignored, 0.0, 1.0)
        known = np.where(counted == 0, 0, labels)
        share = counted * (1.0 if weight is None else weight[known])
        share = share / share.sum() if reduction == "mean" else share
        expected = share[:, None] * (np.exp(as_rows(logarithms)) - np.eye(scores.shape[1])[known])
        np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-6)
