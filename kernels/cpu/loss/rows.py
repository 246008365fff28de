"""Losses over margins, ``m[j] = x[j] - x[y] + margin`` of the classes j but that of the row, y: the hinges.

One pass over each row, element by element in float64. A task is a block of rows.

scores and their gradient are (rows, classes), labels (rows,), losses (blocks,).
"""

import numpy as np

from ..runtime.launch import device, kernel
from .weights import clear_row, divisor, rows_of_block, weight_of


def make_margin_rows(name, formula):
    """Make the kernel of a loss; ``formula(m)`` is cost and slope of a margin, which is at least 0, or NaN."""

    def margin_rows(begin, end, scores, labels, parameters, weights, whole, plain, losses, grad):
        rows, classes = scores.shape
        divided_by, block_rows = divisor(whole, plain), rows_of_block(classes)
        for block in range(begin, end):
            loss = 0.0
            for n in range(block * block_rows, min((block + 1) * block_rows, rows)):
                weight = weight_of(weights, n)
                if weight == 0.0:
                    clear_row(grad[n])
                    continue
                own, costs, slopes = np.float64(scores[n, labels[n]]), 0.0, 0.0
                for k in range(classes):
                    m = np.float64(scores[n, k]) - own + parameters[0]
                    cost, slope = formula(0.0 if m <= 0 else m)
                    if k != labels[n]:
                        costs += cost
                        slopes += slope
                    grad[n, k] = slope * weight / divided_by
                grad[n, labels[n]] = -slopes * weight / divided_by
                loss += weight * costs
            losses[block] = loss / divided_by

    margin_rows.__name__ = name
    return kernel(margin_rows)


@device
def _multiclass_hinge(m):
    return m, 1.0 if m > 0 else m


@device
def _squared_hinge(m):
    return m * m, 2 * m


# The names are those of kernels/losses.py.
_FORMULAS = {
    "multiclass_hinge": _multiclass_hinge,
    "squared_hinge": _squared_hinge,
}
MARGIN_ROWS = {name: make_margin_rows(f"{name}_rows", formula) for name, formula in _FORMULAS.items()}
