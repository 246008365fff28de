"""A signal ends the training after the step, and whoever listened before does so again."""

import os
import signal
import threading

import pytest

import fastconv as fc
from fastconv.errors import ArgumentError
from fastconv.training import Callback, ModelCheckpoint, StopOnSignal

from .runs import data_of, trainer_of


@pytest.fixture(autouse=True)
def _numpy():
    with fc.use_backend("numpy"):
        yield


class Tells(Callback):
    """Sends this process a signal in a step."""

    def __init__(self, number, step=3):
        self.number, self.step = number, step

    def on_step_begin(self, trainer, x, y):
        if trainer.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def heard():
    """The signals that a handler of the program's own has heard."""
    found = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: found.append(number))
    yield found
    signal.signal(signal.SIGUSR1, before)


def test_a_training_that_is_told_goes_on_to_the_same_bits(tmp_path, heard):
    stop, checkpoint = StopOnSignal(), ModelCheckpoint(tmp_path)
    trainer = trainer_of(Tells(signal.SIGUSR1), stop, checkpoint)
    trainer.fit(data_of(), 2, batch_size=2)
    assert (trainer.step, trainer.epoch, stop.is_told, trainer.stop_now) == (4, 0, True, True)
    again, whole = trainer_of(), trainer_of()
    again.restore(checkpoint.last_path)
    assert again.step == 4
    again.fit(data_of(), 2, batch_size=2)
    whole.fit(data_of(), 2, batch_size=2)
    for found, wanted in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert found.data.tobytes() == wanted.data.tobytes()
    assert not heard
    os.kill(os.getpid(), signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]


class Fails(Callback):
    """Breaks off when the training ends."""

    def __init__(self, error):
        self.error = error

    def on_train_end(self, trainer):
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
def test_all_is_put_back_whatever_another_one_raises_at_the_end(tmp_path, heard, error):
    """The signal was listened to, and the folder owned, for as long as the process lived."""
    for callbacks in ([StopOnSignal(), Fails(error)], [ModelCheckpoint(tmp_path), Fails(error)]):
        for callback in callbacks:
            callback.saves = True  # so that they are called in this order
        trainer = trainer_of(*callbacks)
        with pytest.raises(type(error)):
            trainer.fit(data_of(), 1)
        assert trainer.position is None
    os.kill(os.getpid(), signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]
    trainer_of(ModelCheckpoint(tmp_path)).fit(data_of(), 1)


def test_the_next_fit_is_not_told(heard):
    stop = StopOnSignal()
    trainer = trainer_of(Tells(signal.SIGUSR1), stop)
    trainer.fit(data_of(), 1, batch_size=2)
    trainer.fit(data_of(), 1, batch_size=2)
    assert (trainer.step, trainer.epoch, stop.is_told) == (5, 1, False)


def test_who_listened_does_so_again_after_an_error(heard):
    class Fails(Callback):
        def on_step_end(self, trainer, info):
            raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason"):
        trainer_of(StopOnSignal(), Fails()).fit(data_of(), 1)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]


def test_another_signal(heard):
    before = signal.getsignal(signal.SIGUSR2)
    trainer = trainer_of(Tells(signal.SIGUSR2), StopOnSignal(signal.SIGUSR2))
    trainer.fit(data_of(), 1, batch_size=2)
    assert trainer.step == 4
    assert signal.getsignal(signal.SIGUSR2) is before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, 0, 1000, True])
def test_a_signal_that_cannot_be_heard_is_refused(number):
    with pytest.raises(ArgumentError, match=r"^number: got"):
        StopOnSignal(number)


def test_on_another_thread_it_is_refused(heard):
    found = []

    def train():
        with fc.use_backend("numpy"):
            try:
                trainer_of(StopOnSignal()).fit(data_of(), 1)
            except ArgumentError as error:
                found.append(str(error))

    thread = threading.Thread(target=train, name="other")
    thread.start()
    thread.join(60)
    assert found[0].startswith("callbacks: got StopOnSignal(SIGUSR1) in a training on 'other'")
