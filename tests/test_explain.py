"""`fc.explain` tells what happens: held against the launches of a real step."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import get_backend
from fastconv.nn import (
    GELU,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Graph,
    MaxPool2d,
    Parallel,
    ReLU,
    Residual,
    Sequential,
)


def _model() -> Sequential:
    body = Sequential(Conv2d(16, 3, padding=1), BatchNorm2d(), ReLU(), Conv2d(16, 3, padding=1), BatchNorm2d())
    beside = Parallel(Conv2d(16, 1), Sequential(Conv2d(16, 3, padding=1, groups=16), ReLU()))
    return Sequential(
        *(Conv2d(16, 3, padding=1), ReLU(), Residual(body), ReLU(), beside, GELU()),
        *(Conv2d(20, 3, stride=2), BatchNorm2d(), ReLU(), MaxPool2d(2), Flatten(), Dense(5)),
    ).build((12, 12, 3), seed=0)


def _trace(model: Sequential, shape: tuple[int, ...]) -> list[str]:
    names: list[str] = []
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    with get_backend().trace(names.append):
        y, context = model.forward(x, training=True)
        model.backward(np.ones_like(y), context, needs_input_grad=False)
    return names


def test_rows_are_the_launches_of_a_step() -> None:
    shape = (3, 12, 12, 3)
    explanation = fc.explain(_model(), shape)
    told = sorted(name for row in explanation.rows for name in [*row.forward, *row.backward])
    assert told == sorted(_trace(_model(), shape))
    assert told


def test_every_layer_has_its_row() -> None:
    explanation = fc.explain(_model(), (3, 12, 12, 3))
    rows = {row.names: row for row in explanation.rows}
    assert list(rows) == [
        ("0", "1"),
        ("2.body.0", "2.body.1", "2.body.2"),
        ("2", "3"),
        ("4.1.0", "4.1.1"),
        ("4",),
        ("5",),
        ("6", "7", "8", "9"),
        ("10",),
        ("11",),
    ]
    block = rows["2", "3"]
    assert block.operations == (
        *("conv2d_statistics", "normalise + add + relu"),
        *("batch_norm_backward + add + relu", "conv2d_backward_input_norm + relu", "conv2d_backward_input + add"),
    )
    assert rows["2.body.0", "2.body.1", "2.body.2"].operations[-1] == "batch_norm_backward_apply"
    assert "normalise" in block.forward
    assert any("winograd" in name for name in block.forward)
    assert rows["6", "7", "8", "9"].reasons == tuple(
        f"{direction} direct: the stride is (2, 2)" for direction in ("forward", "backward-input", "backward-weight")
    )
    assert rows["4.1.0", "4.1.1"].reasons == ("depthwise: one input channel for each output",)
    assert rows["0", "1"].reasons[0] == "forward direct: 3 channels are fewer than 16"
    assert rows["11",].operations == ()


def test_text_names_everything() -> None:
    text = str(fc.explain(_model(), (2, 12, 12, 3)))
    for word in ("input (2, 12, 12, 3)", "backend numba", "6, 7, 8, 9: Conv2d + BatchNorm2d + ReLU + MaxPool2d"):
        assert word in text
    for row in fc.explain(_model(), (2, 12, 12, 3)).rows:
        for name in (*row.operations, *row.forward, *row.backward, *row.reasons):
            assert name in text


def test_precision_shows_and_decides() -> None:
    with fc.precision("strict"):
        explanation = fc.explain(_model(), (2, 12, 12, 3))
    assert explanation.precision == "strict"
    assert not any("winograd" in name for row in explanation.rows for name in [*row.forward, *row.backward])
    assert any("strict precision is always direct" in reason for row in explanation.rows for reason in row.reasons)


def test_model_stays_as_it_is() -> None:
    model = _model()
    before = {tensor.name: fc.to_numpy(tensor.data).copy() for tensor in model.tensors()}
    version = [p.version for p in model.parameters()]
    fc.explain(model, (2, 12, 12, 3))
    assert [p.version for p in model.parameters()] == version
    for tensor in model.tensors():
        np.testing.assert_array_equal(tensor.data, before[tensor.name])
    assert all(not np.any(p.grad) for p in model.parameters())
    model.zero_grad()
    assert _trace(model, (3, 12, 12, 3)) == _trace(_model(), (3, 12, 12, 3))


def test_after_training_it_tells_what_a_step_does() -> None:
    """Gradients that are there are no part of it: a step forgets them first."""
    shape, model = (3, 12, 12, 3), _model()
    fresh = fc.explain(model, shape)
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1), capture=False)
    x, y = np.ones(shape, np.float32), np.zeros(3, np.int32)
    trainer.train_step(x, y)
    after = fc.explain(model, shape)
    for mine, row in zip(after.rows, fresh.rows, strict=True):
        assert (mine.names, mine.forward, mine.backward) == (row.names, row.forward, row.backward)
    launched: list[str] = []
    with get_backend().trace(launched.append):
        trainer.train_step(x, y)
    told = [name for row in after.rows for name in [*row.forward, *row.backward]]
    assert sorted(told) == sorted(name for name in launched if name in told)
    assert not any("add_arrays" in name for row in after.rows if row.kinds[-1] != "Parallel" for name in row.backward)


def test_reference_backend_names_operations_only() -> None:
    with fc.use_backend("numpy"):
        model = _model()
        explanation = fc.explain(model, (1, 12, 12, 3))
    assert not any(row.forward or row.backward for row in explanation.rows)
    assert any(row.operations for row in explanation.rows)


@pytest.mark.parametrize("shape", [(12, 12, 3), (0, 12, 12, 3)])
def test_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(fc.errors.ShapeError, match=r"input_shape: got .*; allowed: "):
        fc.explain(_model(), shape)


@pytest.mark.parametrize("around", [False, True])
def test_a_model_with_several_outputs(around: bool) -> None:
    nodes = {"body": (Conv2d(4, 3), "input"), "few": (Conv2d(2, 1), "body"), "many": (Conv2d(5, 1), "body")}
    graph = Graph(nodes, ("few", "many"))
    model = (Sequential(ReLU(), graph) if around else graph).build((6, 6, 1))
    rows = {row.names[0].rpartition(".")[2]: row for row in fc.explain(model, (2, 6, 6, 1)).rows}
    for name in nodes:
        assert rows[name].forward
        assert rows[name].backward
