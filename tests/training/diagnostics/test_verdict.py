"""What is said of curves, by the rule that is stated."""

import json
import math

import pytest

from fastconv.errors import ArgumentError
from fastconv.training import History
from fastconv.training.diagnostics import verdict

NAN = math.nan


@pytest.mark.parametrize(
    ("losses", "validation", "kind", "best"),
    [
        ([2, 1, 0.5], [2, 1, 0.5], "undecided", 0),
        ([2, 1, 0.5, 0.3], [], "undecided", 0),
        ([2, 1, NAN, NAN], [2, 1, 1, NAN], "diverged", 0),
        ([2, 1, 3, 4], [2, 1, 3, 4], "diverged", 2),
        ([2, 1, 0.5, 0.2, 0.1], [2, 1, 0.9, 1.1, 1.3], "overfitting", 3),
        ([2, 1, 0.5, 0.49, 0.488], [2, 1, 0.9, 0.94, 0.944], "good", 3),  # 4.9 % is not more than 5 %
        ([2, 1.9, 1.8, 1.7, 1.6], [2, 1.9, 1.8, 1.7, 1.6], "underfitting", 5),
        ([2, 1.5, 1, 0.8, 0.6], [2, 1.5, 1.1, 0.9, 0.7], "underfitting", 5),  # still falls
        ([2, 1, 0.5, 0.499, 0.498], [2, 1, 0.6, 0.599, 0.598], "good", 5),
        ([2, 1, 0.5, 0.499, 0.498], [2, NAN, 0.6, 0.599, 0.598], "good", 5),
    ],
)
def test_curves_are_judged(losses, validation, kind, best):
    history = {"loss": [float(v) for v in losses], "val_loss": [float(v) for v in validation]}
    found = verdict(History(history))
    assert (found.kind, found.best_epoch) == (kind, best), found
    assert str(found).startswith(f"{kind}: ")
    assert ("what may help" in str(found)) == (kind != "good")
    assert json.loads(json.dumps(found.to_dict()))["kind"] == kind


def test_the_numbers_are_those_of_the_last_quarter():
    losses = [2.0, 1.5, 1.0, 0.7, 0.5, 0.4, 0.3, 0.2]
    validation = [2.0, 1.5, 1.0, 0.8, 0.8, 0.9, 1.0, 1.2]
    found = verdict(History({"loss": losses, "val_loss": validation}))
    assert (found.kind, found.best_epoch) == ("overfitting", 4)
    assert (found.loss, found.val_loss) == pytest.approx((0.25, 1.1))
    assert found.reason == (
        "the validation loss was 0.8 in epoch 4 and is 1.1, while the training loss went on from 0.7 to 0.25"
    )


def test_nothing_is_undecided():
    assert verdict(History()).kind == "undecided"


@pytest.mark.parametrize("history", [None, {"loss": [1.0]}])
def test_a_verdict_is_on_a_history(history):
    with pytest.raises(ArgumentError, match=r"^history: got (NoneType|dict); allowed: a History, as fit returns it"):
        verdict(history)
