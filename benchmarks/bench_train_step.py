"""A whole training step, batch 128, SGD with Nesterov momentum: forward, loss, backward, update, on random data."""

import numpy as np
import pytest

import fastconv as fc
from benchmarks.measure import Peer, compare
from benchmarks.shapes import MODELS
from benchmarks.torch_models import make_step

BATCH = 128


def _first_step(trainer, x, y):
    first = float(trainer.train_step(x, y))
    assert abs(first - np.log(10)) < 1.5  # random weights: every class about equally likely


def _trainer(model_name):
    model = getattr(fc.models, model_name)(seed=0)
    optimizer = fc.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer)


def _batch(rng):
    return rng.standard_normal((BATCH, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, BATCH).astype(np.int32)


@pytest.mark.parametrize("model_name", MODELS)
def bench_train_step(benchmark, torch, rng, model_name):
    trainer, (x, y) = _trainer(model_name), _batch(rng)
    _first_step(trainer, x, y)
    peers = []
    if torch is not None:
        peers = [
            Peer(f"torch {layout}", make_step(torch, model_name, x, y, layout, bf16=False))
            for layout in ("channels_last", "contiguous_format")
        ]
        peers.append(Peer("bf16 channels_last", make_step(torch, model_name, x, y, "channels_last", bf16=True)))
    compare(benchmark, lambda: float(trainer.train_step(x, y)), peers)
    if benchmark.enabled:
        benchmark.extra_info["images_per_second"] = BATCH / benchmark.stats.stats.median


@pytest.mark.parametrize("model_name", MODELS)
def bench_train_step_fast(benchmark, torch, rng, model_name):
    """In bfloat16, against PyTorch's autocast to it."""
    if "fast" not in fc.get_backend().precisions:
        pytest.skip("this CPU does not multiply bfloat16")
    trainer, (x, y) = _trainer(model_name), _batch(rng)
    with fc.precision("fast"):
        _first_step(trainer, x, y)
        peers = []
        if torch is not None:
            peers.append(Peer("bf16 channels_last", make_step(torch, model_name, x, y, "channels_last", bf16=True)))
        compare(benchmark, lambda: float(trainer.train_step(x, y)), peers)
    if benchmark.enabled:
        benchmark.extra_info["images_per_second"] = BATCH / benchmark.stats.stats.median
