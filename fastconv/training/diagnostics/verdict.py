"""What the curves of a training say: too little learned, too much learned by heart, or neither."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fastconv._console import count
from fastconv.plot.checking import history_of
from fastconv.training.diagnostics.found import Found
from fastconv.training.history import History

Kind = Literal["undecided", "diverged", "overfitting", "underfitting", "good"]
_LEAST = 4  # epochs
_RISE = 0.05
_FALL = 0.01
_LEARNED = 0.5
_ADVICE: dict[Kind, str] = {
    "undecided": f"train for at least {_LEAST} epochs, with validation data",
    "diverged": "a lower learning rate, or gradient clipping",
    "overfitting": "stop there, more data or augmentation, weight decay, dropout, or a smaller model",
    "underfitting": "train longer, a higher learning rate, a larger model, or less regularisation",
    "good": "",
}


@dataclass(frozen=True)
class Verdict(Found):
    """What `verdict` returns; ``print`` it.

    Parameters
    ----------
    kind : "undecided", "diverged", "overfitting", "underfitting" or "good"
        See `verdict`.
    reason : str
        The numbers that it rests on.
    advice : str
        What may help.
    best_epoch : int
        That of the least validation loss, from 1; 0 if there is none.
    loss, val_loss : float
        Means of the last epochs; NaN if they are not known.

    Examples
    --------
    >>> history = fc.History({"loss": [1.0, 0.5, 0.2, 0.1], "val_loss": [1.0, 0.6, 0.8, 1.2]})
    >>> fc.training.diagnostics.verdict(history).best_epoch
    2
    """

    kind: Kind
    reason: str
    advice: str
    best_epoch: int
    loss: float
    val_loss: float

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" + (f" (what may help: {self.advice})" if self.advice else "")


def verdict(history: History) -> Verdict:
    """Judge a training by its curves of "loss" and "val_loss".

    "Now" is the mean of the last quarter of the epochs, of one at least. The first rule that fits decides:

    - undecided: fewer than 4 epochs, or no validation loss
    - diverged: the last loss of either is not finite, or the training loss is now above that of the first epoch
    - overfitting: the validation loss is now more than 5 % above its least value, and the training loss now below what
      it was in that epoch
    - underfitting: the training loss is now more than half of that of the first epoch; or both losses still fall, each
      by more than 1 % an epoch over the last quarter (two epochs at least)
    - good: none of these

    Parameters
    ----------
    history : History
        Of the training.

    Returns
    -------
    Verdict
        What it is, why, and what may help.

    Examples
    --------
    >>> history = fc.History({"loss": [1.0, 0.5, 0.2, 0.1], "val_loss": [1.0, 0.6, 0.8, 1.2]})
    >>> fc.training.diagnostics.verdict(history).kind
    'overfitting'
    """
    found = history_of(history, "history")
    losses, validation = found.get("loss", []), found.get("val_loss", [])
    if len(losses) < _LEAST or len(validation) < len(losses):
        return _verdict("undecided", f"{count(len(losses), 'epoch')}, {len(validation)} with a validation loss")
    if not (math.isfinite(losses[-1]) and math.isfinite(validation[-1])):
        return _verdict("diverged", f"the last losses are {losses[-1]:g} and {validation[-1]:g}")
    last = max(len(losses) // 4, 1)
    now, val_now = (sum(values[-last:]) / last for values in (losses, validation))
    finite = [value if math.isfinite(value) else math.inf for value in validation]
    least = min(finite)
    best = finite.index(least)

    def judged(kind: Kind, reason: str) -> Verdict:
        return _verdict(kind, reason, best + 1, now, val_now)

    if now > losses[0]:
        return judged("diverged", f"the training loss is {now:.4g}, after {losses[0]:.4g} in the first epoch")
    if val_now > (1 + _RISE) * least and now < losses[best]:
        return judged(
            "overfitting",
            f"the validation loss was {least:.4g} in epoch {best + 1} and is {val_now:.4g}, while the training loss"
            f" went on from {losses[best]:.4g} to {now:.4g}",
        )
    if now > _LEARNED * losses[0]:
        return judged("underfitting", f"the training loss went from {losses[0]:.4g} only to {now:.4g}")
    falls = [_fall(values, max(last, 2)) for values in (losses, validation)]
    if min(falls) > _FALL:
        return judged("underfitting", f"the losses still fall, by {falls[0]:.1%} and {falls[1]:.1%} an epoch")
    return judged("good", f"the training loss is {now:.4g}, the validation loss {val_now:.4g}, and neither gets worse")


def _fall(values: Sequence[float], epochs: int) -> float:
    """Return by what share a loss fell an epoch, over the last `epochs`."""
    before, after = values[-1 - epochs], values[-1]
    return 1 - (after / before) ** (1 / epochs) if before > 0 and after > 0 else 0.0


def _verdict(kind: Kind, reason: str, best: int = 0, loss: float = math.nan, val_loss: float = math.nan) -> Verdict:
    return Verdict(kind, reason, _ADVICE[kind], best, loss, val_loss)
