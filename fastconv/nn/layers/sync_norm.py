"""Batch normalisation over all parts of a batch that is trained in parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.kernels.epilogue import NO_EPILOGUE
from fastconv.nn.core.layer import Context, arrange_all
from fastconv.nn.core.meeting import meeting
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.nn.model.model import Layer


class SyncBatchNorm(BatchNorm2d):
    """`BatchNorm2d` with the statistics of the whole batch, where its parts are computed apart: see `DataParallel`.

    Count, mean and squared distances of the parts are merged two at a time in float64 (Chan et al. 1979), in an order
    that does not depend on how many processes there are; backward the sums over the gradient are. Where a batch is not
    cut it is a `BatchNorm2d`, whose arguments and tensors it has.

    It runs by itself, not as one with the convolution before it, and waits for the device twice a step.

    Parameters
    ----------
    eps, momentum, scale : float, float, bool
        See `BatchNorm2d`.

    Examples
    --------
    >>> model = fc.nn.SyncBatchNorm.convert(fc.models.resnet20())
    >>> sum(isinstance(layer, fc.nn.SyncBatchNorm) for layer in model.walk())
    19
    """

    fuses = False

    @classmethod
    def convert(cls, model: Layer) -> Layer:
        """Make each `BatchNorm2d` in a model one of these, which keeps its values.

        Before a Trainer is made of it.

        Parameters
        ----------
        model : Layer
            Built or not.

        Returns
        -------
        Layer
            The model itself.
        """
        for layer in model.walk():
            if type(layer) is BatchNorm2d:
                object.__setattr__(layer, "__class__", cls)
        if any(layer.home.backend is not None for layer in model.walk()):
            arrange_all(model)
        return model

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        here = meeting.get()
        if here is None or not training or self.is_frozen:
            return super().forward(x, training=training)
        backend = self.backend
        x = self.check_input(x, None, self.gamma.shape[0])
        count = math.prod(x.shape[:-1])
        y, (mean, var) = backend.empty(x.shape, x.dtype), self.empty_statistics()
        gamma, beta = self.gamma.array, self.beta.array
        backend.batch_norm(x, gamma, beta, eps=self.eps, out=y, mean=mean, var=var, workspace=backend.pool)
        means, spreads = (backend.to_numpy(array).astype(np.float64) for array in (mean, var))
        total = here.join(_statistics(count, means.sum(0), _variance(spreads) * count), _merged)
        whole = int(total[0, 0])
        mean, var = (backend.asarray(rows) for rows in _rows(total, self.dtype))
        backend.normalise(x, gamma, beta, mean, var, NO_EPILOGUE, eps=self.eps, out=y, workspace=backend.pool)
        self.update(mean[0], var[0], whole)
        return y, (x, mean, var, count / whole)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        here = meeting.get()
        if here is None or len(self.check_context(context)) == 3:
            return super().backward(grad_output, context, needs_input_grad=needs_input_grad)
        backend = self.backend
        x, mean, var, share = context
        grad_output = self.check_grad(grad_output, x.shape)
        grad_input, targets = backend.empty(x.shape, x.dtype), self.grad_targets()
        gamma = self.gamma.array
        more: dict[str, Any] = {"eps": self.eps, "grad_input": grad_input, "workspace": backend.pool}
        backend.batch_norm_backward(grad_output, x, gamma, mean, var, NO_EPILOGUE, **more, **targets)
        own = [backend.to_numpy(targets[name]).astype(np.float64) for name in ("grad_gamma", "grad_beta")]
        sums = (here.join(np.stack(own), np.add) * share).astype(self.dtype)
        self.add_grads(targets)
        if not needs_input_grad:
            return None
        grad_gamma, grad_beta = (backend.asarray(row) for row in sums)
        sums_of_all = {"grad_gamma": grad_gamma, "grad_beta": grad_beta}
        backend.batch_norm_backward_apply(grad_output, x, gamma, mean, var, **sums_of_all, **more)
        return grad_input


def _variance(rows: np.ndarray) -> np.ndarray:
    """Return a variance in float64; what the arrays' type cannot hold, of the deviation in the second row."""
    with np.errstate(over="ignore"):
        return np.asarray(np.where(np.isinf(rows[0]), rows[1] ** 2, rows[0]))


def _statistics(count: float, mean: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Return count, mean and sum of squared distances of a part as rows, (3, C)."""
    return np.stack([np.full_like(mean, count), mean, squares])


def _merged(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the statistics of two parts together."""
    (n, mean, squares), (m, other, more) = first, second
    apart = other - mean
    return np.stack([n + m, mean + apart * (m / (n + m)), squares + more + apart**2 * (n * m / (n + m))])


def _rows(total: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance, each with its second row: see `Normalisations.batch_norm`."""
    count, mean, squares = total
    with np.errstate(over="ignore", invalid="ignore"):  # a variance that is not finite is one
        rounded = mean.astype(dtype)
        var = squares / count
        rest = np.where(np.isfinite(rounded), mean - rounded, 0.0)
        return np.stack([rounded, rest.astype(dtype)]), np.stack([var, np.sqrt(var)]).astype(dtype)
