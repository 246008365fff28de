"""What a model does: seeds, moves, layers used twice, threads, prediction, sizes of images."""

import threading
from typing import ClassVar

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.testing import gradcheck
from tests.nn.small import grads_of, small


@pytest.mark.float64
def test_small_network_passes_gradcheck(backend, rng):
    report = gradcheck(small(np.float64), rng.standard_normal((3, 6, 6, 3)))
    assert report.checked > 60


@pytest.mark.float64
@pytest.mark.parametrize("name", ["lenet5", pytest.param("keras_cnn", marks=pytest.mark.slow)])
def test_whole_models_pass_gradcheck(backend, rng, name):
    model = getattr(fc.models, name)(input_shape=(16, 16, 3) if name == "lenet5" else (14, 14, 3), dtype=np.float64)
    gradcheck(model, rng.standard_normal((1, *model.input_shape)))


@pytest.mark.parametrize("backend", ["numba"], indirect=True)
def test_same_seed_same_weights_on_all_backends(backend):
    model, other = small(seed=3), small(seed=4)
    with fc.use_backend("numpy"):
        reference = small(seed=3)
    for p, q, r in zip(model.parameters(), reference.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(fc.to_numpy(p.data), q.data)
        assert p.name.endswith(("gamma", "beta")) or (fc.to_numpy(p.data) != fc.to_numpy(r.data)).all()


def test_seed_of_the_process():
    with fc.use_backend("numpy"):
        fc.seed(7)
        np.testing.assert_array_equal(small(seed=None).parameters()[0].data, small(seed=7).parameters()[0].data)
    for bad in (-1, 2**64, 1.5, "1"):
        with pytest.raises(ArgumentError, match="seed"):
            fc.seed(bad)


def test_all_of_a_model_moves(rng):
    model = small()
    x = rng.standard_normal((2, 6, 6, 3)).astype(np.float32)
    model.forward(x, training=True)
    want = model(x)
    model.to("numpy")
    assert {tensor.arena.backend.name for tensor in model.tensors()} == {"numpy"}
    assert len({tensor.arena for tensor in model.tensors()}) == 2
    assert not any(p.has_grad for p in model.parameters())
    with fc.use_backend("numpy"):
        np.testing.assert_allclose(model(x), want, rtol=1e-4, atol=1e-5)


def test_each_size_is_looked_at_once():
    class Counting(nn.Identity):
        seen: ClassVar[list] = []

        def setup(self, input_shape, scope):
            self.seen.append(input_shape)
            return input_shape

    with fc.use_backend("numpy"):
        model = nn.Sequential(Counting()).build((4, 4, 1))
        for size in (4, 5, 5, 4, 6, 5, 6):
            model(np.ones((1, size, size, 1), np.float32))
    assert Counting.seen == [(4, 4, 1), (5, 5, 1), (6, 6, 1)]


@pytest.mark.float64
def test_layer_used_twice(backend, rng):
    """Shared weights get the sum of both gradients; a layer without weights may take different shapes."""
    shared, relu = nn.Conv2d(3, 3, padding=1), nn.ReLU()
    model = nn.Sequential(shared, relu, shared, relu, nn.Flatten(), nn.Dense(2), relu)
    x = rng.standard_normal((2, 4, 4, 3))
    gradcheck(model, x)
    assert [p.name for p in model.parameters()] == ["0.weight", "0.bias", "5.weight", "5.bias"]
    assert model.summary().parameters == model.parameters().count
    twins = nn.Sequential(nn.Conv2d(3, 3, padding=1), relu, nn.Conv2d(3, 3, padding=1), *model.layers[3:])
    got = grads_of(model, fc.asarray(x))
    values = [fc.to_numpy(p.data).copy() for p in model.parameters()]
    twins.build((4, 4, 3), np.float64)
    for p, value in zip(twins.parameters(), [*values[:2], *values], strict=True):
        p.data = value
    want = grads_of(twins, fc.asarray(x))
    np.testing.assert_allclose(got[0], want[0] + want[2], rtol=1e-11, atol=1e-13)
    with pytest.raises(ShapeError, match="used again"):
        nn.Sequential(shared, nn.MaxPool2d(2), nn.Conv2d(4, 1), shared).build((4, 4, 3), np.float64)


def test_evaluation_in_mid_step(backend, rng):
    model = small()
    x, other = (fc.asarray(rng.standard_normal((n, 6, 6, 3)).astype(np.float32)) for n in (4, 9))
    grad = fc.asarray(rng.standard_normal((4, 4)).astype(np.float32))
    want = grads_of(model, x, grad)
    _, context = model.forward(x, training=True)
    model.predict(other, batch_size=4)
    model.zero_grad()
    model.backward(grad, context)
    for p, g in zip(model.parameters(), want, strict=True):
        np.testing.assert_array_equal(fc.to_numpy(p.grad), g)


def test_two_contexts_at_once(backend, rng):
    """Two forwards, then their backwards in the other order: contexts are passed, not kept."""
    model = nn.Sequential(nn.Conv2d(4, 3), nn.Dropout(0.5), nn.ReLU(), nn.Flatten(), nn.Dense(2)).build((5, 5, 2))
    xs = [fc.asarray(rng.standard_normal((3, 5, 5, 2)).astype(np.float32)) for _ in range(2)]

    def forward(i):
        with fc.random.stream(0, i):
            return model.forward(xs[i], training=True)

    def backward(result):
        model.zero_grad()
        model.backward(fc.asarray(np.ones((3, 2), np.float32)), result[1])
        return fc.to_numpy(model.parameters()[0].grad).copy()

    want = [backward(forward(i)) for i in range(2)]
    results = [forward(i) for i in range(2)]
    np.testing.assert_array_equal(backward(results[1]), want[1])
    np.testing.assert_array_equal(backward(results[0]), want[0])


def test_threads_share_a_model(backend, rng):
    model = small()
    xs = [fc.asarray(rng.standard_normal((4 + i % 3, 6, 6, 3)).astype(np.float32)) for i in range(4)]
    want = [fc.to_numpy(model(x)).copy() for x in xs]
    wrong = []

    def work(i):
        with fc.use_backend(backend.name):
            for round_ in range(30):
                if i == 0 and round_ % 5 == 0:
                    model.parameters()[0].touch()  # so that weights are prepared again meanwhile
                if not np.array_equal(fc.to_numpy(model(xs[i])), want[i]):
                    wrong.append((i, round_))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_predict_in_pieces(backend, rng):
    model = small()
    x = fc.asarray(rng.standard_normal((11, 6, 6, 3)).astype(np.float32))
    whole = fc.to_numpy(model(x)).copy()
    for size in (1, 4, 11, 100):
        np.testing.assert_allclose(fc.to_numpy(model.predict(x, batch_size=size)), whole, rtol=1e-5, atol=1e-6)
    assert model.predict(x[:0]).shape == (0, 4)
    with pytest.raises(ShapeError, match="a batch"):
        model.predict(x[0, 0, 0])
    with pytest.raises(ArgumentError, match="batch_size"):
        model.predict(x, batch_size=0)


def test_layers_before_the_first_trained_one_are_left_out(backend, rng):
    class Stubborn(nn.Layer):
        def forward(self, x, *, training):
            return x, None

        def backward(self, grad_output, context, *, needs_input_grad=True):
            raise AssertionError("nobody needs this")

    model = nn.Sequential(Stubborn(), nn.Sequential(nn.Flatten(), nn.Dense(3))).build((2, 2, 1))
    y, context = model.forward(fc.asarray(rng.standard_normal((2, 2, 2, 1)).astype(np.float32)), training=True)
    assert model.backward(y, context, needs_input_grad=False) is None
    assert fc.to_numpy(model.parameters()[0].grad).any()


@pytest.mark.float64
def test_own_layer(backend, rng):
    """A layer as its documentation tells to write one, with a parameter and the functional API."""
    F = fc.functional

    class Gate(nn.Layer):
        def setup(self, input_shape, scope):
            self.weight = scope.parameter(
                "weight", (input_shape[0], input_shape[0]), init="default", fan_in=input_shape[0]
            )
            return input_shape

        def forward(self, x, *, training):
            return F.sigmoid(F.dense(x, self.weight.array)), (x if training else None)

        def backward(self, grad_output, context, *, needs_input_grad=True):
            y = F.sigmoid(F.dense(context, self.weight.array))
            grad = F.sigmoid_backward(grad_output, y)
            self.weight.add_grad(F.dense_backward_weight(grad, context))
            return F.dense_backward_input(grad, self.weight.array) if needs_input_grad else None

    gradcheck(nn.Sequential(nn.Dense(4), Gate(), nn.Dense(2)), rng.standard_normal((3, 5)))


def test_wrong_gradient_of_a_parameter_is_not_lost(backend, rng):
    """`add_grad` of an array that is not the target adds instead of taking it for written."""
    layer = nn.Dense(2).build((3,))
    layer.weight.add_grad(fc.asarray(np.full((3, 2), 2.0, np.float32)))
    layer.weight.add_grad(fc.asarray(np.full((3, 2), 3.0, np.float32)))
    np.testing.assert_array_equal(fc.to_numpy(layer.weight.grad), 5.0)


def test_rebuilding_starts_anew(backend):
    model = small(seed=1)
    before = fc.to_numpy(model.parameters()[0].data).copy()
    model.build((6, 6, 3), seed=2)
    assert (fc.to_numpy(model.parameters()[0].data) != before).any()
    before = {name: fc.to_numpy(tensor.data).copy() for name, tensor in model.named_tensors().items()}
    with pytest.raises(ShapeError):
        model.build((6, 6))
    for name, tensor in model.named_tensors().items():
        np.testing.assert_array_equal(fc.to_numpy(tensor.data), before[name])
        assert not tensor.retired
    assert model(fc.asarray(np.ones((1, 6, 6, 3), np.float32))).shape == (1, 4)


WRONG = [(2, 28, 28, 3), (2, 32, 32, 1), (32, 32, 3), (2, 32, 32), (2, 3, 32, 32), (2, 0, 32, 3), (2,), ()]


@pytest.mark.parametrize("shape", WRONG)
def test_a_wrong_image_is_reported_at_the_input(backend, shape):
    """Not by the layer in the middle that it first does not fit; in every way into the model."""
    model = nn.Sequential(
        *(nn.Conv2d(4, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Residual(nn.Conv2d(4, 3, padding=1))),
        nn.Sequential(nn.Flatten(), nn.Dense(12), nn.Dense(3)),
    ).build((32, 32, 3), seed=0)
    x, y = fc.asarray(np.zeros(shape, np.float32)), np.zeros(2, np.int32)
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1))
    plain = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1), capture=False)
    ways = {
        "call": lambda: model(x),
        "forward": lambda: model.forward(x, training=True),
        "predict": lambda: model.predict(x),
        "train_step": lambda: trainer.train_step(x, y),
        "plain train_step": lambda: plain.train_step(x, y),
    }
    for way in ways.values():
        with pytest.raises(ShapeError, match=r"^x: got shape .*; allowed: .*") as caught:
            way()
        assert str(caught.value).startswith(f"x: got shape {shape}; allowed: (N, ")
    for into in (model.compile, lambda shape: fc.explain(model, shape)):
        with pytest.raises(ShapeError, match=r"^input_shape: got "):
            into(shape)


