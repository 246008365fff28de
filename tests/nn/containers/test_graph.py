"""A graph computes what its layers do, with one head or several; what runs as one does so in it too."""

import copy
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, ShapeError

SHAPE = (8, 6, 3)


def unet():
    return nn.Graph(
        {
            "first": (nn.Conv2d(8, 3, padding=1), "input"),
            "relu": (nn.ReLU(), "first"),
            "pool": (nn.MaxPool2d(2), "relu"),
            "inner": (nn.Conv2d(16, 3, padding=1, bias=False), "pool"),
            "norm": (nn.BatchNorm2d(), "inner"),
            "inner_relu": (nn.ReLU(), "norm"),
            "up": (nn.ConvTranspose2d(8, 2, stride=2), "inner_relu"),
            "both": ("concatenate", "up", "relu"),
            "last": (nn.Conv2d(2, 1), "both"),
        },
        outputs="last",
    )


def heads():
    return nn.Graph(
        {
            "body": (nn.Conv2d(4, 3), "input"),
            "relu": (nn.ReLU(), "body"),
            "pool": (nn.GlobalAvgPool2d(), "relu"),
            "few": (nn.Dense(2), "pool"),
            "many": (nn.Dense(5), "pool"),
        },
        outputs=("few", "many"),
    )


def drawn(rng, *shape):
    return fc.asarray(rng.standard_normal(shape).astype(np.float32))


def test_gives_what_the_layers_give(backend, rng):
    model = unet().build(SHAPE, seed=3)
    layers = dict(model.children())
    x = drawn(rng, 2, *SHAPE)
    relu = layers["relu"](layers["first"](x))
    y = layers["norm"](layers["inner"](layers["pool"](relu)))
    up = layers["up"](layers["inner_relu"](y))
    both = fc.asarray(np.concatenate([fc.to_numpy(up), fc.to_numpy(relu)], axis=-1))
    np.testing.assert_allclose(fc.to_numpy(model(x)), fc.to_numpy(layers["last"](both)), rtol=1e-4, atol=1e-5)
    assert model.infer(SHAPE) == (8, 6, 2)


@pytest.mark.float64
def test_several_heads_give_a_tuple_and_take_one(backend, rng):
    model = heads().build(SHAPE, np.float64, seed=1)
    x = fc.asarray(rng.standard_normal((3, *SHAPE)))
    (few, many), context = model.forward(x, training=True)
    assert (few.shape, many.shape) == ((3, 2), (3, 5))
    assert model.infer(SHAPE) == ((2,), (5,))
    grads = [fc.asarray(rng.standard_normal(y.shape)) for y in (few, many)]
    model.zero_grad()
    whole = fc.to_numpy(model.backward(tuple(grads), context)).copy()
    body = fc.to_numpy(model.parameters()[0].grad).copy()
    total, parts = 0, 0
    for chosen in range(2):  # the gradient is linear: one head after the other
        one = [grad if i == chosen else fc.asarray(np.zeros(grad.shape)) for i, grad in enumerate(grads)]
        model.zero_grad()
        total = total + fc.to_numpy(model.backward(tuple(one), context))
        parts = parts + fc.to_numpy(model.parameters()[0].grad)
    np.testing.assert_allclose(whole, total, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(body, parts, rtol=1e-10, atol=1e-12)
    for wrong in (grads[0], (grads[0],)):
        with pytest.raises(ArgumentError, match="a tuple of 2 arrays, one for each of few, many"):
            model.backward(wrong, context)
    predicted = model.predict(x, batch_size=2)
    for ours, theirs in zip(predicted, (few, many), strict=True):
        np.testing.assert_allclose(fc.to_numpy(ours), fc.to_numpy(theirs), rtol=1e-12)


@pytest.mark.float64
@pytest.mark.parametrize("make", [unet, heads])
def test_a_plan_gives_what_the_model_gives(backend, rng, make):
    model = make().build(SHAPE, np.float64, seed=2)
    plan = model.compile((2, *SHAPE))
    for _ in range(2):
        x = fc.asarray(rng.standard_normal((2, *SHAPE)))
        got, want = plan(x), model(x)
        pairs = zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]
        for ours, theirs in pairs:
            np.testing.assert_allclose(fc.to_numpy(ours), fc.to_numpy(theirs), rtol=1e-9, atol=1e-12)
    want_shape = tuple(tuple(y.shape) for y in want) if isinstance(want, tuple) else tuple(want.shape)
    assert plan.output_shape == want_shape


