"""What callbacks are told, and what may pass for one."""

import numpy as np
import pytest

from fastconv.errors import ArgumentError
from fastconv.training import Callback


def test_callbacks_see_every_step(trainer_and_data):
    make, data = trainer_and_data
    seen = []

    class Watch(Callback):
        def on_train_begin(self, trainer):
            seen.append("begin")

        def on_step_end(self, trainer, info):
            seen.append((info.batch, info.batches, info.images, np.isfinite(float(info.loss))))

        def on_epoch_end(self, trainer, logs):
            seen.append(sorted(logs))
            trainer.stop = trainer.epoch == 1

        def on_train_end(self, trainer):
            seen.append("end")

    make(Watch()).fit(data, 5, batch_size=4)
    logs = ["accuracy", "images_per_second", "learning_rate", "loss", "seconds"]
    assert seen == ["begin", (1, 3, 4, True), (2, 3, 4, True), (3, 3, 2, True), logs, "end"]


@pytest.mark.parametrize("name", ["on_epoch_begin", "on_batch_end", "on_train_batch_end", "on_stepend"])
def test_a_method_that_nobody_calls_is_refused(trainer_and_data, name):
    make, _ = trainer_and_data
    made = type("Mine", (Callback,), {name: lambda self, *_: None, "on_step_end": lambda self, *_: None})()
    with pytest.raises(ArgumentError, match=f"callbacks: got Mine with {name}, which nobody calls; .*on_step_end"):
        make(made)


def test_callbacks_see_each_batch_before_its_step(trainer_and_data):
    make, (x, y) = trainer_and_data
    seen = []

    class Watch(Callback):
        def on_step_begin(self, trainer, x, y):
            seen.append((trainer.step, x, y))

    make(Watch()).fit((x, y), 1, batch_size=4, shuffle=False)
    assert [step for step, *_ in seen] == [0, 1, 2]
    np.testing.assert_array_equal(np.concatenate([x for _, x, _ in seen]), x)
    np.testing.assert_array_equal(np.concatenate([y for *_, y in seen]), y)


def test_a_callback_can_end_the_training_after_a_step(trainer_and_data):
    make, data = trainer_and_data
    ended = []

    class Stop(Callback):
        def on_step_end(self, trainer, info):
            trainer.stop_now = trainer.step == 5

        def on_train_end(self, trainer):
            ended.append(trainer.step)

    trainer = make(Stop())
    trainer.fit(data, 4, batch_size=4)
    assert (trainer.step, trainer.epoch, trainer.history.epochs, ended) == (5, 1, 1, [5])
    trainer.fit(data, 1, batch_size=4)  # which goes on
    assert (trainer.step, trainer.epoch) == (6, 2)


def test_a_callback_without_a_state_has_an_empty_one():
    assert Callback().state_dict() == {}
    Callback().load_state_dict({})
