"""What follows a convolution: ``activation(conv2d(x) + bias + addend)``, or mean and variance of the sum."""

from typing import NamedTuple

import numpy as np

from ...pointwise import Activation
from ..vector.bf16_storage import convert


class ConvEpilogue(NamedTuple):
    """As it is asked for; the bias comes with the weight."""

    activation: Activation | None = None
    addend: np.ndarray | None = None
    statistics: tuple | None = None  # the arrays that mean and variance are written to
    before: np.ndarray | None = None  # the array that the sum is written to, as it is before the activation


NOTHING_MORE = ConvEpilogue()


def in_register_type(run, epilogue, out, dtype, workspace):
    """Call ``run(out, epilogue)``, with arrays of `dtype` for those written that are stored as bfloat16."""
    if out.dtype == dtype:
        run(out, epilogue)
        return
    y, before = workspace.empty(out.shape, dtype), epilogue.before
    kept = None if before is None else workspace.empty(before.shape, dtype)
    run(y, epilogue._replace(before=kept))
    convert(y, out)
    if before is not None:
        convert(kept, before)
