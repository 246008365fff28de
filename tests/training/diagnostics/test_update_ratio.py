"""Ratios of updates to weights."""

import json
import math

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, CheckpointError, ShapeError
from fastconv.training.diagnostics import UpdateRatio, update_ratios

from ..trainers import data_of, model_of, trainer_of


def test_ratios_of_known_values():
    before = {"a": np.array([3.0, 4.0]), "b": np.zeros(2)}
    found = update_ratios(before, {"a": np.array([3.0, 4.5]), "b": np.ones(2)}, step=7)
    assert found.ratios["a"] == pytest.approx(0.1)
    assert math.isnan(found.ratios["b"])
    assert str(found).splitlines()[0] == "step 7"
    assert "a                 1.00e-01" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["step"] == 7


def test_every_so_many_steps_are_measured(rng):
    with fc.use_backend("numpy"):
        x, y = data_of(rng, 28)
        ratios = UpdateRatio(3)
        trainer = trainer_of(model_of(), callbacks=ratios)
        trainer.fit((x, y), 1, batch_size=4, shuffle=False)
        assert [record.step for record in ratios.records] == [3, 6]
        other = trainer_of(model_of(), seed=trainer.seed)
        for begin in range(0, 12, 4):
            before = {p.name: np.array(p.data) for p in other.model.parameters()}
            other.train_step(x[begin : begin + 4], y[begin : begin + 4])
        want = update_ratios(before, {p.name: np.array(p.data) for p in other.model.parameters()}, 3)
        np.testing.assert_equal(ratios.records[0].to_dict(), want.to_dict())


def test_a_resumed_run_has_the_records_of_the_undisturbed_one(rng, tmp_path):
    with fc.use_backend("numpy"):
        data = data_of(rng, 16)
        whole, first, again = UpdateRatio(3), UpdateRatio(3), UpdateRatio(3)
        trainer_of(model_of(), callbacks=whole).fit(data, 2, batch_size=4)
        trainer = trainer_of(model_of(), callbacks=first)
        trainer.fit(data, 1, batch_size=4)
        trainer.save(tmp_path / "state")
        resumed = trainer_of(model_of(), callbacks=again)
        resumed.restore(tmp_path / "state")
        again.load_state_dict(first.state_dict())
        resumed.fit(data, 1, batch_size=4)
        np.testing.assert_equal(again.state_dict(), whole.state_dict())
        assert len(whole.records) == 2


def test_a_new_training_begins_anew(rng):
    with fc.use_backend("numpy"):
        data, ratios = data_of(rng, 12), UpdateRatio(3)
        for _ in range(2):
            trainer_of(model_of(), callbacks=ratios).fit(data, 1, batch_size=4)
            assert [record.step for record in ratios.records] == [3]


def test_what_cannot_be_is_refused():
    with pytest.raises(ArgumentError, match="every_steps: got 0"):
        UpdateRatio(0)
    with pytest.raises(CheckpointError, match=r"for UpdateRatio; allowed: .*'records'"):
        UpdateRatio().load_state_dict({"record": []})
    with pytest.raises(CheckpointError, match=r"state: got 3 as 'records' of UpdateRatio; allowed: .*'records'"):
        UpdateRatio().load_state_dict({"records": 3})


@pytest.mark.parametrize("wrong", [[3], [{"step": 1}], [{"step": 1, "ratios": 2}], ["step"]])
def test_a_state_that_is_wrong_within_changes_nothing(wrong):
    ratios = UpdateRatio()
    with pytest.raises(CheckpointError, match=r"^state: got one that UpdateRatio cannot read \(.*Error: "):
        ratios.load_state_dict({"records": wrong})
    assert ratios.records == []


def test_other_names_or_shapes_are_refused():
    before = {"a": np.ones(2), "b": np.ones((2, 1))}
    with pytest.raises(ArgumentError, match="after: got the names a; allowed: those of before, a, b"):
        update_ratios(before, {"a": np.ones(2)})
    with pytest.raises(ArgumentError, match="after: got the names a, b, c; allowed: those of before, a, b"):
        update_ratios(before, {**before, "c": np.ones(1)})
    for shape in ((3,), (2, 2), ()):  # the last two NumPy would broadcast
        with pytest.raises(ShapeError, match=r"after\['b'\]: got shape .*; allowed: \(2, 1\), as before the update"):
            update_ratios(before, {**before, "b": np.ones(shape)})
    with pytest.raises(ArgumentError, match="before: got list; allowed: a mapping from names to arrays"):
        update_ratios([np.ones(2)], before)
