"""Every model by name, for images of CIFAR-10's size: a training step and inference beside PyTorch's.

The peer is the same network with the same weights, in channels_last; inference is of the folded model, and PyTorch's
without gradients. The table in RESULTS.md has parameters and multiplications too.
"""

import numpy as np
import pytest

import fastconv as fc
from benchmarks.measure import Peer, compare, largest_error
from fastconv.training import named
from tests.models.twins import twin

BATCH = 16
NAMES = named.choices("model")
UNTIMED = ("lenet5", "resnet20")  # where nothing is timed the others only take time: tests/models trains them


def _model(benchmark, name):
    if not benchmark.enabled and name not in UNTIMED:
        pytest.skip("timed only")
    model = getattr(fc.models, name)(seed=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, *model.input_shape)).astype(np.float32)
    return model, x, rng.integers(0, 10, BATCH).astype(np.int32)


def _counts(model, name):
    return {"model": name, "batch": BATCH, "parameters": model.parameters().count, "macs": model.summary().macs}


def _peer(torch, model, x):
    return twin(torch, model).to(memory_format=torch.channels_last), torch.from_numpy(x)


@pytest.mark.parametrize("name", NAMES)
def bench_model_step(benchmark, torch, name):
    """SGD with momentum."""
    model, x, y = _model(benchmark, name)
    peers = []
    if torch is not None:
        module, images = _peer(torch, model, x)
        optimizer, labels = torch.optim.SGD(module.parameters(), 1e-4, momentum=0.9), torch.from_numpy(y).long()

        def step():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(images), labels).backward()
            optimizer.step()

        peers.append(Peer("torch channels_last", step, rounds=5))
    optimizer = fc.optim.SGD(model.parameters(), 1e-4, momentum=0.9)
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer)
    compare(benchmark, lambda: float(trainer.train_step(x, y)), peers, **_counts(model, name))


@pytest.mark.parametrize("name", NAMES)
def bench_model_inference(benchmark, torch, name):
    """Of a batch, folded."""
    model, x, _ = _model(benchmark, name)
    model.forward(x, training=True)  # running statistics that are not the initial ones
    plan, info = model.compile(x.shape), _counts(model, name)
    peers = []
    if torch is not None:
        module, images = _peer(torch, model, x)
        module.eval()

        def infer():
            with torch.no_grad():
                return module(images)

        peers.append(Peer("torch channels_last", infer, rounds=5))
        info["error"] = largest_error(plan(x), model(x).astype(np.float64))
        assert info["error"] < 1e-3
    compare(benchmark, lambda: plan(x), peers, **info)
