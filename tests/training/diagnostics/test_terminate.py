"""The error that ends a diverged training names the layer where that began."""

import copy

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import DivergenceError
from fastconv.losses import loss_and_grad
from fastconv.training.diagnostics import TerminateOnNaN, UpdateRatio

from ..trainers import assert_same_bits, data_of, model_of, trainer_of, weights

BACKENDS = ["numpy", "numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)]


def spoil(trainer, batches, step, change):
    """Yield batches, and call `change` before a step."""

    class Batches:
        def __len__(self):
            return len(batches)

        def __iter__(self):
            for number, batch in enumerate(batches):
                yield change(trainer, *batch) if number == step else batch

    return Batches()


@pytest.fixture
def batches(rng):
    def make(count=4):
        x, y = (fc.to_numpy(array) for array in data_of(rng, 8 * count))
        return [(fc.asarray(x[i : i + 8]), fc.asarray(y[i : i + 8])) for i in range(0, 8 * count, 8)]

    return make


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_update_too_large_is_named(batches, backend):
    """Step 2 multiplies by a huge rate: the weights stay finite, and in step 3 a product of them does not."""
    with fc.use_backend(backend), np.errstate(all="ignore"):
        watch = TerminateOnNaN()
        trainer = trainer_of(model_of(), callbacks=[watch])

        def change(trainer, x, y):
            trainer.optimizer.lr = 1e30
            return x, y

        with pytest.raises(DivergenceError, match=r"the first that is not finite was the .* of .*layer .*, in step 3"):
            trainer.fit(spoil(trainer, batches(), 1, change), 1)
        assert watch.finding.what in ("output", "parameter's gradient", "gradient")
        assert trainer.step == 3


def test_an_input_is_named(batches):
    with fc.use_backend("numpy"), np.errstate(all="ignore"):
        trainer = trainer_of(model_of(), callbacks=TerminateOnNaN())

        def change(trainer, x, y):
            x = x.copy()
            x[3, 2, 1, 0] = np.nan
            return x, y

        with pytest.raises(DivergenceError, match=r"was the input \(1 NaN and 0 infinite of 1024\), in step 2"):
            trainer.fit(spoil(trainer, batches(), 1, change), 1)


def test_an_update_that_overflows_is_named(batches):
    with fc.use_backend("numpy"), np.errstate(all="ignore"):
        trainer = trainer_of(model_of(), callbacks=TerminateOnNaN())

        def change(trainer, x, y):
            trainer.optimizer.lr = 1e300  # as float32 it is infinite
            return x, y

        with pytest.raises(DivergenceError, match=r"was the parameter of .*, after the update of step 2"):
            trainer.fit(spoil(trainer, batches(), 1, change), 1)


def test_a_gradient_is_named_though_the_loss_tells_only_in_the_next_step(batches):
    with fc.use_backend("numpy"), np.errstate(all="ignore"):
        model = model_of()
        trainer = trainer_of(model, callbacks=TerminateOnNaN())
        steps, measured = [], trainer.loss

        def loss(predictions, targets):
            steps.append(0)
            value, gradient = loss_and_grad(measured, predictions, targets)
            return value, gradient * (np.nan if len(steps) in (2, 4) else 1)  # the second, and that computed again

        trainer.loss = loss
        with pytest.raises(DivergenceError, match=r"was the gradient of the loss .*, in step 2"):
            trainer.fit(batches(), 1)


def test_the_model_is_as_the_diverged_step_left_it(batches):
    with fc.use_backend("numpy"), np.errstate(all="ignore"):
        found = []
        data = batches()
        for callbacks in ((), (TerminateOnNaN(),)):
            trainer = trainer_of(model_of(), callbacks=callbacks)
            trainer.optimizer.lr = 1e30
            with pytest.raises(DivergenceError):
                trainer.fit(data, 1)
            found.append(weights(trainer.model))
        assert_same_bits(*found)


def test_captured_steps_stay_captured_and_results_the_same_bits(batches):
    with fc.use_backend("numba"):
        data, found = batches(), []
        for callbacks in ((), (TerminateOnNaN(), UpdateRatio(2))):
            trainer = trainer_of(model_of(), callbacks=callbacks)
            replayed = []
            trainer.train_step(*data[0])
            run = trainer._captured.run

            def counted(*batch, run=run, replayed=replayed):
                replayed.append(0)
                return run(*batch)

            vars(trainer._captured)["run"] = counted
            trainer.fit(data, 2)
            assert len(replayed) == 8
            found.append(weights(trainer.model))
        assert_same_bits(*found)


def test_it_can_be_copied_in_mid_training(batches):
    with fc.use_backend("numpy"):
        watch = TerminateOnNaN()
        watch.on_step_begin(trainer_of(model_of()), *batches(1)[0])
        assert not copy.deepcopy(watch)._kept
        assert watch._kept
