"""Attributions against differences, and against values that are known."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, ShapeError
from fastconv.training.diagnostics import grad_cam, gradient_times_input, occlusion, saliency

from ..trainers import model_of
from .containers import heads, pair


@pytest.fixture
def trained(rng):
    """A model with running statistics of its own, in float64, and images."""
    with fc.use_backend("numpy"), fc.precision("strict"):
        model = model_of(dtype=np.float64)
        x = rng.standard_normal((3, 8, 8, 2))
        for _ in range(3):
            model.forward(rng.standard_normal((8, 8, 8, 2)) + 1, training=True)
        yield model, x


def test_gradients_are_those_of_evaluation(trained, rng):
    model, x = trained
    before = {tensor.name: np.array(tensor.data) for tensor in model.tensors()}
    found = gradient_times_input(model, x, [2, 0, 1])
    sizes = saliency(model, x, [2, 0, 1])
    for place in ((0, 3, 4), (1, 0, 0), (2, 7, 5)):
        slopes = []
        for channel in range(2):
            step = np.zeros_like(x)
            step[(*place, channel)] = 1e-6
            score = [model(x + sign * step)[place[0], [2, 0, 1][place[0]]] for sign in (1, -1)]
            slopes.append((score[0] - score[1]) / 2e-6)
        assert found[place] == pytest.approx((np.array(slopes) * x[place]).sum(), abs=1e-7)
        assert sizes[place] == pytest.approx(np.abs(slopes).max(), abs=1e-7)
    for tensor in model.tensors():
        np.testing.assert_array_equal(tensor.data, before[tensor.name])
    assert not any(parameter.has_grad or parameter.is_frozen for parameter in model.parameters())
    best = np.asarray(model(x)).argmax(1)
    np.testing.assert_array_equal(saliency(model, x), saliency(model, x, best))


def test_what_a_square_covers(trained):
    model, x = trained
    found = occlusion(model, x, 1, size=3, stride=2, fill=0.5)
    assert found.shape == (3, 3, 3)
    covered = x.copy()
    covered[:, 2:5, 4:7] = 0.5
    np.testing.assert_allclose(
        found[:, 1, 2], np.asarray(model(x))[:, 1] - np.asarray(model(covered))[:, 1], atol=1e-12
    )


@pytest.mark.parametrize("backend", ["numpy", "numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_maps_that_speak_for_a_class(backend, rng):
    """Behind a mean and a dense layer the weights of Grad-CAM are that layer's, by the number of places."""
    with fc.use_backend(backend), fc.precision("strict"):
        layers = (nn.Conv2d(4, 3), nn.ReLU(), nn.Dropout(0.5), nn.GlobalAvgPool2d(), nn.Dense(3))
        model = nn.Sequential(*layers).build((6, 6, 2), seed=1)
        x = fc.asarray(rng.standard_normal((2, 6, 6, 2)).astype(np.float32))
        maps = fc.to_numpy(layers[1](layers[0](x)))
        want = np.maximum((maps * fc.to_numpy(layers[4].weight.data)[:, 2] / 16).sum(-1), 0)
        np.testing.assert_allclose(grad_cam(model, x, 2), want, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(grad_cam(model, x, 2, layer="1"), want, rtol=1e-4, atol=1e-6)
        assert (grad_cam(model, x, 2, layer="0") != want).any()


@pytest.mark.parametrize("function", [saliency, gradient_times_input, occlusion, grad_cam])
def test_what_cannot_be_is_refused(trained, function):
    model, x = trained
    for classes in (3, -1, [0, 1], 1.0, [0, 1, 3]):
        with pytest.raises(ArgumentError, match=r"classes: got .*; allowed: one of 0 to 2, or 3 of them"):
            function(model, x, classes)
    with pytest.raises(ShapeError, match=r"x: got shape \(0, 8, 8, 2\); allowed: \(N, H, W, C\)"):
        function(model, x[:0])
    maps = nn.Sequential(nn.Conv2d(2, 3)).build((8, 8, 2), np.float64)
    with pytest.raises(ShapeError, match=r"model: got one that puts out \(3, 6, 6, 2\)"):
        function(maps, x)


def test_settings_that_cannot_be(trained):
    model, x = trained
    with pytest.raises(ArgumentError, match="size: got 9; allowed: at most 8"):
        occlusion(model, x, size=9)
    with pytest.raises(ArgumentError, match="stride: got 0"):
        occlusion(model, x, stride=0)
    with pytest.raises(ArgumentError, match=r"layer: got '7'; allowed: one that puts out maps: 0, 1, 2, 3, "):
        grad_cam(model, x, layer="7")
    dense = nn.Sequential(nn.Flatten(), nn.Dense(2)).build((8, 8, 2), np.float64)
    with pytest.raises(ArgumentError, match="layer: got None; allowed: one that puts out maps: none"):
        grad_cam(dense, x)


def test_maps_of_a_graph_are_those_of_a_sequential(rng):
    with fc.use_backend("numpy"):
        x = rng.standard_normal((2, 6, 6, 2)).astype(np.float32)
        model, graph = pair("flat")
        np.testing.assert_array_equal(grad_cam(graph, x), grad_cam(model, x))
        np.testing.assert_array_equal(grad_cam(graph, x, layer="n0"), grad_cam(model, x, layer="0"))


@pytest.mark.parametrize("function", [saliency, gradient_times_input, occlusion, grad_cam])
def test_several_outputs_are_no_scores(function):
    with fc.use_backend("numpy"), pytest.raises(ShapeError, match=r"puts out \(\(1, 2\), \(1, 5\)\); allowed: scores"):
        function(heads().build((8, 8, 1)), np.ones((1, 8, 8, 1), np.float32))


def test_arguments_of_other_libraries_are_told():
    with pytest.raises(ArgumentError, match=r"^target_layer: got it for grad_cam, .*\(layer\)"):
        grad_cam(None, None, target_layer="0")
    with pytest.raises(ArgumentError, match=r"^arguments: got 4 without a name for occlusion; allowed: 3"):
        occlusion(None, None, 1, 8)
