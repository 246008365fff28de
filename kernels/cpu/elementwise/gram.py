"""Gram matrices of Muon: divided by their trace, and a quadratic polynomial of one. Bound by memory; a row is a task.

A matrix X and its Gram matrix A = X^T X, (n, n): the trace of A is the squared norm of X. Each task sums the diagonal
by itself, in order, so nobody waits for another.
"""

from ..runtime.launch import kernel, launch
from ..vector.memory import load, store
from ..vector.simd import address, itemsize, lanes, vfma, vsplat


@kernel
def normalise_gram_rows(begin, end, gram, eps, out, norm):
    """One row a task; the first one writes the norm."""
    dt = gram.dtype
    size = itemsize(dt)
    width = lanes(dt)
    n = gram.shape[0]
    trace = 0.0
    for i in range(n):
        trace += gram[i, i]
    root = max(trace**0.5, eps)
    share = vsplat(1 / (root * root), dt)
    if begin == 0:
        norm[0] = root
    for i in range(begin * n, end * n, width):
        count = min(width, end * n - i)
        store(address(out) + i * size, share * load(address(gram) + i * size, count, dt), count, dt)


@kernel
def gram_polynomial_rows(begin, end, gram, square, norm, coefficients, out):
    """One row a task."""
    dt = gram.dtype
    size = itemsize(dt)
    width = lanes(dt)
    n = gram.shape[0]
    divisor = norm[0] if norm.size else 1.0
    a, b, c = coefficients
    one, two = vsplat(b / divisor, dt), vsplat(c / divisor, dt)
    for i in range(begin * n, end * n, width):
        count = min(width, end * n - i)
        linear = one * load(address(gram) + i * size, count, dt)
        store(address(out) + i * size, vfma(two, load(address(square) + i * size, count, dt), linear), count, dt)
    for i in range(begin, end):
        out[i, i] += a / divisor


def normalise_gram(gram, *, eps, out, norm):
    """Divide a Gram matrix by its trace."""
    launch(normalise_gram_rows, len(gram), gram, float(eps), out, norm)


def gram_polynomial(gram, square, norm, *, coefficients, out):
    """A quadratic polynomial of a symmetric matrix."""
    scale = gram[:0, 0] if norm is None else norm
    launch(gram_polynomial_rows, len(gram), gram, square, scale, tuple(map(float, coefficients)), out)
