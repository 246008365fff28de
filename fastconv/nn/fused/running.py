"""Backward through what follows a normalisation that used running statistics, as frozen ones do in training."""

from __future__ import annotations

from collections.abc import Mapping

from fastconv.backends.contract.types import Array
from fastconv.kernels.epilogue import Epilogue
from fastconv.nn.fused.tail import Tail
from fastconv.nn.layers.norm import BatchNorm2d


def of_running(mean: Array) -> bool:
    """Tell whether a mean is a running one: those of batches have a second row."""
    return bool(mean.ndim == 1)


def back_through(
    norm: BatchNorm2d,
    tail: Tail,
    grad_output: Array,
    normalised: tuple[Array, Array, Array],
    kept: Mapping[str, Array | None],
) -> Array:
    """Return the gradient of what `norm` gave, with a shortcut added if there is one.

    Parameters
    ----------
    normalised : its input, mean and variance
    kept : mapping
        What `ConvNorm.normalise` kept: "saved", "addend", "argmax".
    """
    backend, (z, mean, var) = norm.backend, normalised
    layer, pool, grad = tail.activation, tail.pool, grad_output
    if pool is not None and tail.keeps_before:
        grad = pool.backward(grad, (kept["argmax"], z.shape))
    if layer is not None:
        saved = kept["saved"]
        if tail.keeps_before:
            saved = backend.empty(z.shape, norm.dtype)
            before = (z, norm.gamma.array, norm.beta.array, mean, var, Epilogue(tail.adds))
            backend.normalise(*before, addend=kept["addend"], eps=norm.eps, out=saved, workspace=backend.pool)
        grad_before = backend.empty(grad.shape, norm.dtype)
        backend.activate_backward(layer.activation, grad, saved, out=grad_before)
        grad = grad_before
    if pool is not None and not tail.keeps_before:
        grad = pool.backward(grad, (kept["argmax"], z.shape))
    return grad
