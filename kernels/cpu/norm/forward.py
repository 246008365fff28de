"""Batch normalisation with given statistics, and what follows it: the launches of the kernels in normalise.py."""

from ..elementwise.following import following
from ..pool.max_pool import max_pool2d
from ..pool.windows import suits_pool
from ..runtime.launch import launch, thread_rows
from ..vector.bf16_storage import STORED, convert
from ..vector.memory import or_nothing
from ..vector.simd import STREAM_BYTES, VECTOR_BYTES
from . import normalise as kernels

_BLOCK_BYTES = 64 * 1024


def _constant_rows(gamma):
    """Scratch for two constants of each channel, a row for each thread."""
    return thread_rows(2 * gamma.nbytes, gamma.dtype)


def normalise_rows(x, norm, out, addend=None, activation=None):
    """Launch ``activation(norm(x) + addend)``; `norm` is (gamma, beta, mean, var, eps)."""
    gamma, beta, mean, var, eps = norm
    rows = x.reshape(-1, gamma.size)
    norm = gamma, beta, mean.reshape(-1), var.reshape(-1), float(eps)
    block_rows = max(1, _BLOCK_BYTES // gamma.nbytes)
    whole = gamma.nbytes % VECTOR_BYTES == 0 and out.ctypes.data % VECTOR_BYTES == 0
    stream = whole and out.nbytes >= STREAM_BYTES
    arguments = (
        rows,
        norm,
        or_nothing(addend, gamma.dtype).reshape(-1),
        following(activation),
        out,
        block_rows,
        stream,
    )
    launch(kernels.normalise, -(-len(rows) // block_rows), *arguments, scratch=_constant_rows(gamma))


def normalise(x, gamma, beta, mean, var, epilogue, *, addend=None, eps, out, argmax=None, workspace):
    """Normalise, and all that follows; in one pass unless a pooling is of other windows than 2x2, or of a sum."""
    norm, windows, activation = (gamma, beta, mean, var, eps), epilogue.windows, epilogue.activation
    if windows is None:
        normalise_rows(x, norm, out, addend, activation)
    elif addend is None and suits_pool(x.shape, out.shape, windows):
        norm = gamma, beta, mean.reshape(-1), var.reshape(-1), float(eps)
        arguments = (x, norm, following(activation), out, argmax)
        launch(kernels.normalise_max_pool2d, out.shape[0] * out.shape[1], *arguments, scratch=_constant_rows(gamma))
    else:
        y = workspace.empty(x.shape, gamma.dtype)
        pooled = workspace.empty(out.shape, gamma.dtype) if out.dtype == STORED else out
        normalise_rows(x, norm, y, addend, activation)
        max_pool2d(y, windows=windows, out=pooled, argmax=argmax)
        if pooled is not out:
            convert(pooled, out)
