"""Layers one by one: gradients, shapes, what they say about bad input."""

import inspect

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, BackendMismatchError, DTypeError, ShapeError
from fastconv.kernels.pointwise import POINTWISE
from fastconv.testing import gradcheck
from tests.conftest import CPU_BACKENDS

IMAGES, ROWS = (2, 6, 5, 4), (5, 7)


def row(*names):
    """A convolution and what follows it, which run as one."""
    more = {"norm": nn.BatchNorm2d, "relu": nn.ReLU, "pool": lambda: nn.MaxPool2d(3, stride=1, padding=1)}
    return nn.Sequential(nn.Conv2d(4, 3, padding=1), *(more[name]() for name in names))


LAYERS = {
    "conv": (lambda: nn.Conv2d(6, 3, padding=1), IMAGES),
    "conv-strided-groups": (lambda: nn.Conv2d(6, (3, 2), stride=(2, 1), padding="same", groups=2), IMAGES),
    "conv-depthwise-dilated": (lambda: nn.Conv2d(8, 2, dilation=2, groups=4, padding=((1, 0), (0, 2))), IMAGES),
    "conv-1x1-no-bias": (lambda: nn.Conv2d(3, 1, bias=False, init="he_normal"), IMAGES),
    "conv-transpose": (lambda: nn.ConvTranspose2d(6, 3, padding=1), IMAGES),
    "conv-transpose-strided": (
        lambda: nn.ConvTranspose2d(6, (3, 2), stride=2, padding=((1, 0), (0, 1)), output_padding=(1, 0), groups=2),
        IMAGES,
    ),
    "conv-transpose-dilated": (lambda: nn.ConvTranspose2d(3, 2, dilation=(2, 3), bias=False), IMAGES),
    "conv-transpose-same": (lambda: nn.ConvTranspose2d(3, 4, stride=2, padding="same"), IMAGES),
    "depthwise": (lambda: nn.DepthwiseConv2d(3, padding=1), IMAGES),
    "depthwise-multiplier": (lambda: nn.DepthwiseConv2d(2, 3, stride=2, dilation=2, bias=False), IMAGES),
    "dense": (lambda: nn.Dense(3), ROWS),
    "dense-no-bias": (lambda: nn.Dense(3, bias=False, init="glorot_uniform"), ROWS),
    "max-pool": (lambda: nn.MaxPool2d(2), IMAGES),
    "max-pool-dilated": (lambda: nn.MaxPool2d((2, 3), stride=1, dilation=(2, 1), padding=(0, 1)), IMAGES),
    "max-pool-overlapping": (lambda: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), IMAGES),
    "avg-pool": (lambda: nn.AvgPool2d(2), IMAGES),
    "avg-pool-padded": (
        lambda: nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        IMAGES,
    ),
    "global-max-pool": (nn.GlobalMaxPool2d, IMAGES),
    "global-max-pool-of-many-cells": (nn.GlobalMaxPool2d, (1, 20, 17, 2)),
    "max-pool-of-many-cells": (lambda: nn.MaxPool2d((19, 16), stride=1), (1, 20, 17, 2)),
    "subsample-pad-of-all-pixels": (lambda: nn.SubsamplePad(7), IMAGES),
    "global-avg-pool": (nn.GlobalAvgPool2d, IMAGES),
    "batch-norm": (nn.BatchNorm2d, IMAGES),
    "batch-norm-of-parts": (nn.SyncBatchNorm, IMAGES),
    "batch-norm-rows": (nn.BatchNorm2d, ROWS),
    "batch-norm-without-scale": (lambda: nn.BatchNorm2d(scale=False), IMAGES),
    "group-norm": (lambda: nn.GroupNorm(2), IMAGES),
    "group-norm-rows": (lambda: nn.GroupNorm(1, affine=False), ROWS),
    "local-response-norm": (lambda: nn.LocalResponseNorm(3, alpha=0.5), IMAGES),
    "local-response-norm-rows": (lambda: nn.LocalResponseNorm(4, alpha=0.5, beta=0.6, k=2), ROWS),
    "adaptive-avg-pool": (lambda: nn.AdaptiveAvgPool2d((4, 2)), IMAGES),
    "upsample": (lambda: nn.Upsample((2, 3)), IMAGES),
    "prelu": (nn.PReLU, IMAGES),
    "prelu-each": (lambda: nn.PReLU(7, init=-0.5), ROWS),
    "maxout": (lambda: nn.Maxout(2), IMAGES),
    "maxout-rows": (lambda: nn.Maxout(7), ROWS),
    "softmax": (nn.Softmax, IMAGES),
    "dropout": (lambda: nn.Dropout(0.3), IMAGES),
    "flatten": (nn.Flatten, IMAGES),
    "identity": (nn.Identity, IMAGES),
    "scale": (lambda: nn.Scale(-0.5), IMAGES),
    "subsample-pad": (lambda: nn.SubsamplePad(9, stride=2), IMAGES),
    **{name: (getattr(nn, function.layer), IMAGES) for name, function in POINTWISE.items()},
    "graph-of-skips": (
        lambda: nn.Graph(
            {
                "both": ("concatenate", "up", "first", "input"),
                "last": (nn.Conv2d(3, 1), "both"),
                "first": (nn.Conv2d(5, 3, padding=1), "input"),
                "down": (nn.MaxPool2d(2, ceil_mode=True), "first"),
                "inner": (nn.Conv2d(6, 3, padding=1, bias=False), "down"),
                "norm": (nn.BatchNorm2d(), "inner"),
                "relu": (nn.ReLU(), "norm"),
                "up": (nn.ConvTranspose2d(4, 2, stride=2, padding=((0, 0), (0, 1))), "relu"),
            },
            outputs="last",
        ),
        IMAGES,
    ),
    "graph-of-sums": (
        lambda: nn.Graph(
            {
                "a": (nn.Conv2d(4, 1), "input"),
                "b": (nn.Tanh(), "a"),
                "twice": ("sum", "a", "b", "a"),
                "view": (nn.Identity(), "input"),
                "all": ("sum", "twice", "view", "input"),
            },
            outputs=["all"],
        ),
        IMAGES,
    ),
    "graph-without-parameters": (lambda: nn.Graph({"a": ("sum", "input", "input")}, outputs="a"), ROWS),
    "residual": (lambda: nn.Residual(nn.Conv2d(4, 3, padding=1)), IMAGES),
    "residual-of-activation": (lambda: nn.Residual(nn.Sigmoid()), IMAGES),
    "residual-shortcut": (
        lambda: nn.Residual(nn.Conv2d(6, 2, stride=2, padding="same"), nn.SubsamplePad(6, stride=2)),
        IMAGES,
    ),
    "residual-of-identities": (lambda: nn.Residual(nn.Identity(), nn.Identity()), IMAGES),
    "residual-of-views": (lambda: nn.Residual(nn.Sequential(nn.Flatten(), nn.Identity()), nn.Flatten()), IMAGES),
    "residual-of-rows": (lambda: nn.Residual(nn.Sequential(nn.Identity()), nn.Scale(2.0)), ROWS),
    "residual-of-nothing-but-views": (lambda: nn.Residual(nn.Sequential(nn.Sequential(nn.Identity()))), IMAGES),
    # What the last step of a row gives is not the container's to add into where backward looks at it.
    "residual-of-conv-relu-pool": (lambda: nn.Residual(row("relu", "pool")), IMAGES),
    "residual-of-conv-norm-relu-pool": (lambda: nn.Residual(row("norm", "relu", "pool")), IMAGES),
    "residual-of-conv-norm-relu": (lambda: nn.Residual(row("norm", "relu")), IMAGES),
    "residual-of-conv-norm": (lambda: nn.Residual(row("norm")), IMAGES),
    "parallel-of-conv-relu-pool": (lambda: nn.Parallel(nn.Identity(), row("relu", "pool"), row("norm")), IMAGES),
    "parallel-of-views": (lambda: nn.Parallel(*(nn.Sequential(nn.Flatten()) for _ in range(3))), IMAGES),
    "parallel-sum": (lambda: nn.Parallel(nn.Identity(), nn.Tanh(), nn.Scale(3.0)), IMAGES),
    "parallel-concatenate": (
        lambda: nn.Parallel(nn.Conv2d(3, 1), nn.MaxPool2d(3, stride=1, padding=1), nn.ReLU(), mode="concatenate"),
        IMAGES,
    ),
}


