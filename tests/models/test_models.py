"""The models: counts, shapes, and PyTorch's outputs and gradients with the same weights."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy

COUNTS = {"lenet5": 62_006, "mlp": 1_640_330, "keras_cnn": 1_250_858, "resnet20": 269_722, "resnet9": 6_573_120}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_counts_and_shapes(name, count):
    with fc.use_backend("numpy"):
        model = getattr(fc.models, name)()
        assert model.parameters().count == model.summary().parameters == count
        assert model.infer((32, 32, 3)) == (10,)
        assert getattr(fc.models, name)(7).infer((32, 32, 3)) == (7,)


def test_multiplications_of_resnet20():
    """Three stages of equal cost but for the two convolutions that halve the map; the first one; the dense layer."""
    stage = 6 * 32 * 32 * 16 * 9 * 16
    with fc.use_backend("numpy"):
        assert fc.models.resnet20().summary().macs == 3 * stage - 2 * stage // 12 + 32 * 32 * 16 * 9 * 3 + 64 * 10


@pytest.mark.parametrize("name", COUNTS)
def test_one_step(backend, rng, name):
    model = getattr(fc.models, name)(input_shape=(32, 32, 3), seed=1)
    begin = [fc.to_numpy(p.data).copy() for p in model.parameters()]
    trainer = fc.Trainer(model, SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.001))
    x = fc.asarray(rng.standard_normal((2, 32, 32, 3)).astype(np.float32))
    y = fc.asarray(np.array([1, 7], np.int32))
    assert np.isfinite(float(trainer.train_step(x, y)))
    for p, value in zip(model.parameters(), begin, strict=True):
        assert (fc.to_numpy(p.data) != value).any(), p.name


def _outline(layer):
    """A layer in one line: its name and what it was made with; containers with what is in them."""
    if isinstance(layer, nn.Sequential):
        return [_outline(one) for one in layer.layers]
    if isinstance(layer, nn.Residual):
        return ("Residual", _outline(layer.body), _outline(layer.shortcut))
    names = ("channels", "features", "kernel_size", "stride", "padding", "bias", "p")
    known = {n: getattr(layer, n) for n in names if hasattr(layer, n)}
    if "bias" in known:
        known["bias"] = known["bias"] is not None
    return (type(layer).__name__, known)


def _kinds(outline):
    """The names of layers alone."""
    return [_kinds(one) if isinstance(one, list) else one[0] for one in outline]


def test_layers_of_the_plain_models():
    with fc.use_backend("numpy"):
        lenet5, mlp, keras = (_outline(getattr(fc.models, n)()) for n in ("lenet5", "mlp", "keras_cnn"))
        bare = _outline(fc.models.keras_cnn(dropout=False))
    stage = ["Conv2d", "Tanh", "AvgPool2d"]
    assert _kinds(lenet5) == [*stage, *stage, "Flatten", "Dense", "Tanh", "Dense", "Tanh", "Dense"]
    assert _kinds(mlp) == ["Flatten", "Dense", "ReLU", "Dense", "ReLU", "Dense"]
    stage = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert _kinds(keras) == [*stage, "Dropout", *stage, "Dropout", "Flatten", "Dense", "ReLU", "Dropout", "Dense"]
    assert [known["p"] for name, known in keras if name == "Dropout"] == [0.25, 0.25, 0.5]
    assert bare == [one for one in keras if one[0] != "Dropout"]


@pytest.mark.parametrize("name", ["resnet20", "resnet9"])
def test_layers_of_the_residual_models(name):
    with fc.use_backend("numpy"):
        outline = _outline(getattr(fc.models, name)())
    unit, pool = ["Conv2d", "BatchNorm2d", "ReLU"], ["MaxPool2d"]
    if name == "resnet20":
        assert _kinds(outline) == [*unit, *["Residual", "ReLU"] * 9, "GlobalAvgPool2d", "Dense"]
        bodies = [_kinds(one[1]) for one in outline if one[0] == "Residual"]
        assert bodies == [[*unit, "Conv2d", "BatchNorm2d"]] * 9
        shortcuts = [one[2][0] for one in outline if one[0] == "Residual"]
        same = ["Identity", "Identity"]
        assert shortcuts == ["Identity", *same, "SubsamplePad", *same, "SubsamplePad", *same]
    else:
        half, block = [*unit, *pool], ["Residual"]
        assert _kinds(outline) == [*unit, *half, *block, *half, *half, *block, "GlobalMaxPool2d", "Dense", "Scale"]
        assert [_kinds(one[1]) for one in outline if one[0] == "Residual"] == [[*unit, *unit]] * 2


# With the weights of `_given`, of the second of the images of `_images`, as PyTorch 2.13 computes them in float64.
LOGITS = {
    "lenet5": [0.654666098, 0.507539165, 0.343391142],
    "mlp": [0.411375762, 0.431776794, 0.606204607],
    "keras_cnn": [0.391414822, 0.448553876, 0.621842277],
    "resnet20": [-0.654245075, 0.625712021, 1.62185047],
    "resnet9": [-0.03050421975, -0.06057506038, 0.04611374575],
}


def _given(index, shape):
    """Weights that no generator draws."""
    values = np.sin(1.7 * np.arange(np.prod(shape)) + index).reshape(shape)
    return values * np.sqrt(6 * shape[-1] / values.size) if len(shape) > 1 else 0.5 + 0.1 * values


def _images():
    return np.cos(0.37 * np.arange(2 * 32 * 32 * 3)).reshape(2, 32, 32, 3)


@pytest.mark.float64
@pytest.mark.parametrize("name", LOGITS)
def test_logits_in_training(backend, name):
    """BatchNorm takes the statistics of the batch."""
    model = getattr(fc.models, name)(dtype=np.float64, seed=0, **({"dropout": False} if name == "keras_cnn" else {}))
    for index, parameter in enumerate(model.parameters()):
        parameter.data = _given(index, parameter.shape)
    logits, _ = model.forward(fc.asarray(_images()), training=True)
    np.testing.assert_allclose(fc.to_numpy(logits)[1, :3], LOGITS[name], rtol=1e-8)


def torch_nets(torch):
    """The same nets in PyTorch, written down once more."""
    nn, F = torch.nn, torch.nn.functional  # theirs

    def unit(i, o, *more, stride=1):
        return [nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), *more]

    class Add(nn.Module):
        def __init__(self, body, shortcut):
            super().__init__()
            self.body, self.shortcut = nn.Sequential(*body), shortcut

        def forward(self, x):
            return self.body(x) + self.shortcut(x)

    class Eighth(nn.Module):
        def forward(self, x):
            return x / 8

    def option_a(extra):
        return lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra // 2, extra // 2))

    def same(x):
        return x

    def keras_cnn():
        return nn.Sequential(
            *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64 * 36, 512), nn.ReLU(), nn.Linear(512, 10)),
        )

    def resnet20():
        layers, i = unit(3, 16, nn.ReLU()), 16
        for o in (16, 32, 64):
            for _ in range(3):
                body = [*unit(i, o, nn.ReLU(), stride=1 if o == i else 2), *unit(o, o)]
                layers += [Add(body, same if o == i else option_a(o - i)), nn.ReLU()]
                i = o
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    def resnet9():
        def block(c):
            return Add([*unit(c, c, nn.ReLU()), *unit(c, c, nn.ReLU())], same)

        return nn.Sequential(
            *(*unit(3, 64, nn.ReLU()), *unit(64, 128, nn.ReLU(), nn.MaxPool2d(2)), block(128)),
            *(*unit(128, 256, nn.ReLU(), nn.MaxPool2d(2)), *unit(256, 512, nn.ReLU(), nn.MaxPool2d(2)), block(512)),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(512, 10, bias=False), Eighth()),
        )

    def lenet5():
        return nn.Sequential(
            *(nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
            *(nn.Flatten(), nn.Linear(16 * 25, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
        )

    def mlp():
        hidden = (nn.Linear(3 * 32 * 32, 512), nn.ReLU(), nn.Linear(512, 128), nn.ReLU())
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, 10))

    return {"lenet5": lenet5, "mlp": mlp, "keras_cnn": keras_cnn, "resnet20": resnet20, "resnet9": resnet9}


def to_torch(value, flat=None):
    """HWIO to OIHW, (in, out) to (out, in); the rows of a dense layer behind a map `flat` from H, W, C to C, H, W."""
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if value.ndim == 2:
        if flat is not None and value.shape[0] == np.prod(flat):
            value = value.reshape(*flat, -1).transpose(2, 0, 1, 3).reshape(value.shape)
        return value.T
    return value


@pytest.mark.peer
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", COUNTS)
def test_same_as_pytorch(backend, rng, name, dtype):
    """In training, with BatchNorm on the batch's statistics, and after it with the running ones."""
    torch = pytest.importorskip("torch")
    keywords = {"dropout": False} if name == "keras_cnn" else {}
    model = getattr(fc.models, name)(dtype=dtype, seed=2, **keywords)
    peer = torch_nets(torch)[name]().to(torch.float64 if dtype == np.float64 else torch.float32)
    flat = {"keras_cnn": (6, 6, 64), "lenet5": (5, 5, 16), "mlp": (32, 32, 3)}.get(name)
    with torch.no_grad():
        for q, p in zip(peer.parameters(), model.parameters(), strict=True):
            q.copy_(torch.tensor(np.ascontiguousarray(to_torch(fc.to_numpy(p.data), flat))))
    x = rng.standard_normal((4, 32, 32, 3)).astype(dtype)
    labels = np.array([3, 1, 4, 1], np.int32)
    outside = torch.tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    want = peer(outside)
    want_loss = torch.nn.functional.cross_entropy(want, torch.tensor(labels).long())
    want_loss.backward()
    logits, context = model.forward(fc.asarray(x), training=True)
    loss, grad = SoftmaxCrossEntropy()(logits, fc.asarray(labels))
    model.backward(grad, context, needs_input_grad=False)

    # float32: twenty layers of rounding, and Winograd's 2e-5 of the largest value in some of them
    tolerance = 1e-9 if dtype == np.float64 else 3e-3 if backend.name == "numba" else 1e-3
    scale = np.abs(want.detach().numpy()).max()
    assert np.abs(fc.to_numpy(logits) - want.detach().numpy()).max() < tolerance * scale
    assert float(loss) == pytest.approx(want_loss.item(), rel=tolerance)
    largest = max(float(q.grad.abs().max()) for q in peer.parameters())
    for q, p in zip(peer.parameters(), model.parameters(), strict=True):
        error = np.linalg.norm(to_torch(fc.to_numpy(p.grad), flat) - q.grad.numpy())
        # norms, as a ReLU at zero may fall on either side in float32; a bias before BatchNorm has only noise
        assert error < 10 * tolerance * max(np.linalg.norm(q.grad.numpy()), 1e-2 * largest), p.name
    peer.eval()
    with torch.no_grad():
        want = peer(outside).numpy()
    assert np.abs(fc.to_numpy(model(fc.asarray(x))) - want).max() < tolerance * np.abs(want).max()


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (3, "hidden: got 3; allowed: several ints in a tuple"),
        ("64", "hidden: got '64'; allowed: several ints in a tuple"),
        ((64, 2.5), r"hidden\[1\]: got 2.5; allowed: an int of at least 1"),
    ],
)
def test_hidden_widths_are_checked(hidden, message):
    with pytest.raises(fc.errors.ArgumentError, match=message):
        fc.models.mlp(hidden=hidden)


def test_more_classes_than_a_machine_can_count_are_told():
    with pytest.raises(fc.errors.ArgumentError, match=rf"layer 11 \(Dense\): weight: got shape \(84, {2**63}\)"):
        fc.models.lenet5(2**63)
