"""The parameters of a layer or model, as one sequence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, overload

from fastconv._attributes import Declared
from fastconv.nn.core.parameter import FREEZING, Parameter


class Parameters(Declared):
    """The parameters of a layer or model, in order of their place in the arena.

    Parameters
    ----------
    parameters : iterable of Parameter
        In the order that they keep.

    Examples
    --------
    >>> parameters = fc.nn.Sequential(fc.nn.Dense(2)).build((3,)).parameters()
    >>> parameters.count, [parameter.name for parameter in parameters]
    (8, ['0.weight', '0.bias'])
    """

    habits: ClassVar[Mapping[str, str]] = {"requires_grad": FREEZING, "trainable": FREEZING}

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self._items = tuple(parameters)

    @overload
    def __getitem__(self, index: int) -> Parameter: ...
    @overload
    def __getitem__(self, index: slice) -> Parameters: ...
    def __getitem__(self, index: int | slice) -> Parameter | Parameters:
        return Parameters(self._items[index]) if isinstance(index, slice) else self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._items)

    @property
    def count(self) -> int:
        """How many numbers they hold together."""
        return sum(parameter.size for parameter in self._items)

    def named(self, name: str) -> Parameter:
        """Return the parameter called `name`; KeyError if there is none.

        Parameters
        ----------
        name : str
            Such as ``"0.weight"``.

        Returns
        -------
        Parameter
            The one of that name.
        """
        return {parameter.name: parameter for parameter in self._items}[name]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._items:
            parameter.zero_grad()

    def __repr__(self) -> str:
        return f"Parameters({', '.join(parameter.name for parameter in self._items)})"
