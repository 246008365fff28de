"""The file of a history: what is not finite comes back, what is something else is refused."""

import tracemalloc

import numpy as np
import pytest

import fastconv as fc
from fastconv.training import History


def test_history_file(tmp_path):
    history = History()
    history.append({"loss": 1.5, "accuracy": 0.25})
    history.append({"loss": float("nan"), "val_loss": 2.0})
    history.save(tmp_path / "history.json")
    assert "NaN" not in (tmp_path / "history.json").read_text()
    got = History.load(tmp_path / "history.json").history
    np.testing.assert_equal(got, {"loss": [1.5, np.nan], "accuracy": [0.25, np.nan], "val_loss": [np.nan, 2.0]})
    (tmp_path / "other.json").write_text("[1]")
    for name in ("other.json", "missing.json"):
        with pytest.raises(fc.errors.DataError, match=name):
            History.load(tmp_path / name)


def test_an_epoch_costs_as_much_after_many_as_after_few():
    """A list of all epochs before was made for each quantity, and thrown away: 100,000 epochs took two minutes."""
    history = History({"loss": [1.0] * 100_000})
    history.append({"loss": 0.5})  # the list has room for more now
    tracemalloc.start()
    history.append({"loss": 0.25})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000
    assert history.history["loss"][-2:] == [0.5, 0.25]


@pytest.mark.parametrize("value", ["true", '"1.5"', "1e999", "NaN", "9" * 400, "9" * 5000, "[1]", "[" * 100_000])
def test_a_file_of_what_is_no_number_is_named(tmp_path, value):
    (tmp_path / "history.json").write_text(f'{{"loss": [{value}]}}')
    with pytest.raises(
        fc.errors.DataError, match=r"^path: got '.*history\.json' .*; allowed: a file that History.save"
    ):
        History.load(tmp_path / "history.json")
