"""Gram matrices of Muon: divided by their trace, and a quadratic polynomial of one."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import one_by_one, typed


def normalise_gram(device, gram, *, eps, out, norm):
    """Divide a Gram matrix by its trace."""
    kernel = typed("gram.cu", "normalise_gram", gram.dtype)
    device.launch(kernel, *one_by_one(device, gram.size), (gram, out, norm, np.int32(len(gram)), np.float64(eps)))


def gram_polynomial(device, gram, square, norm, *, coefficients, out):
    """A quadratic polynomial of a symmetric matrix."""
    kernel = typed("gram.cu", "gram_polynomial", gram.dtype)
    arguments = (gram, square, norm, out, np.int32(len(gram)), *map(np.float64, coefficients))
    device.launch(kernel, *one_by_one(device, gram.size), arguments)
