"""What is declared has a row in the benchmarks: losses, optimizers, augmentations, metrics, limits, layers, operations.

The rows are run as they are, but for their size: on two images, and on NumPy.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import fastconv as fc
from benchmarks import bench_augmentations, bench_layers, bench_models, bench_ops, bench_optimizers
from fastconv import nn, optim
from fastconv.losses import LOSSES
from fastconv.training.named import choices
from tests.backends.op_case import FUSED, OPERATIONS


def _names_of(bench, argument):
    """Return the values of an argument that a benchmark runs with."""
    (mark,) = (mark for mark in bench.pytestmark if mark.args[0] == argument)
    return set(mark.args[1])


def _parts(optimizer):
    return {type(optimizer)}.union(*map(_parts, getattr(optimizer, "optimizers", ())))


def test_losses_and_metrics_have_rows():
    timed = _names_of(bench_ops.bench_loss, "name") | {"softmax_cross_entropy"}
    assert inspect.isfunction(bench_ops.bench_softmax_cross_entropy)
    assert set(LOSSES) <= timed
    assert _names_of(bench_ops.bench_metric, "name") == set(choices("metric"))


def test_optimizers_and_limits_have_rows():
    with fc.use_backend("numpy"):
        parameters = nn.Dense(2).build((3,)).parameters()
        made = set().union(*(_parts(make(parameters)) for make, *_ in bench_optimizers.RULES.values()))
    assert inspect.isfunction(bench_optimizers.bench_muon_step)
    assert made | {optim.Muon} == set(choices("optimizer").values()) - {optim.Combined}  # which has no kernel
    assert _names_of(bench_ops.bench_clip, "kind") == set(choices("clip").values())


def test_augmentations_have_rows():
    timed = {type(part) for parts in bench_augmentations.CASES.values() for part in parts}
    assert inspect.isfunction(bench_augmentations.bench_flip_crop)
    assert timed | {fc.data.FlipCrop} == set(choices("augmentation").values())


@pytest.fixture(scope="module")
def seen():
    """Return the classes of the layers in rows, and the operations that these, a step and a loss call."""
    called = set()
    with pytest.MonkeyPatch.context() as patch, fc.use_backend("numpy") as backend:
        for name in OPERATIONS:
            patch.setattr(backend, name, _noting(called, name, getattr(backend, name)))
        layers = [(pair.ours(), pair.shape[-1]) for pair in bench_layers.LAYERS.values()]
        layers += [(make(), 24) for make in bench_layers.GROUPS.values()]
        for layer, channels in layers:
            shape = (8, 8, channels)
            _, context = layer.build(shape, np.float32).forward(np.ones((2, *shape), np.float32), training=True)
            layer.backward(np.ones((2, *layer.infer(shape)), np.float32), context)
        models = [getattr(fc.models, name).unbuilt() for name in bench_models.NAMES]
        for clip in choices("clip").values():
            _train(fc.models.lenet5(seed=0), clip(1.0))
        for call, _ in bench_ops.ELEMENTWISE.values():
            call(*np.ones((2, 3, 4), np.float32))
        for call, *arrays in (bench_ops.add_bias(3, 4), bench_ops.loss_divisor(3, 4)):
            call(*arrays)
        for name, metric in bench_ops.METRICS.items():
            rows = np.ones((2, 10), np.float32)
            metric()(rows, rows if "Error" in name or "R2" in name else np.zeros(2, np.int32))
    return {type(each) for layer in (*models, *(layer for layer, _ in layers)) for each in layer.walk()}, called


def _train(model, clip):
    matrices, others = ([p for p in model.parameters() if (len(p.shape) > 1) == many] for many in (True, False))
    optimizer = optim.Combined(optim.Muon(matrices, normalize=True), optim.SGD(others))
    trainer = fc.Trainer(model, LOSSES["softmax_cross_entropy"](), optimizer, clip=clip)
    data = np.ones((2, *model.input_shape), np.uint8), np.zeros(2, np.int32)
    for change in (fc.data.FlipCrop(), fc.data.Flip()):
        trainer.fit(fc.data.DataLoader(data, 2, augmentation=change), 1)
    model.predict(np.ones((2, *model.input_shape), np.float32))


def _noting(called, name, run):
    def noted(*args, **more):
        called.add(name)
        return run(*args, **more)

    return noted


def test_layers_have_rows(seen):
    exported = {getattr(nn, name) for name in nn.__all__} - {nn.Layer}
    layers = {each for each in exported if isinstance(each, type) and issubclass(each, nn.Layer)}
    assert layers - seen[0] == set()


def test_operations_have_rows(seen):
    """But for those that are composed of others: the rows of whole models have them."""
    assert OPERATIONS - FUSED - seen[1] == set()