@pytest.mark.float64
@pytest.mark.parametrize("name", LAYERS)
def test_gradients(backend, rng, name):
    make, shape = LAYERS[name]
    report = gradcheck(make(), rng.standard_normal(shape))
    assert report.checked >= 9


@pytest.mark.parametrize("name", LAYERS)
def test_kernels_compute_what_the_reference_does(rng, name):
    """In float32, forward and backward: that the reference's gradients are slopes is shown above."""
    make, shape = LAYERS[name]
    x, found = rng.standard_normal(shape).astype(np.float32), []
    for backend in CPU_BACKENDS:
        with fc.use_backend(backend), fc.random.stream(0, 0):
            layer = make().build(shape[1:], seed=1)
            y, context = layer.forward(x, training=True)
            grad = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
            found.append([y, layer.backward(grad, context), *(p.grad for p in layer.parameters())])
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(1, np.abs(want).max()))


def test_every_layer_is_checked():
    made = {type(make()).__name__ for make, _ in LAYERS.values()}
    layers = {
        name for name in nn.__all__ if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Layer)
    }
    assert layers - {"Layer", "Sequential"} == made


@pytest.mark.parametrize("name", LAYERS)
def test_shapes_are_inferred(backend, rng, name):
    make, shape = LAYERS[name]
    layer = make().build(shape[1:])
    for batch in (0, 3):
        x = fc.asarray(rng.standard_normal((batch, *shape[1:])).astype(np.float32))
        y = layer(x)
        assert y.shape == (batch, *layer.infer(shape[1:]))
        assert y.dtype == np.float32
        assert layer.forward(x, training=False)[1] is None