def test_other_sizes_are_taken_where_they_fit(backend, rng):
    """Nothing but the layers decides: a network without dense layers takes any size, and parts of it too."""
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(4, 3), nn.ReLU()),
        nn.Residual(nn.Conv2d(6, 2, stride=2), nn.SubsamplePad(6, stride=2)),
        *(nn.GlobalAvgPool2d(), nn.Dense(3)),
    ).build((8, 8, 3), seed=0)
    for size in ((8, 8), (10, 12), (32, 6), (10, 12)):
        x = rng.standard_normal((2, *size, 3)).astype(np.float32)
        y, context = model.forward(fc.asarray(x), training=True)
        assert y.shape == (2, 3)
        model.backward(y, context)
    # An odd one leaves the two sides of the sum with other sizes: nothing may be added up.
    with pytest.raises(ShapeError, match=r"shortcut: got output shape \(4, 3, 6\); allowed: \(3, 3, 6\)"):
        model(fc.asarray(np.zeros((2, 9, 8, 3), np.float32)))
    alone = nn.Residual(nn.Conv2d(6, 2, stride=2), nn.SubsamplePad(6, stride=2)).build((8, 8, 3))
    both = nn.Parallel(nn.Conv2d(6, 2, stride=2), nn.SubsamplePad(6, stride=2), mode="concatenate").build((8, 8, 3))
    for container in (alone, both):
        with pytest.raises(ShapeError, match="x: got shape"):
            container(fc.asarray(np.zeros((2, 7, 8, 3), np.float32)))


