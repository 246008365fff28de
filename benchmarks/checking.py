"""Training steps that are compared with the reference's before they are timed."""

from collections.abc import Callable

import numpy as np

import fastconv as fc


def checked_step(make: Callable[[], fc.Trainer], x: np.ndarray, y: np.ndarray) -> fc.Trainer:
    """Return what `make` makes, behind a first step whose loss and gradients are those of the reference on NumPy.

    Of an SGD with momentum. Gradients are compared as a whole: where the values of a window nearly tie, or one is
    nearly zero, rounding sends a gradient elsewhere.
    """
    with fc.use_backend("numpy"):
        wanted, gradients = _first_step(make(), x, y)
    trainer = make()
    loss, ours = _first_step(trainer, x, y)
    assert abs(loss - wanted) < 1e-4 * abs(wanted)
    assert np.linalg.norm(ours - gradients) < 2e-2 * np.linalg.norm(gradients)
    return trainer


def _first_step(trainer: fc.Trainer, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss, and all gradients, which the momentum is behind the first step."""
    loss = float(trainer.train_step(x, y))
    tensors = trainer.optimizer.state_dict()["tensors"]
    return loss, np.concatenate([tensors[name].reshape(-1) for name in sorted(tensors)]).astype(np.float64)