@pytest.mark.parametrize("name", LAYERS)
def test_inputs_stay_as_they_are(backend, rng, name):
    """Neither x nor grad_output is written, and no result is changed by what comes later."""
    make, shape = LAYERS[name]
    layer = make().build(shape[1:])
    x = fc.asarray(rng.standard_normal(shape).astype(np.float32))
    before = fc.to_numpy(x).copy()
    y, context = layer.forward(x, training=True)
    kept = fc.to_numpy(y).copy()
    grad = fc.asarray(rng.standard_normal(y.shape).astype(np.float32))
    grad_before = fc.to_numpy(grad).copy()
    first = fc.to_numpy(layer.backward(grad, context)).copy()
    again = layer.backward(grad, context)
    np.testing.assert_array_equal(fc.to_numpy(x), before)
    np.testing.assert_array_equal(fc.to_numpy(y), kept)
    np.testing.assert_array_equal(fc.to_numpy(grad), grad_before)
    np.testing.assert_array_equal(fc.to_numpy(again), first)
    if not name.startswith("graph"):  # which adds what comes back on several paths, or hands on what came on one
        assert layer.owns_grad is not np.shares_memory(fc.to_numpy(again), fc.to_numpy(grad))


@pytest.mark.parametrize("name", LAYERS)
def test_backward_without_input_grad(backend, rng, name):
    """The gradients of the parameters are the same bits whether that of the input is asked for or not."""
    make, shape = LAYERS[name]
    layer = make().build(shape[1:])
    x = fc.asarray(rng.standard_normal(shape).astype(np.float32))
    with fc.random.stream(0, 0):
        y, context = layer.forward(x, training=True)
    grads = []
    for needed in (True, False):
        layer.zero_grad()
        grad_input = layer.backward(fc.asarray(np.ones(y.shape, np.float32)), context, needs_input_grad=needed)
        assert (grad_input is None) is not needed
        grads.append([fc.to_numpy(p.grad).copy() for p in layer.parameters()])
    for with_input, without in zip(*grads, strict=True):
        np.testing.assert_array_equal(with_input, without)


