"""Everything between the convolutions, each operation alone: bound by memory, so the figure is bytes a second."""

import numpy as np
import pytest

import fastconv as fc
from benchmarks import torch_peer
from benchmarks.measure import Peer, compare, largest_error, on_lines
from benchmarks.shapes import ACTIVATIONS
from fastconv import nn
from fastconv.backends.contract.types import RandomKey
from fastconv.losses import LOSSES, SoftmaxCrossEntropy
from fastconv.training import ClipGlobalNorm, ClipNorm, ClipValue
from fastconv.training.named import choices

F = fc.functional
METRICS = choices("metric")
KEY = RandomKey(seed=1, stream=0, step=0)

# Operation -> (call on (x, grad of the same shape), arrays of that size read and written)
ELEMENTWISE = {
    "relu": (lambda x, g: F.relu(x), 2),
    "relu_backward": (lambda x, g: F.relu_backward(g, x), 3),
    "tanh": (lambda x, g: F.tanh(x), 2),
    "dropout": (lambda x, g: F.dropout(x, 0.25, key=KEY), 2),
}


def _reference(call):
    def reference(*arrays):
        with fc.use_backend("numpy"):
            return call(*arrays)

    return reference


def _first(result):
    return result[0] if isinstance(result, tuple) else result


def _shape_id(shape):
    return "x".join(map(str, shape))


def _torch_elementwise(torch, name, x, g):
    if name == "relu_backward":
        return lambda: torch.ops.aten.threshold_backward(g, x, 0)
    if name == "dropout":
        return lambda: torch.nn.functional.dropout(x, 0.25)
    return lambda: getattr(torch, name)(x)


def _compare(benchmark, torch, call, arrays, bytes_moved, theirs):
    arrays = [on_lines(array) for array in arrays]
    error = largest_error(_first(call(*arrays)), _first(_reference(call)(*(a.astype(np.float64) for a in arrays))))
    assert error < 1e-5
    peers = [Peer("numpy", lambda: _reference(call)(*arrays), rounds=2)]
    if torch is not None:
        peers += [
            Peer(f"torch {layout}", theirs(*(torch_peer.image(torch, a, layout) for a in arrays)))
            for layout in torch_peer.LAYOUTS
        ]
    compare(benchmark, lambda: call(*arrays), peers, bytes=bytes_moved, error=error)


@pytest.mark.parametrize("shape", ACTIVATIONS[:2], ids=_shape_id)
@pytest.mark.parametrize("name", ELEMENTWISE)
def bench_elementwise(benchmark, torch, rng, name, shape):
    call, moved = ELEMENTWISE[name]
    arrays = [rng.standard_normal(shape).astype(np.float32) for _ in range(2)]
    _compare(
        benchmark, torch, call, arrays, moved * arrays[0].nbytes, lambda x, g: _torch_elementwise(torch, name, x, g)
    )


@pytest.mark.parametrize("shape", ACTIVATIONS, ids=_shape_id)
@pytest.mark.parametrize("which", ["forward", "backward"])
def bench_batch_norm(benchmark, torch, rng, which, shape):
    x, g = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    gamma, beta = (rng.standard_normal(shape[-1]).astype(np.float32) for _ in range(2))
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))

    def forward(x, g):
        return F.batch_norm(x, gamma.astype(x.dtype), beta.astype(x.dtype))

    def backward(x, g):
        return F.batch_norm_backward(g, x, *(a.astype(x.dtype) for a in (gamma, mean, var)))

    def theirs(tx, tg):
        weight, bias = torch.from_numpy(gamma), torch.from_numpy(beta)
        native = torch.ops.aten.native_batch_norm
        if which == "forward":
            return lambda: native(tx, weight, bias, None, None, True, 0.1, 1e-5)
        _, saved_mean, saved_rstd = native(tx, weight, bias, None, None, True, 0.1, 1e-5)
        arguments = (tg, tx, weight, None, None, saved_mean, saved_rstd, True, 1e-5, [True, True, True])
        return lambda: torch.ops.aten.native_batch_norm_backward(*arguments)

    moved = 3 if which == "forward" else 5
    _compare(benchmark, torch, forward if which == "forward" else backward, [x, g], moved * x.nbytes, theirs)


