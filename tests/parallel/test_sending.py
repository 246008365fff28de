from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.nn.core.parameter import arena_slices
from fastconv.parallel import DataParallel, SingleProcess
from fastconv.parallel.buckets import TreeSum
from fastconv.parallel.sending import Sender
from tests.training.ranks import by_ranks, digest, small_data, small_model, trainer_of


@pytest.fixture
def parts():
    """A model of two dense layers, and what sends its gradients in buckets of one parameter or less."""
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Dense(16, bias=False), nn.Dense(16, bias=False)).build((16,), seed=1)
    pieces = arena_slices(model.parameters())
    parallel = DataParallel(SingleProcess(), shards=2, bucket_mb=1024 / 2**20)
    tree = TreeSum(model.backend, [run.grad() for run in pieces], 2)
    model.zero_grad()
    return model, parallel, tree, pieces


def test_a_bucket_is_ready_when_all_of_it_is_written(parts):
    model, parallel, tree, pieces = parts
    sender = Sender(parallel, tree, pieces)
    first, second = model.parameters()
    assert sender.ready() == 0
    first.wrote_grad()
    assert sender.ready() == 0  # the last layer's come first
    second.wrote_grad()
    assert sender.ready() == 3  # a quarter, the rest with a part of the first layer, and what is left
    sender.send(2)
    assert sender.ready() == 1
    sender.finish()
    assert sender.ready() == 0


def test_what_is_written_several_times_waits_for_the_end(parts):
    model, parallel, tree, pieces = parts
    first, second = model.parameters()
    sender = Sender(parallel, tree, pieces, late={second})
    first.wrote_grad()
    second.wrote_grad()
    assert sender.ready() == 0


def test_what_gets_no_gradient_is_not_waited_for(parts):
    model, parallel, tree, pieces = parts
    sender = Sender(parallel, tree, pieces)
    first, second = model.parameters()
    first.wrote_grad()
    sender.know(model.parameters())  # the second has none
    model.zero_grad()
    assert sender.ready() == 1
    first.wrote_grad()
    assert sender.ready() == 3
    assert not second.has_grad


def test_sums_that_were_sent_outlast_another_pass(parts):
    _, parallel, tree, pieces = parts
    sender = Sender(parallel, tree, pieces)
    flat = tree.arrays[0]
    flat[...] = 1.0
    tree.add(0)
    flat[...] = 2.0
    sender.send(1)
    with sender.keeping_sent():
        flat[...] = 5.0
    sender.finish()
    np.testing.assert_array_equal(flat[-64:], 3.0)
    np.testing.assert_array_equal(flat[:-64], 6.0)


def test_a_layer_with_two_places_is_sent_whole(backend):
    """In buckets of a few numbers, while backward goes on."""

    def rank(communicator, overlap):
        shared = nn.Dense(8)
        layers = (nn.Flatten(), nn.Dense(8), shared, nn.ReLU(), shared, nn.ReLU(), nn.Dense(3))
        model = nn.Sequential(*layers).build((6, 6, 2), seed=2)
        trainer = trainer_of(model, communicator, overlap=overlap, bucket_mb=1e-4)
        for _ in range(3):
            trainer.train_step(*small_data(16))
        return digest(model)

    found = [by_ranks(2, backend.name, lambda c, o=overlap: rank(c, o)) for overlap in (True, False)]
    assert len({*found[0], *found[1]}) == 1


def _noted(name, method, calls):
    """Return the method, which notes each call."""

    def noted(self, *arguments):
        calls.append((name, *arguments))
        return method(self, *arguments)

    return noted


def test_gradients_go_out_while_backward_goes_on(monkeypatch):
    """A captured pass is cut, so that buckets are sent before it ends; one that is not captured sends as well."""
    calls = []
    for capture in (True, False):
        for name in ("send", "finish"):
            monkeypatch.setattr(Sender, name, _noted(name, getattr(Sender, name), calls))
        with fc.use_backend("numba"):
            trainer = trainer_of(small_model(), SingleProcess(), shards=2, bucket_mb=1e-4, capture=capture)
            for _ in range(2):
                calls.clear()
                trainer.train_step(*small_data(16))
        monkeypatch.undo()
        before = calls[: calls.index(("finish",))]
        assert sum(count for _, count in before) == len(trainer._shared._sender._buckets) == 14
        assert len([count for _, count in before if count]) == 3