@pytest.mark.parametrize("name", LAYERS)
def test_views_are_taken_as_they_are_meant(backend, rng, name):
    """Not contiguous, reversed, read-only and big-endian inputs give what a plain copy gives."""
    make, shape = LAYERS[name]
    layer = make().build(shape[1:])
    wide = rng.standard_normal((2 * shape[0], *shape[1:])).astype(np.float32)
    frozen = wide[::2].copy()
    frozen.flags.writeable = False
    for view in (wide[::2], wide[::2][..., ::-1], frozen, wide[::2].astype(">f4")):
        want = fc.to_numpy(layer(fc.asarray(np.array(view, np.float32, order="C"))))
        got = fc.to_numpy(layer(view))
        assert got.dtype == np.float32  # in native byte order
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", LAYERS)
def test_refuses_wrong_input(backend, rng, name):
    make, shape = LAYERS[name]
    layer = make()
    x = rng.standard_normal(shape).astype(np.float32)
    with pytest.raises(ArgumentError, match="not built"):
        layer.forward(fc.asarray(x), training=False)
    layer.build(shape[1:])
    with pytest.raises(DTypeError, match="float16"):
        layer(x.astype(np.float16))
    with pytest.raises(DTypeError, match="got float64; allowed: float32"):
        layer(x.astype(np.float64))
    with pytest.raises(DTypeError, match="int64"):
        layer(x.astype(np.int64))
    with pytest.raises(DTypeError, match="list"):
        layer(x.tolist())


