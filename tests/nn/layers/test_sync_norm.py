from __future__ import annotations

import copy

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ShapeError
from fastconv.nn.layers.sync_norm import _merged, _statistics
from fastconv.parallel import SingleProcess
from tests.training.ranks import small_data, small_model, trainer_of


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.float64)])
@pytest.mark.parametrize("shards", [1, 2, 8])
def test_a_step_in_shards_is_that_of_the_whole_batch(backend, dtype, shards):
    x, y = small_data(21)
    found = []
    for sync in (False, True):
        model = small_model(sync=sync, dropout=0.0, dtype=dtype)
        trainer = trainer_of(model, SingleProcess() if sync else None, **({"shards": shards} if sync else {}))
        loss = [float(trainer.train_step(x.astype(dtype), y)) for _ in range(2)]
        found.append((loss, {tensor.name: np.array(tensor.array) for tensor in model.tensors()}))
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=tolerance)
    for name, values in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], values, rtol=tolerance, atol=tolerance, err_msg=name)


def test_outside_of_parts_it_is_a_batch_normalisation(backend):
    x, _ = small_data(8)
    results = []
    for sync in (False, True):
        model = small_model(sync=sync, dropout=0.0)
        y, context = model.forward(x, training=True)
        model.zero_grad()
        grad = model.backward(np.ones_like(y), context)
        results.append((y, grad, model(x), *(np.array(tensor.array) for tensor in model.tensors())))
    for mine, plain in zip(*results, strict=True):
        np.testing.assert_allclose(mine, plain, rtol=1e-4, atol=1e-5)


def test_convert_keeps_values_and_weights_files_fit(tmp_path, backend):
    plain = small_model(dropout=0.0)
    x, y = small_data(8)
    trainer_of(plain, None).train_step(x, y)
    plain.save_weights(tmp_path / "weights.safetensors")
    wanted = plain(x)
    assert nn.SyncBatchNorm.convert(plain) is plain
    assert [type(layer).__name__ for layer in plain.layers].count("SyncBatchNorm") == 2
    np.testing.assert_allclose(plain(x), wanted, rtol=1e-5, atol=1e-6)
    other = small_model(sync=True)
    other.load_weights(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(other(x), plain(x))
    np.testing.assert_array_equal(copy.deepcopy(plain)(x), plain(x))
    np.testing.assert_allclose(plain.compile(x.shape)(x), wanted, rtol=1e-5, atol=1e-6)


def test_merged_statistics_are_those_of_all(rng):
    values = 1e4 + rng.standard_normal((30, 5))
    parts = [_statistics(len(p), p.mean(0), ((p - p.mean(0)) ** 2).sum(0)) for p in np.split(values, [3, 17])]
    count, mean, squares = _merged(_merged(parts[0], parts[1]), parts[2])
    np.testing.assert_array_equal(count, 30)
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(squares, ((values - values.mean(0)) ** 2).sum(0), rtol=1e-10)


def test_frozen_it_keeps_its_running_statistics():
    x, y = small_data(16)
    with fc.use_backend("numpy"):
        model = small_model(sync=True)
        model.freeze("1")
        before = np.array(model.layers[1].running_var.array)
        trainer_of(model, SingleProcess(), shards=4).train_step(x, y)
        np.testing.assert_array_equal(model.layers[1].running_var.array, before)


def test_no_images_are_refused():
    with fc.use_backend("numpy"):
        model = small_model(sync=True)
        with pytest.raises(ShapeError, match="at least one image"):
            model.forward(np.zeros((0, 6, 6, 2), np.float32), training=True)


@pytest.mark.parametrize("factor", [1e25, 3e36])
def test_deviations_past_the_root_of_the_largest_number_count(factor):
    """Their variance is infinite in float32, and with it all came to beta; in one batch it is not so."""
    x, y = small_data(21)
    losses = []
    with fc.use_backend("numpy"):
        for kind in (nn.BatchNorm2d, nn.SyncBatchNorm):
            model = nn.Sequential(kind(), nn.Flatten(), nn.Dense(3)).build((6, 6, 2), seed=3)
            how = (SingleProcess(),) if kind is nn.SyncBatchNorm else (None,)
            trainer = trainer_of(model, *how, **({"shards": 4} if how[0] else {}))
            losses.append([float(trainer.train_step(x * np.float32(factor), y)) for _ in range(2)])
            assert np.isposinf(model.layers[0].running_var.array).all()
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