def test_rank_is_for_the_layers_to_say(backend):
    """A normalisation takes images and rows, whatever the model was built for."""
    model = nn.Sequential(nn.BatchNorm2d(), nn.ReLU()).build((3,))
    for shape in ((2, 3), (2, 5, 4, 3)):
        assert model(fc.asarray(np.ones(shape, np.float32))).shape == shape
    for shape in ((2, 4, 3), (2, 4), (3,), (2, 0, 4, 3)):
        with pytest.raises(ShapeError, match=r"^x: got shape .*; allowed: \(N, 3\), for which the model was built"):
            model(fc.asarray(np.ones(shape, np.float32)))


@pytest.mark.parametrize("shape", [None, 32, "32", (None, 32, 32, 3), (32.5, 3), ("a",), (), (0, 3), [[32, 32, 3]]])
def test_shapes_of_images_are_checked(shape):
    """One error of the argument's name, whatever comes: a batch of None, as elsewhere, is none of ours."""
    unbuilt = nn.Sequential(nn.Dense(2))
    with fc.use_backend("numpy"):
        built = nn.Sequential(nn.Dense(2)).build((3,))
        calls = [unbuilt.build, built.compile, lambda shape: fc.explain(built, shape)]
        calls += [] if shape is None else [unbuilt.summary]
        for call in calls:
            with pytest.raises(ShapeError, match=r"^input_shape: got "):
                call(shape)


