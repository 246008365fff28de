"""Every model by name, for images of the size that it is made for: a training step and inference beside PyTorch's.

The peer is the same network with the same weights, in channels_last; inference is of the folded model, and PyTorch's
without gradients. What is timed is compared first: a step's loss and gradients, and what inference puts out, with those
of the reference on NumPy. The table in RESULTS.md has parameters and multiplications too.
"""

import numpy as np
import pytest

import fastconv as fc
from benchmarks.checking import checked_step
from benchmarks.measure import Peer, compare, largest_error
from fastconv.training import named
from tests.models.twins import twin

BATCH = 16
CHECKED = 2  # images where nothing is timed
NAMES = named.choices("model")
# Where nothing is timed the others only take time: tests/models trains them.
UNTIMED = ("airbench", "alexnet", "keras_cnn", "lenet5", "mlp", "mnist_cnn", "mobilenet", "resnet20", "tf_cifar10")


def _model(benchmark, name):
    if not benchmark.enabled and name not in UNTIMED:
        pytest.skip("timed only")
    model, batch = getattr(fc.models, name)(seed=0), BATCH if benchmark.enabled else CHECKED
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *model.input_shape)).astype(np.float32)
    return model, x, rng.integers(0, 10, batch).astype(np.int32)


def _trainer(name):
    model = getattr(fc.models, name)(seed=0)
    optimizer = fc.optim.SGD(model.parameters(), 1e-4, momentum=0.9)
    return fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=0)


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
    trainer = checked_step(lambda: _trainer(name), x, y)
    compare(benchmark, lambda: float(trainer.train_step(x, y)), peers, **_counts(model, name))


@pytest.mark.parametrize("name", NAMES)
def bench_model_inference(benchmark, torch, name):
    """Of a batch, folded."""
    model, x, _ = _model(benchmark, name)
    model.forward(x, training=True)  # running statistics that are not the initial ones
    plan, info = model.compile(x.shape), _counts(model, name)
    with fc.use_backend("numpy"):
        reference = getattr(fc.models, name)(seed=0)
        for mine, its in zip(model.tensors(), reference.tensors(), strict=True):
            its.data = fc.to_numpy(mine.data)
        expected = reference(x).astype(np.float64)
    info["error"] = largest_error(plan(x), expected)
    assert info["error"] < 1e-3
    peers = []
    if torch is not None:
        module, images = _peer(torch, model, x)
        module.eval()

        def infer():
            with torch.no_grad():
                return module(images)

        assert largest_error(infer().numpy(), expected) < 1e-3  # the same network
        peers.append(Peer("torch channels_last", infer, rounds=5))
    compare(benchmark, lambda: plan(x), peers, **info)
