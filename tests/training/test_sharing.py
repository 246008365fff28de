from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, CheckpointError, DivergenceError, ParallelError
from fastconv.parallel import SingleProcess
from fastconv.training import Callback, ModelCheckpoint, TimeLimit
from fastconv.training.sharing import code_digest
from tests.training.ranks import by_ranks, digest, small_data, small_model, trainer_of


class Notes(Callback):
    """What is called."""

    def __init__(self):
        self.seen = []

    def on_train_begin(self, trainer):
        self.seen.append("begin")

    def on_step_end(self, trainer, info):
        self.seen.append((info.batch, info.images))

    def on_train_end(self, trainer):
        self.seen.append("end")


class FirstOnly(Notes):
    first_rank_only = True


def test_callbacks_of_files_and_screens_are_called_on_rank_0_only():
    def rank(communicator):
        notes, first = Notes(), FirstOnly()
        trainer = trainer_of(small_model(), communicator, callbacks=(notes, first))
        trainer.fit(small_data(), 1, batch_size=16)
        return notes.seen, first.seen

    (both, zero), (other, nothing) = by_ranks(2, "numpy", rank)
    assert both == zero == other == ["begin", (1, 16), (2, 6), "end"]
    assert nothing == []


def test_files_are_written_by_rank_0(tmp_path):
    def rank(communicator):
        directory = tmp_path / str(communicator.rank)
        directory.mkdir()
        trainer = trainer_of(small_model(), communicator, callbacks=ModelCheckpoint(directory))
        trainer.fit(small_data(), 1, batch_size=16)
        trainer.save(directory / "saved.safetensors")
        return sorted(path.name for path in directory.iterdir())

    assert by_ranks(2, "numpy", rank) == [["best.safetensors", "last.safetensors", "saved.safetensors"], []]


class StopsOnRank1(Callback):
    def __init__(self, rank, name):
        self.rank, self.name = rank, name

    def on_step_end(self, trainer, info):
        if self.rank == 1 and trainer.step == 3:
            setattr(trainer, self.name, True)


@pytest.mark.parametrize(("name", "steps"), [("stop_now", 3), ("stop", 4)])
def test_what_one_rank_ends_ends_on_all(name, steps):
    def rank(communicator):
        trainer = trainer_of(small_model(), communicator, callbacks=StopsOnRank1(communicator.rank, name))
        trainer.fit(small_data(), 5, batch_size=16)
        return trainer.step

    assert by_ranks(2, "numpy", rank) == [steps, steps]


def test_what_another_rank_ends_is_saved(tmp_path):
    def rank(communicator):
        callbacks = [ModelCheckpoint(tmp_path), StopsOnRank1(communicator.rank, "stop_now")]
        trainer = trainer_of(small_model(), communicator, callbacks=callbacks)
        trainer.fit(small_data(), 5, batch_size=16)
        other = trainer_of(small_model(), communicator)
        other.restore(tmp_path / "last.safetensors")
        return other.step

    assert by_ranks(2, "numpy", rank) == [3, 3]


def test_what_saves_may_not_end_the_training_of_several():
    class Ends(Callback):
        saves = first_rank_only = True

        def on_step_end(self, trainer, info):
            trainer.stop_now = True

    def rank(communicator):
        trainer_of(small_model(), communicator, callbacks=Ends()).fit(small_data(), 1, batch_size=16)

    with pytest.raises(ArgumentError, match="callbacks: got Ends, which saves, to end the training on rank 0"):
        by_ranks(2, "numpy", rank)
    with fc.use_backend("numpy"):
        trainer = trainer_of(small_model(), None, callbacks=Ends())
        trainer.fit(small_data(), 1, batch_size=16)
    assert trainer.step == 1


def test_a_clock_that_is_up_on_rank_0_ends_all():
    def rank(communicator):
        seconds = 1e-6 if communicator.rank == 0 else 1e6
        trainer = trainer_of(small_model(), communicator, callbacks=TimeLimit(seconds, by="step"))
        trainer.fit(small_data(), 5, batch_size=16)
        return trainer.step

    assert by_ranks(2, "numpy", rank) == [1, 1]


def _refused(communicator, **settings):
    data, validation = settings.pop("data", None) or small_data(), settings.pop("validation", None)
    epochs, weights = settings.pop("epochs", 1), settings.pop("class_weight", None)
    trainer = trainer_of(settings.pop("model", None) or small_model(), communicator, **settings)
    with pytest.raises(ParallelError) as caught:
        trainer.fit(data, epochs, validation, batch_size=16, class_weight=weights)
    return str(caught.value)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("seed", lambda: {"seed": 5}),
        ("train", lambda: {"data": small_data(seed=1)}),
        ("train", lambda: {"data": small_data(40)}),
        ("validation_data", lambda: {"validation": small_data(9)}),
        ("epochs", lambda: {"epochs": 2}),
        ("class_weight", lambda: {"class_weight": {0: 2.0}}),
        ("model", lambda: {"model": small_model(dropout=0.5)}),
        ("loss", lambda: {"loss": fc.losses.SoftmaxCrossEntropy(label_smoothing=0.1)}),
        ("clip", lambda: {"clip": fc.training.ClipValue(1.0)}),
        ("parallel", lambda: {"shards": 4}),
    ],
)
def test_ranks_that_differ_are_refused_alike(what, change):
    def rank(communicator):
        return _refused(communicator, **(change() if communicator.rank else {}))

    first, second = by_ranks(2, "numpy", rank)
    assert first == second
    assert first.startswith(f"{what}: got ")
    assert "on rank 1" in first