@pytest.mark.parametrize("dtype", ["flot32", np.int32, np.float16, "f2", 3.5, [1]])
def test_types_of_models_are_checked(dtype):
    with fc.use_backend("numpy"), pytest.raises(DTypeError, match=r"^dtype: got .*; allowed: float32 or float64"):
        nn.Dense(2).build((3,), dtype)


def test_names_in_a_scope_are_given_once():
    class Twice(nn.Identity):
        def setup(self, input_shape, scope):
            self.first = scope.parameter("w", input_shape, init="ones")
            self.second = scope.parameter("w", input_shape, init="zeros")
            return input_shape

    class Fickle(nn.Identity):
        names = iter("ab")

        def setup(self, input_shape, scope):
            self.weight = scope.parameter(next(self.names), input_shape, init="ones")
            return input_shape

    class Unknown(nn.Identity):
        def setup(self, input_shape, scope):
            self.weight = scope.parameter("w", input_shape, init="xavier")
            return input_shape

    fickle = Fickle()
    with fc.use_backend("numpy"):
        for layer in (Twice(), nn.Sequential(fickle, fickle)):
            with pytest.raises(ArgumentError, match="name: got"):
                layer.build((3,))
        with pytest.raises(ArgumentError, match=r"init: got 'xavier'; allowed: default, .*, ones"):
            Unknown().build((3,))