VIEWS = {"identity", "residual-of-identities", "residual-of-rows", "residual-of-nothing-but-views"}


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"identity"}))
def test_refuses_the_context_of_an_evaluation(name):
    """Backward needs that of a forward in training."""
    make, shape = LAYERS[name]
    with fc.use_backend("numpy"):
        layer = make().build(shape[1:])
        y, context = layer.forward(np.ones(shape, np.float32), training=False)
        assert context is None
        with pytest.raises(ArgumentError, match=r"context of .+: got None; allowed: that of a forward with training="):
            layer.backward(np.ones(y.shape, np.float32), context)


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"identity", "residual-of-identities"}))
def test_refuses_the_context_of_another_layer(name):
    make, shape = LAYERS[name]
    with fc.use_backend("numpy"):
        layer = make().build(shape[1:])
        y = layer(np.ones(shape, np.float32))
        other = nn.Sequential(*(nn.Dense(2) for _ in range(7))).build((2,))
        _, foreign = other.forward(np.ones((1, 2), np.float32), training=True)
        for context in ("text", 3, foreign):
            with pytest.raises(ArgumentError, match=r"context of .+: got .*; allowed: that of its own forward with"):
                layer.backward(np.ones(y.shape, np.float32), context)


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - VIEWS))
def test_refuses_wrong_gradients(backend, rng, name):
    make, shape = LAYERS[name]
    layer = make().build(shape[1:])
    y, context = layer.forward(fc.asarray(rng.standard_normal(shape).astype(np.float32)), training=True)
    with pytest.raises(ShapeError, match="grad_output"):
        layer.backward(fc.asarray(np.ones((y.shape[0] + 1, *y.shape[1:]), np.float32)), context)
    with pytest.raises(ArgumentError, match="training=True"):
        layer.backward(y, None)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Conv2d(0, 3), ArgumentError, "out_channels"),
        (lambda: nn.Conv2d(4, 0), ShapeError, "kernel_size"),
        (lambda: nn.Conv2d(4, 3, padding="full"), ShapeError, "padding"),
        (lambda: nn.Conv2d(4, 3, padding=-1), ShapeError, "padding"),
        (lambda: nn.Conv2d(4, 3, groups=3), ArgumentError, "groups"),
        (lambda: nn.Conv2d(4, 3, init="xavier"), ArgumentError, "init"),
        (lambda: nn.ConvTranspose2d(4, 3, output_padding=1), ArgumentError, "less than the stride"),
        (lambda: nn.ConvTranspose2d(4, 3, groups=3), ArgumentError, "groups"),
        (lambda: nn.ConvTranspose2d(4, 3, stride=2, padding="same", output_padding=1), ArgumentError, "'same'"),
        (lambda: nn.DepthwiseConv2d(3, 0), ArgumentError, "multiplier"),
        (lambda: nn.GroupNorm(0), ArgumentError, "num_groups"),
        (lambda: nn.GroupNorm(1, eps=0), ArgumentError, "eps"),
        (lambda: nn.LocalResponseNorm(0), ArgumentError, "size"),
        (lambda: nn.LocalResponseNorm(k=-1), ArgumentError, "k: got"),
        (lambda: nn.AdaptiveAvgPool2d((0, 2)), ShapeError, "output_size"),
        (lambda: nn.Upsample(1.5), ShapeError, "scale_factor"),
        (lambda: nn.PReLU(init=np.inf), ArgumentError, "init"),
        (lambda: nn.Maxout(0), ArgumentError, "pieces"),
        (lambda: nn.Dense(-1), ArgumentError, "out_features"),
        (lambda: nn.MaxPool2d(2, stride=0), ShapeError, "stride"),
        (lambda: nn.BatchNorm2d(eps=0), ArgumentError, "eps"),
        (lambda: nn.BatchNorm2d(momentum=1.5), ArgumentError, "momentum"),
        (lambda: nn.Dropout(1.0), ArgumentError, "p: got"),
        (lambda: nn.Scale(float("nan")), ArgumentError, "factor"),
        (nn.Sequential, ArgumentError, "layers"),
        (lambda: nn.Sequential(nn.ReLU), ArgumentError, r"layers\[0\]"),
        (lambda: nn.Residual(None), ArgumentError, "body"),
        (lambda: nn.Parallel(nn.ReLU()), ArgumentError, "branches"),
        (lambda: nn.Parallel(nn.ReLU(), nn.ReLU(), mode="mean"), ArgumentError, "mode"),
    ],
)
def test_refuses_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(4, 3), nn.Dense(3)), r"layer 1 \(Dense\): input_shape: got \(4, 3, 4\)"),
        (lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(4, 3, in_channels=3)), r"layer 1 \(Conv2d\).*in_channels"),
        (lambda: nn.Conv2d(6, 3, groups=3), "groups"),
        (lambda: nn.Conv2d(6, 9), "larger than the input"),
        (lambda: nn.MaxPool2d(2, padding=2), "padding"),
        (lambda: nn.Residual(nn.Conv2d(6, 3, padding=1)), r"shortcut: got output shape \(6, 5, 4\)"),
        (lambda: nn.Parallel(nn.ReLU(), nn.Conv2d(4, 3), mode="concatenate"), r"branches\[1\]"),
        (lambda: nn.Parallel(nn.ReLU(), nn.Conv2d(5, 1)), r"branches\[1\]"),
        (lambda: nn.SubsamplePad(3), "at most 3"),
        (lambda: nn.ConvTranspose2d(3, 3, groups=3), "groups"),
        (lambda: nn.ConvTranspose2d(3, 2, padding=4), "leaves a map of -1 x -2"),
        (lambda: nn.GroupNorm(3), "num_groups"),
        (lambda: nn.PReLU(3), "num_parameters"),
        (lambda: nn.Maxout(3), "pieces"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Upsample(2)), r"layer 1 \(Upsample\)"),
        (lambda: nn.Sequential(nn.Flatten(), nn.GlobalAvgPool2d()), r"layer 1 \(GlobalAvgPool2d\)"),
    ],
)
def test_build_refuses_what_does_not_fit(make, message):
    with fc.use_backend("numpy"), pytest.raises((ShapeError, ArgumentError), match=message):
        make().build(IMAGES[1:])


