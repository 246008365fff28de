"""Models that several threads would train."""

from __future__ import annotations

import contextlib
import copy
import os
import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError
from fastconv.training import alone as module
from fastconv.training.alone import alone
from tests.interrupts import every_place


@pytest.fixture
def model() -> fc.nn.Sequential:
    return fc.nn.Sequential(fc.nn.Dense(3), fc.nn.ReLU(), fc.nn.Dense(2)).build((4,), seed=1)


def trainer_of(model: fc.nn.Sequential, parameters=None, callbacks=()) -> fc.Trainer:
    optimizer = fc.optim.SGD(model.parameters() if parameters is None else parameters, 0.1)
    return fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, callbacks=callbacks)


DATA = np.ones((8, 4), np.float32), np.zeros(8, np.int32)


class Beside(fc.training.Callback):
    """Trains with another trainer while an epoch runs, in this thread or in another one."""

    def __init__(self, other: fc.Trainer, *, in_thread: bool) -> None:
        self.other, self.in_thread = other, in_thread
        self.error: BaseException | None = None

    def on_step_end(self, trainer, info):
        if not self.in_thread:
            self.train()
        else:
            thread = threading.Thread(target=self.train)
            thread.start()
            thread.join()

    def train(self) -> None:
        try:
            self.other.fit(DATA, 1, batch_size=4)
        except ArgumentError as error:
            self.error = error


def test_another_thread_does_not_train_the_same_model(model):
    beside = Beside(trainer_of(model), in_thread=True)
    trainer_of(model, callbacks=[beside]).fit(DATA, 1, batch_size=8)
    allowed = "allowed: one thread at a time, or a copy each"
    assert str(beside.error) == f"model: got one that the thread 'MainThread' trains; {allowed}"
    assert beside.other.fit(DATA, 1).epochs == 1  # now it may


class Slow:
    """Batches that take their time to tell how many they are."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __len__(self) -> int:
        self.asked.set()
        self.go_on.wait(60)
        return 1

    def __iter__(self):
        yield DATA


def test_who_is_refused_changes_nothing_of_the_fit_that_is_prepared(model):
    """It set how long the other one goes on, and that none was under way."""
    trainer, batches = trainer_of(model), Slow()
    thread = threading.Thread(target=lambda: trainer.fit(batches, 3))
    thread.start()
    assert batches.asked.wait(60)
    with pytest.raises(ArgumentError, match=r"^model: got one that the thread"):
        trainer.fit(DATA, 1)
    batches.go_on.set()
    thread.join()
    assert (trainer.epoch, trainer.last_epoch) == (3, 3)


def test_nor_another_model_of_its_layers(model):
    trainer, refused = trainer_of(fc.nn.Sequential(*model.layers).build((4,))), []

    def train() -> None:
        with pytest.raises(ArgumentError, match=r"^model: got one that the thread 'MainThread' trains"):
            trainer.fit(DATA, 1)
        refused.append(True)

    with alone(model):
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    assert refused


def test_a_copy_is_another_model(model):
    beside = Beside(trainer_of(copy.deepcopy(model)), in_thread=True)
    trainer_of(model, callbacks=[beside]).fit(DATA, 1, batch_size=8)
    assert beside.error is None
    assert beside.other.epoch == 1


def test_the_same_thread_trains_it_in_two_ways(model):
    beside = Beside(trainer_of(model), in_thread=False)
    outer = trainer_of(model, callbacks=[beside])
    outer.fit(DATA, 2, batch_size=8)
    assert (outer.step, beside.other.step, beside.error) == (2, 4, None)


def test_what_a_thread_left_that_ended_is_free(model):
    """As what the threads trained that a forked process does not have."""
    held = alone(model)
    thread = threading.Thread(target=held.__enter__)
    thread.start()
    thread.join()
    assert trainer_of(model).fit(DATA, 1).epochs == 1
    held.__exit__(None, None, None)


def test_a_forked_process_trains_what_another_thread_does(model):
    holding, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with alone(model):
            holding.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(60)
    child = os.fork()
    if child == 0:
        try:
            trainer_of(model).fit(DATA, 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    leave.set()
    thread.join()


def test_an_interrupt_leaves_the_model_to_others(model):
    """It was the interrupted thread's until that ended."""

    def train() -> None:
        with alone(model):
            pass

    def look(broken: bool) -> None:
        assert not module._trained

    where = (module.__file__, contextlib.__file__)
    assert every_place(train, lambda: None, look, where=where, instructions=True) > 100


def test_a_model_that_another_thread_took_meanwhile_stays_with_that_one(model, monkeypatch):
    leave, calls, left = module._leave, [], threading.Event()

    def hold() -> None:
        with alone(model):
            begun.set()
            left.wait(60)

    begun, other = threading.Event(), threading.Thread(target=hold, name="the other")

    def leave_slowly(parameters) -> None:
        leave(parameters)
        calls.append(parameters)
        if len(calls) == 1:  # between the first time and the second, which is there for interrupts
            other.start()
            assert begun.wait(60)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_leave", leave_slowly)
        with alone(model):
            pass
    try:
        with pytest.raises(ArgumentError, match="the thread 'the other' trains"), alone(model):
            pass
    finally:
        left.set()
        other.join()