def test_other_code_is_refused(monkeypatch):
    found = iter(["one", "two"])
    monkeypatch.setattr("fastconv.training.sharing.code_digest", lambda: next(found))
    first, second = by_ranks(2, "numpy", _refused)
    assert first == second
    assert first.startswith("code: got ")


def test_code_in_a_zip_file_is_told_apart(tmp_path, monkeypatch):
    archive, digests = tmp_path / "app.zip", set()
    monkeypatch.setattr("fastconv.training.sharing.home.__file__", str(archive / "fastconv" / "errors.py"))
    for content in (b"one", b"two"):
        archive.write_bytes(content)
        digests.add(code_digest.__wrapped__())
    assert len(digests) == 2


def test_all_begin_with_the_values_of_rank_0():
    """Weights that were drawn otherwise on another rank are replaced, and those that drift apart are found."""

    def rank(communicator):
        model = small_model()
        if communicator.rank:
            model.layers[0].weight.data = np.zeros(model.layers[0].weight.shape, np.float32)
        trainer = trainer_of(model, communicator, compare_every=3)
        trainer.fit(small_data(), 1, batch_size=16)
        begun = digest(model)
        if communicator.rank:
            model.layers[0].weight.data = model.layers[0].weight.data * 2
        with pytest.raises(ParallelError, match="on the ranks 1 after step 3"):
            trainer.train_step(*small_data(16))
        return begun

    first, second = by_ranks(2, "numpy", rank)
    assert first == second


def test_a_loss_that_is_not_finite_ends_all_ranks():
    x, y = small_data()
    x[20] = np.inf

    def rank(communicator):
        with pytest.raises(DivergenceError):
            trainer_of(small_model(), communicator).fit((x, y), 1, batch_size=16, shuffle=False)
        return True

    with np.errstate(all="ignore"):
        assert by_ranks(2, "numpy", rank) == [True, True]


def _to_the_end(trainer, epochs=3):
    trainer.fit(small_data(), epochs - trainer.epoch, batch_size=8)
    return digest(trainer.model)


@pytest.mark.parametrize("name", ["epoch", "step"])
def test_a_training_goes_on_with_another_number_of_ranks(tmp_path, name):
    path = tmp_path / "state.safetensors"

    class Leaves(Callback):
        def on_step_end(self, trainer, info):
            trainer.stop_now = name == "step" and trainer.step == 4

    def begin(communicator):
        trainer = trainer_of(small_model(), communicator, callbacks=Leaves())
        trainer.fit(small_data(), 1 if name == "epoch" else 2, batch_size=8)
        trainer.save(path)

    def go_on(communicator):
        trainer = trainer_of(small_model(), communicator)
        trainer.restore(path)
        return _to_the_end(trainer), trainer.history.history["loss"]

    wanted = by_ranks(1, "numpy", lambda c: (_to_the_end(t := trainer_of(small_model(), c)), t.history.history["loss"]))
    by_ranks(2, "numpy", begin)
    for size in (1, 4):
        assert by_ranks(size, "numpy", go_on) == wanted * size


@pytest.mark.parametrize("other", [None, 4])
def test_the_state_of_other_shards_is_refused(tmp_path, other):
    path = tmp_path / "state.safetensors"
    with fc.use_backend("numpy"):
        trainer = trainer_of(small_model(), SingleProcess())
        trainer.train_step(*small_data(16))
        trainer.save(path)
        model = small_model()
        second = trainer_of(model, SingleProcess() if other else None, **({"shards": other} if other else {}))
        before = digest(model)
        with pytest.raises(CheckpointError, match=r"by 8 shards.*allowed: a trainer with DataParallel\(shards=8\)"):
            second.restore(path)
        assert digest(model) == before


def test_parallel_is_checked():
    with fc.use_backend("numpy"):
        model = small_model()
        with pytest.raises(ArgumentError, match=r"^parallel: got 2"):
            fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1), parallel=2)
        with pytest.raises(ArgumentError, match=r"^accumulate: got 2 with parallel"):
            trainer_of(model, SingleProcess(), accumulate=2)
    with fc.use_backend("numba"), pytest.raises(ArgumentError, match=r"^capture: got True with parallel and Sync"):
        trainer_of(small_model(sync=True), SingleProcess(), capture=True)


def test_evaluation_is_that_of_one_process():
    x, y = small_data(30)

    def rank(communicator):
        metrics = (fc.metrics.Accuracy(), fc.metrics.ConfusionMatrix())
        return trainer_of(small_model(), communicator, metrics=metrics).evaluate((x, y), batch_size=13)

    alone = by_ranks(1, "numpy", lambda c: rank(None))[0]
    two, four = by_ranks(2, "numpy", rank), by_ranks(4, "numpy", rank)
    for found in (*two, *four):
        assert found["loss"] == two[0]["loss"] == pytest.approx(alone["loss"], rel=1e-6)
        assert found["accuracy"] == alone["accuracy"]
        np.testing.assert_array_equal(found["confusion_matrix"], alone["confusion_matrix"])


def test_ranks_that_evaluate_other_data_are_refused_alike():
    def rank(communicator):
        trainer = trainer_of(small_model(), communicator)
        with pytest.raises(ParallelError) as caught:
            trainer.evaluate(small_data(22 + 8 * communicator.rank), batch_size=8)
        return str(caught.value)

    first, second = by_ranks(2, "numpy", rank)
    assert first == second
    assert first.startswith("data: got DataLoader(30 ")


def test_the_last_of_several_ranks_may_have_nothing_to_compute():
    def rank(communicator):
        trainer = trainer_of(small_model(), communicator)
        trainer.train_step(*small_data(2))
        return digest(trainer.model), trainer.images_computed

    found = by_ranks(4, "numpy", rank)
    assert len({weights for weights, _ in found}) == 1
    assert sum(images for _, images in found) == 2
