from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.data.rows import bounds
from fastconv.errors import ArgumentError, ShapeError
from fastconv.parallel import SingleProcess
from fastconv.parallel.tree import in_tree
from fastconv.training.captured import CapturedStep
from tests.training.ranks import by_ranks, digest, small_data, small_model, trainer_of


def _trained(communicator, *, sync=False, **settings):
    model = small_model(sync=sync)
    trainer = trainer_of(model, communicator, clip=fc.training.ClipGlobalNorm(1.0), **settings)
    x, y = small_data()
    history = trainer.fit((x, y), 2, validation_data=(x[:10], y[:10]), batch_size=16).history
    figures = {name: values for name, values in history.items() if "second" not in name}
    return digest(model), figures, trainer.images_computed


@pytest.mark.parametrize("sync", [False, True], ids=["ghost", "sync"])
def test_the_same_bits_by_1_2_and_4_ranks(backend, sync):
    """22 rows in batches of 16: shards of 2 rows, then of 0 and 1, of which `SyncBatchNorm` takes one at least."""
    shards = 4 if sync else 8
    found = {n: by_ranks(n, backend.name, lambda c: _trained(c, sync=sync, shards=shards)) for n in (1, 2, 4)}
    ((weights, figures, images),) = found[1]
    assert images == 44
    for size, ranks in found.items():
        assert [(each[0], each[1]) for each in ranks] == [(weights, figures)] * size
        computed = [each[2] for each in ranks]
        assert sum(computed) == 44
        assert max(computed) - min(computed) <= 4  # a row a step


def test_as_one_process_gives_without_a_communicator_of_many():
    with fc.use_backend("numpy"):
        assert _trained(SingleProcess())[:2] == by_ranks(1, "numpy", _trained)[0][:2]


def test_gradients_of_pruned_weights_count_nothing_in_their_norm():
    """As in the steps of one process: they are set to zero before they are limited."""
    x, y = small_data(16)
    norms = []
    with fc.use_backend("numpy"):
        for communicator in (None, SingleProcess()):
            model = nn.Sequential(nn.Flatten(), nn.Dense(3)).build((6, 6, 2), seed=3)
            optimizer = fc.optim.Pruning(fc.optim.SGD(model.parameters(), 0.05), 0, target=0.9)
            clip = fc.training.ClipGlobalNorm(1e30)
            trainer = trainer_of(model, communicator, optimizer=optimizer, clip=clip)
            for _ in range(2):
                trainer.train_step(x, y)
            norms.append(trainer.gradient_norm)
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-5)


def _gradients(model):
    return {p.name: np.array(p.grad) for p in model.parameters()}


