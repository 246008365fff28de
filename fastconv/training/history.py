"""What a training run recorded, epoch by epoch."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastconv._attributes import Declared
from fastconv._files import home_path_of, parsed_json, write_atomically
from fastconv._html import table
from fastconv.errors import DataError

_SHOWN = 60  # epochs, in a notebook


@dataclass
class History(Declared):
    """One list of numbers per quantity, one number per epoch.

    Parameters
    ----------
    history : dict
        Of "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate" (of the last step), "seconds" and
        "images_per_second" (of the training, without validation), "sparsity" of a `Pruning` and "sparsity/NAME" of each
        weight that it prunes, those that there are.

    Examples
    --------
    >>> history = fc.History()
    >>> history.append({"loss": 1.5, "accuracy": 0.25})
    >>> history.append({"loss": 0.5, "accuracy": 0.75})
    >>> history.history["loss"], history.epochs
    ([1.5, 0.5], 2)
    """

    history: dict[str, list[float]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        first = max(self.epochs - _SHOWN, 0)
        rows = [
            (str(i + 1), *(f"{values[i]:.6g}" if i < len(values) else "" for values in self.history.values()))
            for i in range(first, self.epochs)
        ]
        return table(
            ("epoch", *self.history), rows, head=f"the last {_SHOWN} of {self.epochs}" if first else "", left=0
        )

    @property
    def epochs(self) -> int:
        """How many epochs are recorded."""
        return max(map(len, self.history.values()), default=0)

    def append(self, logs: dict[str, float]) -> None:
        """Record one epoch; a quantity that comes late has NaN for the epochs before, as has one that is left out.

        Parameters
        ----------
        logs : dict of str to float
            The quantities of the epoch.
        """
        before = self.epochs
        for name in [*self.history, *(name for name in logs if name not in self.history)]:
            if name not in self.history:
                self.history[name] = [math.nan] * before
            self.history[name].append(float(logs.get(name, math.nan)))

    def _new_value(self, name: str, value: Any) -> Any:
        return value  # a trainer takes an epoch back

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, all or nothing; what is not finite becomes null.

        Parameters
        ----------
        path : path
            Of the file.
        """
        plain = {
            name: [value if math.isfinite(value) else None for value in values] for name, values in self.history.items()
        }
        write_atomically(path, (json.dumps(plain, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> History:
        """Read what `save` wrote; DataError if the file is something else.

        Parameters
        ----------
        path : path
            Of a file that `save` wrote.

        Returns
        -------
        History
            With NaN for null.
        """
        file = home_path_of(path, "path")
        try:
            plain = parsed_json(file.read_text(encoding="utf-8"))
            return cls({name: [recorded(value) for value in values] for name, values in plain.items()})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"path: got {str(file)!r} ({error}); allowed: a file that History.save wrote") from error


def recorded(value: Any) -> float:
    """Return a number as JSON has it, NaN for null; ValueError for anything else, and for what no file of ours has."""
    if value is None:
        return math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):  # an int past all floats
            number = float(value)
            if math.isfinite(number):
                return number
    raise ValueError(f"got {value!r:.40}; allowed: a finite number, or null")
