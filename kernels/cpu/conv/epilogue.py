"""What follows a convolution: ``max(conv2d(x) + bias + addend, floor)``, and mean and variance of that."""

import math
from typing import NamedTuple

import numpy as np


class Epilogue(NamedTuple):
    """As it is asked for; the bias comes with the weight."""

    floor: float = -math.inf
    addend: np.ndarray | None = None
    statistics: tuple | None = None  # the arrays that mean and variance are written to


NOTHING_MORE = Epilogue()
