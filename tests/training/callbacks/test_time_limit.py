"""Training ends when its time is up, and can be taken up again."""

import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, OutputError
from fastconv.training import ModelCheckpoint, TimeLimit

from .runs import data_of, trainer_of


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A second passes between two looks at the clock."""
    now = [0]

    def tick():
        now[0] += 1
        return now[0]

    monkeypatch.setattr("time.monotonic", tick)
    with fc.use_backend("numpy"):
        yield


def test_an_epoch_is_done_to_its_end(tmp_path):
    limit = TimeLimit(2, path=tmp_path / "state")
    trainer = trainer_of(limit)
    trainer.fit(data_of(), 9, batch_size=2)
    assert (trainer.epoch, trainer.step, trainer.history.epochs) == (2, 10, 2)
    assert limit.is_up
    again = trainer_of()
    again.restore(tmp_path / "state")
    assert (again.epoch, again.step) == (2, 10)


def test_a_step_is_done_to_its_end(tmp_path):
    limit = TimeLimit(7, by="step", path=tmp_path / "state")
    checkpoint = ModelCheckpoint(tmp_path)
    trainer = trainer_of(checkpoint, limit)
    trainer.fit(data_of(), 9, batch_size=2)  # five steps and a look at the end of the epoch, and one step
    assert (trainer.epoch, trainer.step, trainer.history.epochs) == (1, 6, 1)
    assert limit.is_up
    for path in (tmp_path / "state", checkpoint.last_path):
        again = trainer_of()
        again.restore(path)
        assert again.step == 6


def test_a_training_that_is_over_in_time_is_not_ended(tmp_path):
    limit = TimeLimit(99, path=tmp_path / "state")
    trainer = trainer_of(limit)
    trainer.fit(data_of(), 2)
    assert not limit.is_up
    assert not (tmp_path / "state").exists()
    assert trainer.epoch == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 0}, "seconds: got 0; allowed: a finite number above 0"),
        ({"seconds": float("inf")}, "seconds: got inf"),
        ({"seconds": 1, "by": "steps"}, r"by: got 'steps'; allowed: 'step', 'epoch' \(nearest: 'step'\)"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        TimeLimit(**settings)


def test_a_file_that_cannot_be_written_is_found_before_the_first_step(tmp_path):
    trainer = trainer_of(TimeLimit(1, path=tmp_path))
    with pytest.raises(ArgumentError, match=r"path: got .*a directory; allowed: a file"):
        trainer.fit(data_of(), 1)
    (tmp_path / "file").touch()
    trainer = trainer_of(TimeLimit(1, path=tmp_path / "file" / "state"))
    with pytest.raises(OutputError, match=r"path: got .*could not be written"):
        trainer.fit(data_of(), 1)
    assert trainer.step == 0