def test_one_rank_sums_the_shards_in_the_tree():
    """By hand: each shard's own gradient of the mean over the batch, joined two at a time."""
    x, y = small_data(16)
    loss = fc.losses.SoftmaxCrossEntropy(reduction="sum")
    with fc.use_backend("numpy"):
        model = small_model(dropout=0.0)
        shards = []
        for begin, end in bounds(16, 4):
            model.zero_grad()
            predictions, context = model.forward(x[begin:end], training=True)
            grad = loss(predictions, y[begin:end])[1]
            model.backward(grad / 16, context, needs_input_grad=False)
            shards.append(_gradients(model))
        wanted = {name: in_tree([shard[name] for shard in shards], lambda a, b: a + b) for name in shards[0]}
        model = small_model(dropout=0.0)
        trainer = trainer_of(model, SingleProcess(), shards=4)
        trainer.train_step(x, y)
        for name, values in _gradients(model).items():
            np.testing.assert_allclose(values, wanted[name], rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("make", [fc.losses.SoftmaxCrossEntropy, None], ids=["listed", "own"])
def test_gradients_are_those_of_the_whole_batch(backend, weighted, make):
    """Without normalisation it matters in nothing but rounding that a batch is cut, in shards of 4 and 5 rows too."""
    if weighted and make is None:
        pytest.skip("a loss of one's own takes no weights")
    x, y = small_data(18)
    weight = np.linspace(0.1, 2, 18).astype(np.float32) if weighted else None

    def own(predictions, targets):
        rows = np.eye(3, dtype=np.float32)[targets]
        return np.mean((predictions - rows) ** 2) * 3, 2 * (predictions - rows) / len(rows)

    found = []
    for communicator in (None, SingleProcess()):
        model = nn.Sequential(nn.Conv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.Dense(3)).build((6, 6, 2), seed=1)
        trainer = trainer_of(model, communicator, loss=make() if make else own, shards=4)
        value = float(trainer.train_step(x, y, weight))
        found.append((value, _gradients(model)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    for name, values in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", ["ignored", "no class weight", "no sample weight"])
@pytest.mark.parametrize("capture", [None, False])
def test_a_shard_in_which_nothing_counts(backend, capture, how):
    """It adds nothing; a batch in which nothing counts is refused, and has no loss where it is evaluated."""
    x, y = small_data(18)
    y[:], y[4:] = 2, np.arange(14) % 2  # the first of four shards has 4 rows
    weight = np.where(y == 2, 0, 1).astype(np.float32) if how == "no sample weight" else None
    settings = {"ignored": {"ignore_index": 2}, "no class weight": {"class_weight": (1.0, 0.5, 0.0)}}.get(how, {})
    loss = fc.losses.SoftmaxCrossEntropy(**settings)

    def steps(communicator):
        model = nn.Sequential(nn.Conv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.Dense(3)).build((6, 6, 2), seed=1)
        trainer = trainer_of(model, communicator, loss=loss, capture=capture, **({"shards": 4} if communicator else {}))
        values = [float(trainer.train_step(x, y, weight)) for _ in range(3)]
        before, found = digest(model), _gradients(model)
        with pytest.raises(ArgumentError, match=r"got .*; allowed: (at least )?one"):
            trainer.train_step(x[:4], y[:4], None if weight is None else weight[:4])
        assert digest(model) == before
        assert np.isnan(trainer.evaluate((x[:4], y[:4], *(() if weight is None else (weight[:4],))))["loss"])
        data = (x, y) if weight is None else (x, y, weight)
        values.append(trainer.evaluate(data, batch_size=4)["loss"])
        return values, found

    alone, grads = steps(None)
    for values, found in [steps(SingleProcess()), *by_ranks(2, backend.name, steps)]:
        assert values == pytest.approx(alone, rel=1e-5)
        for name, array in grads.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-6, err_msg=name)


def test_running_statistics_move_by_the_mean_over_shards():
    x, y = small_data(16)
    with fc.use_backend("numpy"):
        model = small_model()
        trainer_of(model, SingleProcess(), shards=4).train_step(x, y)
        one = nn.Sequential(*small_model().layers[:2])
        moved = []
        for begin, end in bounds(16, 4):
            part = small_model()
            part.layers[1].forward(part.layers[0].forward(x[begin:end], training=False)[0], training=True)
            moved.append(np.array(part.layers[1].running_var.array))
    assert one.layers
    np.testing.assert_allclose(model.layers[1].running_var.array, np.mean(moved, axis=0), rtol=1e-5)


def test_frozen_statistics_do_not_move_and_frozen_weights_stay(backend):
    x, y = small_data(18)  # shares that are no power of two
    model = small_model()
    model.layers[1].running_mean.data = np.full(4, 0.3, np.float32)
    model.freeze("0", "1")
    before = {tensor.name: np.array(tensor.array) for tensor in model.tensors()}
    trainer = trainer_of(model, SingleProcess(), shards=4)
    for _ in range(3):
        trainer.train_step(x, y)
    for tensor in model.tensors():
        stays = tensor.name.startswith(("0.", "1.")) or tensor.name == "5.bias"  # which a normalisation takes away
        assert np.array_equal(before[tensor.name], tensor.array) == stays, tensor.name


def test_shards_are_captured_once_for_each_of_their_sizes(monkeypatch):
    made = []
    monkeypatch.setattr(CapturedStep, "_capture", lambda self, of=CapturedStep._capture: (made.append(self), of(self)))
    x, y = small_data(18)
    with fc.use_backend("numba"):
        trainer = trainer_of(small_model(), SingleProcess(), shards=4)
        for _ in range(3):
            trainer.train_step(x, y)
    assert sorted(each.form[0][0] for each in made) == [4, 5]


def test_captured_shards_give_the_bits_of_those_that_are_not():
    with fc.use_backend("numba"):
        assert _trained(SingleProcess())[0] == _trained(SingleProcess(), capture=False)[0]


def test_buckets_and_overlap_change_no_bit(backend):
    wanted = by_ranks(2, backend.name, _trained)[0][0]
    for settings in ({"overlap": False}, {"bucket_mb": 1e-4}, {"bucket_mb": 1e-4, "overlap": False}):
        assert {each[0] for each in by_ranks(2, backend.name, lambda c, s=settings: _trained(c, **s))} == {wanted}


def test_without_determinism_ranks_agree_and_are_close(backend):
    one = _trained(SingleProcess(), deterministic=False)
    three = by_ranks(3, backend.name, lambda c: _trained(c, deterministic=False))
    assert len({each[0] for each in three}) == 1
    assert three[0][1]["loss"][0] == pytest.approx(one[1]["loss"][0], rel=0.2)
    assert sum(each[2] for each in three) == 44


def test_bfloat16_gradients_agree_on_all_ranks(backend):
    exact = by_ranks(2, backend.name, _trained)
    rounded = by_ranks(2, backend.name, lambda c: _trained(c, gradients="bfloat16"))
    assert len({each[0] for each in rounded}) == 1
    assert rounded[0][0] != exact[0][0]
    assert rounded[0][1]["loss"][-1] == pytest.approx(exact[0][1]["loss"][-1], rel=0.05)


def test_the_other_ranks_images_change_a_ranks_gradients():
    """Or ranks that never talked would pass for equal."""
    x, y = small_data(16)

    def rank(communicator, own_rows_only):
        model = small_model(dropout=0.0)
        mine = x.copy()
        if own_rows_only:
            mine[8:] = 0
        trainer = trainer_of(model, communicator)
        trainer.train_step(mine, y)
        return digest(model)

    whole, cut = (by_ranks(2, "numpy", lambda c, own=own: rank(c, own))[0] for own in (False, True))
    assert whole != cut


def test_a_batch_with_fewer_rows_than_shards_is_refused_where_layers_meet():
    x, y = small_data(3)
    with fc.use_backend("numpy"):
        trainer = trainer_of(small_model(sync=True), SingleProcess(), shards=4)
        before = digest(trainer.model)
        with pytest.raises(ShapeError, match="3 rows with SyncBatchNorm and 4 shards"):
            trainer.train_step(x, y)
        assert (digest(trainer.model), trainer.step) == (before, 0)


def test_a_step_that_fails_changes_nothing(monkeypatch):
    x, y = small_data(16)
    with fc.use_backend("numpy"):
        trainer = trainer_of(small_model(), SingleProcess(), shards=4)
        trainer.train_step(x, y)
        before = digest(trainer.model)
        calls, checked = [], trainer.loss.checked_targets

        def fails(*arguments):
            calls.append(1)
            if len(calls) == 7:  # in the third shard's loss: four were asked for their divisors
                raise RuntimeError("the reason")
            return checked(*arguments)

        monkeypatch.setattr(trainer.loss, "checked_targets", fails, raising=False)
        with pytest.raises(RuntimeError, match="the reason"):
            trainer.train_step(x, y)
        assert (digest(trainer.model), trainer.step, trainer.optimizer.steps) == (before, 1, 1)


@pytest.mark.emulator
@pytest.mark.parametrize("sync", [False, True], ids=["ghost", "sync"])
def test_the_same_bits_on_an_emulated_gpu(sync):
    def rank(communicator):
        layers = (nn.Conv2d(4, 3, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.Dense(3))
        model = nn.Sequential(*layers)
        if sync:
            nn.SyncBatchNorm.convert(model)
        model.build((6, 6, 2), seed=1)
        trainer = trainer_of(model, communicator, shards=2)
        trainer.fit(tuple(map(fc.asarray, small_data(8))), 1, batch_size=4)
        return digest(model)

    one, two = (by_ranks(size, "cuda-emulator", rank) for size in (1, 2))
    assert two == one * 2
