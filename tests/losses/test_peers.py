"""Every loss against PyTorch on random problems, in float64: value and gradient within 1e-10."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import losses
from fastconv.kernels.losses import LOSSES as LIST

pytestmark = pytest.mark.peer
torch: Any = pytest.importorskip("torch")
PROBLEMS = 60  # of each loss, on each backend

Problem = tuple[Any, np.ndarray, np.ndarray, Callable[[Any, Any], Any]]


def _classes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, int | None, str]:
    """Return scores, labels, weights of classes or None, the class to ignore or None, and the reduction."""
    n, k = rng.integers(1, 40), rng.integers(2, 50)
    labels, ignored = rng.integers(0, k, n), rng.choice([None, -100, int(rng.integers(k))])
    if ignored is not None:
        labels[1:][rng.random(n - 1) < 0.3] = ignored
        labels[0] = (ignored + 1) % k if ignored >= 0 else labels[0]
    weight = rng.uniform(0.1, 3, k) if rng.random() < 0.5 else None
    return 3 * rng.standard_normal((n, k)), labels, weight, ignored, str(rng.choice(["mean", "sum"]))


def _softmax(rng: np.random.Generator) -> Problem:
    x, labels, weight, ignored, reduction = _classes(rng)
    smoothing = float(rng.choice([0, 0.1, 0.5]))
    t = rng.dirichlet(np.ones(x.shape[1]), len(x)) if rng.random() < 0.4 else labels
    ignored = None if t.ndim == 2 else ignored
    how = {"class_weight": weight, "ignore_index": ignored, "reduction": reduction}
    theirs = torch.nn.CrossEntropyLoss(
        None if weight is None else torch.from_numpy(weight),
        ignore_index=-100 if ignored is None else int(ignored),
        reduction=reduction,
        label_smoothing=smoothing,
    )
    return losses.SoftmaxCrossEntropy(smoothing, **how), x, t, theirs


def _hinge(power: int) -> Callable[[np.random.Generator], Problem]:
    def make(rng: np.random.Generator) -> Problem:
        x, labels, weight, ignored, reduction = _classes(rng)
        margin = float(rng.uniform(0, 2))
        cls = losses.MulticlassHinge if power == 1 else losses.SquaredHinge
        ours = cls(margin, class_weight=weight, ignore_index=ignored, reduction=reduction)

        def theirs(x: Any, t: Any) -> Any:
            """PyTorch's has no class to ignore, and its mean is over rows and classes, whatever they weigh."""
            kept = torch.ones_like(t, dtype=torch.bool) if ignored is None else t != ignored
            w = torch.ones(x.shape[1], dtype=x.dtype) if weight is None else torch.from_numpy(weight)
            sum_of = torch.nn.MultiMarginLoss(power, margin, w, reduction="sum")
            return sum_of(x[kept], t[kept]) * x.shape[1] / (w[t[kept]].sum() if reduction == "mean" else 1)

        return ours, x, labels, theirs

    return make


def _binary(rng: np.random.Generator) -> Problem:
    shape, reduction = tuple(rng.integers(1, 20, 2)), str(rng.choice(["mean", "sum"]))
    t = np.where(rng.random(shape) < 0.5, rng.integers(0, 2, shape), rng.uniform(0, 1, shape))
    weight = rng.uniform(0.1, 5, shape[1]) if rng.random() < 0.6 else None
    given = None if weight is None else torch.from_numpy(weight)
    theirs = torch.nn.BCEWithLogitsLoss(pos_weight=given, reduction=reduction)
    return losses.BinaryCrossEntropy(pos_weight=weight, reduction=reduction), 5 * rng.standard_normal(shape), t, theirs


def _errors(ours: str, theirs: str) -> Callable[[np.random.Generator], Problem]:
    def make(rng: np.random.Generator) -> Problem:
        shape = tuple(rng.integers(1, 12, rng.integers(1, 5)))
        how: dict[str, Any] = {"reduction": str(rng.choice(["mean", "sum"]))}
        how |= {"delta": float(rng.uniform(0.1, 2))} if ours == "Huber" else {}
        return getattr(losses, ours)(**how), *rng.standard_normal((2, *shape)), getattr(torch.nn, theirs)(**how)

    return make


MAKERS: dict[str, Callable[[np.random.Generator], Problem]] = {
    "softmax_cross_entropy": _softmax,
    "multiclass_hinge": _hinge(1),
    "squared_hinge": _hinge(2),
    "binary_cross_entropy": _binary,
    "mean_squared_error": _errors("MeanSquaredError", "MSELoss"),
    "mean_absolute_error": _errors("MeanAbsoluteError", "L1Loss"),
    "huber": _errors("Huber", "HuberLoss"),
}


def test_every_loss_of_the_list_has_problems() -> None:
    assert set(MAKERS) == set(LIST)


@pytest.mark.parametrize("number", range(PROBLEMS))
@pytest.mark.parametrize("name", MAKERS)
def test_equals_torch(backend: Any, name: str, number: int) -> None:
    ours, x, t, theirs = MAKERS[name](np.random.default_rng([number, *name.encode()]))
    given, targets = torch.from_numpy(x).requires_grad_(), torch.from_numpy(t)
    want = theirs(given, targets)
    want.backward()
    value, grad = ours(x, t)
    np.testing.assert_allclose(value, want.item(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(grad, given.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("name", MAKERS)
def test_sample_weights_equal_an_average_of_torchs_rows(backend: Any, name: str, number: int) -> None:
    rng = np.random.default_rng([number, 7, *name.encode()])
    n, k, rows = int(rng.integers(1, 30)), int(rng.integers(2, 20)), LIST[name].over == "rows"
    x, w = rng.standard_normal((n, k)), rng.uniform(0.1, 3, n)
    t = rng.integers(0, k, n) if rows else rng.uniform(0, 1, (n, k))
    reference = {
        "softmax_cross_entropy": torch.nn.CrossEntropyLoss(reduction="none"),
        "multiclass_hinge": lambda x, t: k * torch.nn.MultiMarginLoss(1, reduction="none")(x, t),
        "squared_hinge": lambda x, t: k * torch.nn.MultiMarginLoss(2, reduction="none")(x, t),
        "binary_cross_entropy": torch.nn.BCEWithLogitsLoss(reduction="none"),
        "mean_squared_error": torch.nn.MSELoss(reduction="none"),
        "mean_absolute_error": torch.nn.L1Loss(reduction="none"),
        "huber": torch.nn.HuberLoss(reduction="none"),
    }[name]
    given, weights = torch.from_numpy(x).requires_grad_(), torch.from_numpy(w)
    costs = reference(given, torch.from_numpy(t))
    want = ((costs if rows else costs.mean(1)) * weights).sum() / weights.sum()
    want.backward()
    value, grad = losses.LOSSES[name]()(x, t, w)
    np.testing.assert_allclose(value, want.item(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(grad, given.grad.numpy(), rtol=1e-10, atol=1e-10)