def test_layers_in_a_row_run_as_one():
    with fc.use_backend("numba"):
        rows = fc.explain(unet().build(SHAPE), (2, *SHAPE)).rows
    fused = [row.names for row in rows if row.operations]
    assert ("inner", "norm", "inner_relu") in fused
    assert ("first", "relu") in fused
    assert all(row.forward for row in rows)


def test_parts_without_parameters_are_left_out_backward(rng):
    """Before the first parameter nothing is computed where the gradient of the input is not asked for."""
    tanh, asked = nn.Tanh(), []
    model = nn.Graph({"a": (tanh, "input"), "b": (nn.Conv2d(2, 1), "a"), "c": ("sum", "b", "b")}, "c")
    with fc.use_backend("numpy") as backend:
        model.build(SHAPE)
        y, context = model.forward(drawn(rng, 2, *SHAPE), training=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend, "activate_backward", lambda *a, **k: asked.append(a), raising=False)
            assert model.backward(y, context, needs_input_grad=False) is None
            assert not asked
            model.backward(y, context)
            assert len(asked) == 1


def test_a_graph_without_parameters_needs_no_gradient(backend, rng):
    model = nn.Graph({"a": (nn.ReLU(), "input"), "b": ("sum", "a", "input")}, "b").build(SHAPE)
    y, context = model.forward(drawn(rng, 2, *SHAPE), training=True)
    assert model.backward(y, context, needs_input_grad=False) is None


@pytest.mark.float64
def test_a_layer_that_comes_twice_shares_its_parameters(backend, rng):
    dense = nn.Dense(4)
    model = nn.Graph({"a": (dense, "input"), "b": (dense, "a"), "c": ("sum", "a", "b")}, "c").build((4,), np.float64)
    assert len(model.parameters()) == 2
    x = rng.standard_normal((3, 4))
    weight, bias = (np.array(fc.to_numpy(p.data)) for p in model.parameters())
    a = x @ weight + bias
    np.testing.assert_allclose(fc.to_numpy(model(fc.asarray(x))), a + a @ weight + bias, rtol=1e-10)


@pytest.mark.parametrize("mode", ["sum", "concatenate"])
def test_maps_that_do_not_fit_are_named(mode):
    model = nn.Graph({"small": (nn.Conv2d(3, 3), "input"), "joined": (mode, "input", "small")}, "joined")
    with (
        fc.use_backend("numpy"),
        pytest.raises(ShapeError, match=r"nodes\['joined'\]: got shape \(6, 4, 3\) of 'small'"),
    ):
        model.build(SHAPE)


def test_an_error_inside_names_the_node():
    model = nn.Graph({"a": (nn.Flatten(), "input"), "far": (nn.Conv2d(3, 3), "a")}, "far")
    with fc.use_backend("numpy"), pytest.raises(ShapeError, match=r"layer far \(Conv2d\)"):
        model.build(SHAPE)


def test_is_saved_copied_summed_up_and_shown(tmp_path, rng):
    with fc.use_backend("numba"):
        model, other = unet().build(SHAPE, seed=1), unet().build(SHAPE, seed=2)
        x = drawn(rng, 2, *SHAPE)
        model.save_weights(tmp_path / "weights")
        other.load_weights(tmp_path / "weights")
        for same in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            np.testing.assert_array_equal(same(x), model(x))
        assert "first.weight" in model.named_tensors()
        summary = model.summary()
        assert [row.name for row in summary.rows] == [name for name, _ in model.children()]
        assert summary.parameters == sum(p.size for p in model.parameters())
    assert "both = concatenate(up, relu)" in repr(model)
    assert " at 0x" not in repr(model)


def test_one_in_a_row_is_a_chain_and_no_other_is():
    layers = nn.Conv2d(4, 3), nn.ReLU()
    row = nn.Graph({"a": (layers[0], "input"), "b": (layers[1], "a")}, "b")
    assert row.structure().layers == layers
    twice = nn.Graph({"a": (layers[0], "input"), "b": (layers[1], "a")}, ("a", "b"))
    joined = nn.Graph({"a": ("sum", "input", "input")}, "a")
    assert [graph.structure() for graph in (twice, joined, unet(), heads())] == [None] * 4


