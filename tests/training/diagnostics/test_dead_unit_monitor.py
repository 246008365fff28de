"""Units that never fire, over the steps of a training."""

import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.training.diagnostics import DeadUnitMonitor, dead_units

from ..trainers import data_of, model_of, trainer_of


def test_every_so_many_steps_are_counted(rng):
    with fc.use_backend("numpy"):
        x, y = data_of(rng, 24)
        monitor, of_batch = DeadUnitMonitor(3, x), DeadUnitMonitor(2)
        trainer_of(model_of(), callbacks=(monitor, of_batch)).fit((x, y), 1, batch_size=4, shuffle=False)
        assert (list(monitor.records), list(of_batch.records)) == ([3, 6], [2, 4, 6])
        other = trainer_of(model_of())
        for begin in range(0, 24, 4):
            other.train_step(x[begin : begin + 4], y[begin : begin + 4])
            if other.step == 3:
                assert monitor.records[3] == dead_units(other.model, x)
        assert monitor.records[6] == dead_units(other.model, x)
        assert of_batch.records[6] == dead_units(other.model, x[20:])
        assert (monitor.records[3].images, of_batch.records[2].images) == (24, 4)


def test_the_state_holds_what_was_counted(rng):
    with fc.use_backend("numpy"):
        monitor, again = DeadUnitMonitor(1), DeadUnitMonitor(1)
        trainer = trainer_of(model_of(), callbacks=monitor)
        trainer.fit(data_of(rng, 8), 1, batch_size=4)
        again.load_state_dict(monitor.state_dict())
        assert again.records == monitor.records
        assert len(again.records) == 2
        other = trainer_of(model_of(), callbacks=again)
        other.fit(data_of(rng, 4), 1, batch_size=4)
        assert list(again.records) == [1]


def test_what_cannot_be_is_refused():
    with pytest.raises(ArgumentError, match="every_steps: got 0"):
        DeadUnitMonitor(0)
    with pytest.raises(CheckpointError, match=r"for DeadUnitMonitor; allowed: .*'records'"):
        DeadUnitMonitor().load_state_dict({"steps": []})
    for wrong in ([{"step": 1}], [{"step": 1, "images": 2, "rows": [{"name": "a"}]}], [None]):
        with pytest.raises(CheckpointError, match=r"^state: got one that DeadUnitMonitor cannot read \(.*Error: "):
            DeadUnitMonitor().load_state_dict({"records": wrong})
