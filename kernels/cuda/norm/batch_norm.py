"""Batch normalisation: statistics by parts, their sum, then one pass that applies them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...epilogue import NO_EPILOGUE
from ..elementwise.elementwise import copy
from ..elementwise.pointwise import numbered
from ..runtime.grids import THREADS, channel_block, channel_chunks, rows_of_channels, typed

_LINE_ROWS = 32  # rows that one thread adds in the arrays' own type
_COMBINE = (8, 32, 1)  # channels x threads that share the parts of a channel


class _Applied(NamedTuple):
    """What the pass that applies the statistics reads: `rstd` and `shift` are written along with them."""

    gamma: object = None
    beta: object = None
    rstd: object = None
    shift: object = None
    eps: float = 0.0


_NOT_APPLIED = _Applied()


def batch_norm(device, x, gamma, beta, *, eps, out, mean, var, workspace):
    """Normalise with the statistics of the batch."""
    channels, dtype = gamma.size, x.dtype
    rows = x.size // channels
    rstd, shift = (workspace.empty((channels,), dtype) for _ in range(2))
    applied = _Applied(gamma, beta, rstd, shift, eps)
    statistics(device, x, mean=mean, var=var, workspace=workspace, applied=applied)
    arguments = (x, _rows_of(mean)[0], rstd, gamma, shift, out, np.int64(rows), np.int32(channels))
    grid, block = rows_of_channels(device, rows, channels, dtype)
    device.launch(_kernel("normalise", dtype), grid, block, arguments)


def _rows_of(statistic):
    """Return the rows of a mean or variance, None for a second one that is not there."""
    return (statistic[0], statistic[1]) if statistic.ndim > 1 else (statistic, None)


def statistics(device, x, *, mean, var, workspace, applied=_NOT_APPLIED):
    """Mean and biased variance of each channel; see `Backend.batch_norm` for their second rows."""
    channels, dtype = mean.shape[-1], x.dtype
    rows = x.size // channels
    parts, part_rows, grid, block = _parts(rows, channels, dtype)
    means, squares = (workspace.empty((parts, channels), np.float64) for _ in range(2))
    arguments = (x, means, squares, np.int64(rows), np.int32(channels), np.int32(part_rows))
    device.launch(_kernel("batch_norm_statistics", dtype), grid, block, arguments)
    gamma, beta, *results, eps = applied
    sizes = (np.int64(rows), np.int32(parts), np.int32(channels), np.int32(part_rows), np.float64(eps))
    arguments = (x, means, squares, gamma, beta, *_rows_of(mean), *_rows_of(var), *results, *sizes)
    device.launch(_kernel("combine_statistics", dtype), _combine_grid(channels), _COMBINE, arguments)


def normalise(device, x, gamma, beta, mean, var, epilogue, *, addend=None, eps, out, argmax=None, workspace):
    """Normalise with given statistics, then addition and activation."""
    if not x.size:
        return
    rows = x.size // gamma.size
    arrays = (x, gamma, beta, *_rows_of(mean), *_rows_of(var))
    sizes = (np.int64(rows), np.int32(gamma.size), np.float64(eps))
    if epilogue == NO_EPILOGUE:
        kernel, arguments = _kernel("normalise_inference", x.dtype), (*arrays, out, *sizes)
    else:
        kernel = typed("batch_norm_activate.cu", "normalise_activate", x.dtype)
        arguments = (*arrays, addend, out, *sizes, *numbered(epilogue.activation, x.dtype))
    device.launch(kernel, *rows_of_channels(device, rows, gamma.size, x.dtype), arguments)


def batch_norm_backward(
    device,
    grad_output,
    x,
    gamma,
    mean,
    var,
    epilogue,
    *,
    beta=None,
    saved=None,
    addend=None,
    argmax=None,
    eps,
    grad_input,
    grad_gamma,
    grad_beta,
    grad_addend=None,
    workspace,
):
    """Gradients of `batch_norm` and what followed it.

    The gradient before the activation is written by the first pass, to `grad_addend` or else where `grad_input` will
    be, and read by the second: the function is computed once.
    """
    channels, dtype = gamma.size, x.dtype
    rows = x.size // channels
    parts, part_rows, grid, block = _parts(rows, channels, dtype)
    sums, products = (workspace.empty((parts, channels), np.float64) for _ in range(2))
    constants = tuple(workspace.empty((channels,), dtype) for _ in range(4))
    (mean, rest), (var, deviation) = _rows_of(mean), _rows_of(var)
    distances = workspace.empty((parts, channels), np.float64) if rest is None else None
    sizes = (np.int64(rows), np.int32(channels), np.int32(part_rows), np.float64(eps))
    results = (sums, products, distances, *sizes)
    passed = grad_output if not epilogue.adds else grad_addend
    if epilogue.activation is None:
        kernel, arguments = _kernel("batch_norm_gradient_sums", dtype), (grad_output, x, mean, var, deviation, *results)
        if passed is not grad_output:
            copy(device, grad_output, out=passed)
    else:
        passed = grad_addend if epilogue.adds else grad_input
        kernel = typed("batch_norm_activate.cu", "activate_gradient_sums", dtype)
        arrays = (grad_output, x, gamma, beta, mean, rest, var, deviation, addend, saved, passed)
        arguments = (*arrays, *results, *numbered(epilogue.activation, dtype))
    device.launch(kernel, grid, block, arguments)
    sizes = (np.int64(rows), np.int32(parts), np.int32(channels), np.float64(eps))
    statistics = (gamma, mean, rest, var, deviation)
    arguments = (sums, products, distances, *statistics, grad_gamma, grad_beta, *constants, *sizes)
    device.launch(_kernel("combine_gradients", dtype), _combine_grid(channels), _COMBINE, arguments)
    arguments = (passed, x, mean, *constants, grad_input, np.int64(rows), np.int32(channels))
    grid, block = rows_of_channels(device, rows, channels, dtype)
    device.launch(_kernel("batch_norm_gradient_apply", dtype), grid, block, arguments)


def update_running_stats(device, mean, var, *, momentum, count, running_mean, running_var):
    """Move the running statistics towards those of the batch."""
    scalars = (mean.dtype.type(momentum), mean.dtype.type(count / (count - 1) if count > 1 else 1))
    arguments = (mean, var, running_mean, running_var, np.int32(mean.size), *scalars)
    grid = (-(-mean.size // THREADS), 1, 1)
    device.launch(_kernel("move_running", mean.dtype), grid, (THREADS, 1, 1), arguments)


def _parts(rows, channels, dtype):
    """Return the number of parts, the rows of one, grid and block; of the shape alone."""
    columns, lines = channel_block(channels, dtype)
    part_rows = _LINE_ROWS * lines
    parts = -(-rows // part_rows)
    return parts, part_rows, (parts, channel_chunks(channels, dtype), 1), (columns, lines, 1)


def _combine_grid(channels):
    return -(-channels // _COMBINE[0]), 1, 1


def _kernel(name, dtype):
    return typed("batch_norm.cu", name, dtype)
