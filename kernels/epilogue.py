"""What follows a convolution or a normalisation, as a value: the name of every fusion there is.

Needs neither Numba nor CuPy, nor anything of fastconv.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .geometry import PoolWindows
from .pointwise import POINTWISE, Activation


@dataclass(frozen=True)
class Epilogue:
    """``max_pool2d(activation(z + addend))`` of the result z; each part may be missing.

    Attributes
    ----------
    adds : bool
        Whether an array is added first.
    activation : Activation or None
    windows : PoolWindows or None
        Those of the max pooling.
    """

    adds: bool = False
    activation: Activation | None = None
    windows: PoolWindows | None = None

    @property
    def unpooled(self) -> Epilogue:
        """It without the pooling."""
        return replace(self, windows=None)


NO_EPILOGUE = Epilogue()


@dataclass(frozen=True)
class Native:
    """Which epilogues the kernels of an operation do in their own pass: ``epilogue in native``.

    Attributes
    ----------
    adds, pools : bool
        Whether they add, and pool.
    activations : frozenset of str
        The names of the functions that they apply.
    keeps : bool
        Whether they write what comes before the activation, too.
    """

    adds: bool = False
    activations: frozenset[str] = frozenset()
    pools: bool = False
    keeps: bool = False

    def __contains__(self, epilogue: Epilogue) -> bool:
        added, pooled = epilogue.adds <= self.adds, self.pools or epilogue.windows is None
        return added and pooled and (epilogue.activation is None or epilogue.activation.name in self.activations)


ALL_NATIVE = Native(True, frozenset(POINTWISE), True, True)