@pytest.mark.parametrize("shape", ACTIVATIONS, ids=_shape_id)
@pytest.mark.parametrize("which", ["max_forward", "max_backward", "avg_forward", "avg_backward"])
def bench_pool2d(benchmark, torch, rng, which, shape):
    x = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
    pooled = (shape[0], shape[1] // 2, shape[2] // 2, shape[3])
    g = rng.standard_normal(pooled).astype(np.float32)
    _, argmax = F.max_pool2d(x, 2)
    calls = {
        "max_forward": lambda x, g: F.max_pool2d(x, 2),
        "max_backward": lambda x, g: F.max_pool2d_backward(g, argmax, input_shape=shape, kernel_size=2),
        "avg_forward": lambda x, g: F.avg_pool2d(x, 2),
        "avg_backward": lambda x, g: F.avg_pool2d_backward(g, input_shape=shape, kernel_size=2),
    }

    def theirs(tx, tg):
        aten = torch.ops.aten
        if which == "max_forward":
            return lambda: aten.max_pool2d_with_indices(tx, [2, 2], [2, 2])
        if which == "max_backward":
            _, indices = aten.max_pool2d_with_indices(tx, [2, 2], [2, 2])
            return lambda: aten.max_pool2d_with_indices_backward(tg, tx, [2, 2], [2, 2], [0, 0], [1, 1], False, indices)
        if which == "avg_forward":
            return lambda: aten.avg_pool2d(tx, [2, 2], [2, 2])
        return lambda: aten.avg_pool2d_backward(tg, tx, [2, 2], [2, 2], [0, 0], False, True, None)

    moved = x.nbytes + g.nbytes + (argmax.nbytes if "max" in which else 0)
    _compare(benchmark, torch, calls[which], [x, g], moved, theirs)


def _torch_losses(torch, k):
    """Return each loss as PyTorch has it, but for factors that cost nothing."""
    return {
        "multiclass_hinge": torch.nn.MultiMarginLoss(),
        "squared_hinge": torch.nn.MultiMarginLoss(2),
        "binary_cross_entropy": torch.nn.BCEWithLogitsLoss(),
        "mean_squared_error": torch.nn.MSELoss(),
        "mean_absolute_error": torch.nn.L1Loss(),
        "huber": torch.nn.HuberLoss(),
        "weighted": torch.nn.CrossEntropyLoss(torch.linspace(0.5, 2, k), ignore_index=0, label_smoothing=0.1),
        "soft": torch.nn.CrossEntropyLoss(),
    }


@pytest.mark.parametrize("shape", [(128, 10), (256, 1000)], ids=_shape_id)
@pytest.mark.parametrize("name", [*list(LOSSES)[1:], "weighted", "soft"])
def bench_loss(benchmark, torch, rng, name, shape):
    """Loss and gradient; weighted and soft: softmax cross-entropy with weights of classes, and with rows of targets."""
    loss = LOSSES[name]() if name in LOSSES else SoftmaxCrossEntropy()
    if name == "weighted":
        loss = SoftmaxCrossEntropy(0.1, class_weight=np.linspace(0.5, 2, shape[1]), ignore_index=0)
    rows = loss.function.over == "rows" and name != "soft"
    x = rng.standard_normal(shape).astype(np.float32)
    y = rng.integers(0, shape[1], shape[0]) if rows else rng.dirichlet(np.ones(shape[1]), shape[0]).astype(np.float32)

    def call(x, y):
        return loss(x, y)[1]

    error = largest_error(call(x, y), _reference(call)(x.astype(np.float64), y if rows else y.astype(np.float64)))
    assert error < 1e-5
    peers = [Peer("numpy", lambda: _reference(call)(x, y), rounds=2)]
    if torch is not None:
        leaf, targets = torch.from_numpy(x).requires_grad_(), torch.from_numpy(y)
        theirs = _torch_losses(torch, shape[1])[name]
        peers.append(Peer("torch", lambda: torch.autograd.grad(theirs(leaf, targets), leaf)))
    compare(benchmark, lambda: call(x, y), peers, error=error)


@pytest.mark.parametrize("size", [120_000, 11_000_000])
@pytest.mark.parametrize("kind", [ClipValue, ClipNorm, ClipGlobalNorm], ids=lambda kind: kind.__name__)
def bench_clip(benchmark, torch, rng, kind, size):
    """Gradients of six layers, `size` numbers; from the second time on they are within the limit already."""
    width = int((size / 6) ** 0.5)
    model = nn.Sequential(*(nn.Dense(width) for _ in range(6))).build((width,))
    parameters = list(model.parameters())
    for p in parameters:
        p.add_grad(rng.standard_normal(p.shape).astype(np.float32))
    theirs = []
    if torch is not None:
        theirs = [torch.nn.Parameter(torch.zeros(p.shape)) for p in parameters]
        for peer, p in zip(theirs, parameters, strict=True):
            peer.grad = torch.from_numpy(p.grad.copy())
    utils = None if torch is None else torch.nn.utils
    peer = {
        ClipValue: lambda: utils.clip_grad_value_(theirs, 1.0),
        ClipNorm: lambda: [utils.clip_grad_norm_([each], 1.0) for each in theirs],
        ClipGlobalNorm: lambda: utils.clip_grad_norm_(theirs, 1.0),
    }[kind]
    clip, backend = kind(1.0), model.backend
    wanted = _clipped(kind, [np.array(p.grad, np.float64) for p in parameters])
    clip.apply(backend, parameters)
    error = max(largest_error(p.grad, grad) for p, grad in zip(parameters, wanted, strict=True))
    assert error < 1e-5
    plain = nn.Sequential(*(nn.Dense(width) for _ in range(6)))
    with fc.use_backend("numpy"):
        plain.build((width,))
    for mine, p in zip(plain.parameters(), parameters, strict=True):
        mine.add_grad(p.grad.copy())
    peers = [Peer("numpy", lambda: kind(1.0).apply(plain.backend, list(plain.parameters())), rounds=2)]
    peers += [] if torch is None else [Peer("torch", peer)]
    compare(benchmark, lambda: clip.apply(backend, parameters), peers, error=error)


def _clipped(kind, grads):
    if kind is ClipValue:
        return [np.clip(grad, -1, 1) for grad in grads]
    norms = [np.linalg.norm(grad) for grad in grads]
    norms = [np.linalg.norm(norms)] * len(norms) if kind is ClipGlobalNorm else norms
    return [grad * min(1, 1 / (norm + 1e-6)) for grad, norm in zip(grads, norms, strict=True)]


def _class_counts(torch, tx, ty):
    """Return, of each class, what was right, what was predicted, and what there is."""
    found = tx.argmax(1)
    right = torch.bincount(ty[found == ty], minlength=100)
    return right, torch.bincount(found, minlength=100), torch.bincount(ty, minlength=100)


def _torch_metrics(torch, tx, ty):
    def score(of):
        return lambda: of(*_class_counts(torch, tx, ty)).nan_to_num().mean().item()

    return {
        "Accuracy": lambda: (tx.argmax(1) == ty).sum().item(),
        "TopKAccuracy": lambda: (tx.topk(5, 1).indices == ty[:, None]).any(1).sum().item(),
        "ConfusionMatrix": lambda: torch.bincount(ty * 100 + tx.argmax(1), minlength=10_000).reshape(100, 100),
        "Precision": score(lambda right, predicted, there: right / predicted),
        "Recall": score(lambda right, predicted, there: right / there),
        "F1": score(lambda right, predicted, there: 2 * right / (predicted + there)),
        "MeanBiasError": lambda: (tx - ty).mean().item(),
        "MeanAbsoluteError": lambda: (tx - ty).abs().mean().item(),
        "R2Score": lambda: (1 - ((tx - ty) ** 2).sum(0) / ((ty - ty.mean(0)) ** 2).sum(0)).mean().item(),
    }


@pytest.mark.parametrize("name", METRICS)
def bench_metric(benchmark, torch, rng, name):
    """A batch of 256 rows of 100 numbers; PyTorch has no metrics of its own, so its is how one would write them."""
    metric = METRICS[name]()
    x, t = rng.standard_normal((2, 256, 100)).astype(np.float32)
    y = t if name in ("MeanBiasError", "MeanAbsoluteError", "R2Score") else rng.integers(0, 100, 256).astype(np.int32)
    assert np.allclose(metric(x, y), _reference(metric)(x, y), rtol=1e-12)
    peers = [Peer("numpy", lambda: _reference(metric)(x, y), rounds=2)]
    if torch is not None:
        peers.append(Peer("torch", _torch_metrics(torch, torch.from_numpy(x), torch.from_numpy(y))[name]))
    compare(benchmark, lambda: metric(x, y), peers)


def bench_softmax_cross_entropy(benchmark, torch, rng):
    logits = rng.standard_normal((128, 10)).astype(np.float32)
    labels = rng.integers(0, 10, 128).astype(np.int32)

    def call(logits):
        return F.softmax_cross_entropy(logits, labels)[1]

    error = largest_error(call(logits), _reference(call)(logits.astype(np.float64)))
    assert error < 1e-5
    peers = [Peer("numpy", lambda: _reference(call)(logits))]
    if torch is not None:
        leaf, targets = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(labels).long()
        peers.append(Peer("torch", lambda: torch.autograd.grad(torch.nn.functional.cross_entropy(leaf, targets), leaf)))
    compare(benchmark, lambda: call(logits), peers, error=error)


def add_bias(rows, channels):
    """Return what adds a number to each channel, and its arrays."""

    def call(x, bias):
        out = np.empty_like(x)
        fc.get_backend().add_bias(x, bias, out=out)
        return out

    rng = np.random.default_rng(0)
    return call, on_lines(rng.standard_normal((rows, channels)).astype(np.float32)), np.ones(channels, np.float32)


def bench_add_bias(benchmark, torch):
    call, x, bias = add_bias(32_768, 64)
    assert np.array_equal(call(x, bias), x + bias)
    peers = [Peer("numpy", lambda: _reference(call)(x, bias), rounds=2)]
    if torch is not None:
        tx, tb = torch.from_numpy(x), torch.from_numpy(bias)
        peers.append(Peer("torch", lambda: tx + tb))
    compare(benchmark, lambda: call(x, bias), peers, bytes=2 * x.nbytes)


def loss_divisor(rows, classes):
    """Return what sums the weights of the classes of a batch, which its mean is divided by, and its arrays."""
    loss = SoftmaxCrossEntropy(class_weight=np.linspace(0.5, 2, classes))

    def call(y):
        return loss.whole(y, (rows, classes), np.dtype(np.float32), None).divisor

    return call, np.random.default_rng(0).integers(0, classes, rows).astype(np.int32)


def bench_loss_divisor(benchmark, torch):
    call, y = loss_divisor(4096, 10)
    assert np.allclose(call(y), _reference(call)(y), rtol=1e-12)
    peers = [Peer("numpy", lambda: _reference(call)(y), rounds=2)]
    if torch is not None:
        weights, labels = torch.linspace(0.5, 2, 10), torch.from_numpy(y)
        peers.append(Peer("torch", lambda: weights[labels].sum()))
    compare(benchmark, lambda: call(y), peers)