@pytest.mark.parametrize("shape", [(), (0, 5, 4), (6, -1, 4)])
def test_build_refuses_wrong_shapes(shape):
    with fc.use_backend("numpy"), pytest.raises(ShapeError, match="input_shape"):
        nn.ReLU().build(shape)


def test_activations_are_the_functions(rng):
    """Each with settings that are not the default."""
    x = rng.standard_normal((3, 7))
    made = {}
    with fc.use_backend("numpy"):
        for name, function in POINTWISE.items():
            settings = {parameter.name: 0.7 * parameter.default for parameter in function.parameters}
            made[name] = getattr(nn, function.layer)(**settings)
            assert made[name].settings() == settings
            y, context = made[name].build((7,), np.float64).forward(x, training=True)
            np.testing.assert_array_equal(y, getattr(fc.functional, name)(x, **settings))
            backward = getattr(fc.functional, f"{name}_backward")
            grad = backward(np.ones_like(x), y if function.needs == "y" else x, *settings.values())
            np.testing.assert_array_equal(made[name].backward(np.ones_like(x), context), grad)
        np.testing.assert_array_equal(made["leaky_relu"](x), np.where(x > 0, x, 0.7 * 0.01 * x))
        np.testing.assert_allclose(made["elu"](x), np.where(x > 0, x, 0.7 * np.expm1(x)))


def test_a_layer_and_a_function_say_what_the_list_says():
    for name, function in POINTWISE.items():
        layer, defaults = getattr(nn, function.layer), {p.name: p.default for p in function.parameters}
        assert function.formula in layer.__doc__
        assert function.formula in getattr(fc.functional, name).__doc__
        assert function.gradient in getattr(fc.functional, f"{name}_backward").__doc__
        for made in (layer.__init__, getattr(fc.functional, name), getattr(fc.functional, f"{name}_backward")):
            found = inspect.signature(made).parameters.values()
            assert {p.name: p.default for p in found if p.default is not p.empty} == defaults


def test_arguments_that_a_pointwise_function_has_not_are_refused_by_its_name():
    x = np.zeros(3)
    with pytest.raises(fc.errors.ArgumentError, match=r"slope: got it for ELU.*allowed: alpha"):
        nn.ELU(slope=1)
    with pytest.raises(fc.errors.ArgumentError, match=r"arguments: got 1 without a name for ReLU; allowed: none"):
        nn.ReLU(0.3)
    for call, name in (
        (lambda: fc.functional.relu(x, 0.3), "relu: too many"),
        (lambda: fc.functional.elu_backward(x), "elu_backward: missing a required argument: 'x'"),
    ):
        with pytest.raises(TypeError, match=name):
            call()


def test_other_backend_is_named(rng):
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Dense(3)).build((4,))
    if "numba" not in fc.available_backends():
        pytest.skip("the backend numba is not there")
    x = rng.standard_normal((2, 4)).astype(np.float32)
    with fc.use_backend("numba"):
        with pytest.raises(BackendMismatchError, match=r"'numpy'.*'numba'"):
            model(x)
        y = model.to("numba")(x)
        assert model.parameters()[0].arena.backend.name == "numba"
    with fc.use_backend("numpy"):
        np.testing.assert_allclose(model.to("numpy")(x), y, rtol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_settings_are_all_arguments(name):
    """One that is forgotten would be replayed as it was when a step was captured."""
    layer = LAYERS[name][0]()
    arguments = inspect.signature(type(layer).__init__).parameters.values()
    wanted = {p.name for p in arguments if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} - {"self"}
    assert layer.settings() is not None
    assert set(layer.settings()) >= wanted


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [(lambda: nn.BatchNorm2d(), "eps", 0.5), (lambda: nn.Dropout(), "p", 0.1), (lambda: nn.ELU(), "alpha", 2.0)],
)
def test_settings_are_those_of_now(make, name, value):
    layer = make()
    setattr(layer, name, value)
    assert layer.settings()[name] == value