def test_what_is_unfrozen_once_it_is_built_gets_gradients():
    with fc.use_backend("numpy"):
        graph = nn.Graph({"a": (nn.Dense(3), "input"), "b": ("sum", "a", "input")}, "b").build((3,)).freeze()
        model = nn.Sequential(graph, nn.Dense(2)).build((3,), seed=0)
        y, context = model.forward(np.ones((2, 3), np.float32), training=True)
        for frozen in (True, False, True):
            graph.freeze() if frozen else graph.unfreeze()
            model.zero_grad()
            model.backward(y, context, needs_input_grad=False)
            assert [parameter.has_grad for parameter in graph.parameters()] == [not frozen] * 2
        fresh = nn.Graph({"a": (nn.Dense(3), "input")}, "a").build((3,)).freeze()
        fresh.backward(*fresh.forward(np.ones((2, 3), np.float32), training=True), needs_input_grad=False)
        fresh.build((3,))  # anew, and not frozen
        fresh.backward(*fresh.forward(np.ones((2, 3), np.float32), training=True), needs_input_grad=False)
        assert all(parameter.has_grad for parameter in fresh.parameters())


def first_of_several():
    """A layer of somebody's own that takes them."""

    class First(nn.Layer):
        def infer(self, input_shape):
            return input_shape[0]

        def forward(self, x, *, training):
            return x[0], None

        def backward(self, grad_output, context, *, needs_input_grad=True):
            return grad_output

    return First()


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: nn.Sequential(heads(), nn.ReLU()), r"layer 1 \(ReLU\): x"),
        (lambda: nn.Sequential(heads(), nn.Flatten()), r"layer 1 \(Flatten\): x"),
        (lambda: nn.Sequential(heads(), nn.Residual(nn.Sequential(nn.Tanh()))), r"layer 1.body.0 \(Tanh\): x"),
        (lambda: nn.Sequential(heads(), nn.Graph({"a": (first_of_several(), "input")}, "a")), "x of Graph"),
        (lambda: nn.Graph({"a": (heads(), "input"), "b": (nn.ReLU(), "a")}, "b"), r"layer b \(ReLU\): x"),
        (lambda: nn.Graph({"a": (heads(), "input"), "b": ("sum", "a", "a")}, "b"), r"nodes\['b'\], 'a'"),
        (lambda: nn.Graph({"a": (heads(), "input"), "b": ("concatenate", "a", "a")}, "b"), r"nodes\['b'\], 'a'"),
        (lambda: nn.Graph({"a": (nn.ReLU(), "input"), "b": (heads(), "a")}, ("a", "b")), "outputs, 'b'"),
        (lambda: nn.Parallel(heads(), heads()), "branch '0' of Parallel"),
        (lambda: nn.Parallel(nn.Flatten(), heads(), mode="concatenate"), "branch '1' of Parallel"),
        (lambda: nn.Residual(heads(), heads()), "branch 'body' of Residual"),
    ],
)
def test_several_outputs_are_refused_where_one_is_taken(make, where):
    message = where + r": got 2 outputs, of shapes \(\(2,\), \(5,\)\); allowed: one array"
    with fc.use_backend("numpy"), pytest.raises(ShapeError, match=message):
        make().build(SHAPE)


def test_a_layer_of_ones_own_may_take_several_outputs(rng):
    with fc.use_backend("numpy"):
        model = nn.Sequential(heads(), first_of_several()).build(SHAPE)
        assert model(drawn(rng, 3, *SHAPE)).shape == (3, 2)


def test_several_outputs_end_what_is_around():
    with fc.use_backend("numpy"):
        model = nn.Graph({"a": (nn.Sequential(nn.ReLU(), heads()), "input")}, "a").build(SHAPE)
        y, context = model.forward(np.ones((1, *SHAPE), np.float32), training=True)
        assert [part.shape for part in y] == [(1, 2), (1, 5)]
        assert model.backward(y, context).shape == (1, *SHAPE)


def test_joins_alone_with_several_outputs_are_summed_up():
    joins = {"a": ("sum", "input", "input"), "b": ("concatenate", "a", "input")}
    (row,) = nn.Graph(joins, ("a", "b")).summary((2, 3)).rows
    assert (row.output_shape, row.nbytes) == (((2, 3), (2, 6)), 4 * (6 + 12))
    assert "2 x 3, 2 x 6" in str(nn.Graph(joins, ("a", "b")).summary((2, 3)))
