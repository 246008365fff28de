"""How a convolution or a dense layer is computed, as a value.

Each backend declares its algorithms; what its choice returns is one of them, and its TABLE is made of their kernels.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@functools.cache
def _function(place: str) -> Callable[..., Any]:
    module, _, name = place.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return found


@dataclass(frozen=True)
class Algorithm:
    """One way to compute one direction of a convolution, or a dense layer.

    Attributes
    ----------
    name : str
        What is shown of it.
    form : str
        What kind it is, such as "direct" or "winograd".
    key : str
        Its name among the algorithms that can compute the same, as the file of measured choices has it.
    direction : str
        "forward", "backward_input" or "backward_weight".
    run : str
        The function that launches it, as module.function of this package; see `function`.
    kernels : tuple of str
        What that launches, as TABLE names them.
    tile : (int, int) or None
        Outputs of a tile of Winograd's, rows and columns.
    multiplies : str
        What numbers are multiplied: "float", those of the arrays, or else a narrower type.
    bf16_storage : bool
        Whether its kernels load and store bfloat16; for others it is converted before and after.
    fuses : bool
        Whether its kernels do what follows a convolution; else that takes passes of its own.
    """

    name: str
    form: str
    key: str = ""
    direction: str = "forward"
    run: str = ""
    kernels: tuple[str, ...] = ()
    tile: tuple[int, int] | None = None
    multiplies: str = "float"
    bf16_storage: bool = False
    fuses: bool = False

    @property
    def function(self) -> Callable[..., Any]:
        """The function that launches it, imported when it is first asked for."""
        return _function(self.run)

    @property
    def fixed_point(self) -> bool:
        """Whether it multiplies in 16-bit fixed point."""
        return self.multiplies == "fixed point"

    @property
    def transposed(self) -> bool:
        """Whether it reads the weight with its channels exchanged."""
        return self.direction == "backward_input"
