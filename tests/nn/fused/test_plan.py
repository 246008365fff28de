"""The plan: made when a model is built or moved, of what it is made of then, and never changed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError
from fastconv.nn.containers.within import all_steps
from fastconv.nn.core.layer import arrange_all
from fastconv.nn.fused.endings import NormEnding
from fastconv.nn.fused.plan import fusing


class Growing(nn.Sequential):
    """A model of somebody's own to which layers are appended."""

    def append(self, layer: nn.Layer) -> None:
        self.layers = (*self.layers, layer)


def _layers() -> list[nn.Layer]:
    return [nn.Conv2d(16, 3), nn.BatchNorm2d(), nn.ReLU(), nn.Conv2d(4, 1), nn.ReLU()]


def test_nothing_of_it_can_be_set():
    model = nn.Sequential(*_layers()).build((6, 6, 2))
    for part in (model.plan, *model.plan.steps, model.plan.steps[0].after, model.plan.steps[0].tail):
        for field in dataclasses.fields(part):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(part, field.name, None)


def test_running_changes_nothing_of_it(backend):
    model = nn.Sequential(*_layers()).build((6, 6, 2))
    steps = model.plan.steps
    before = [{field.name: getattr(step, field.name) for field in dataclasses.fields(step)} for step in steps]
    x = fc.asarray(np.ones((2, 6, 6, 2), np.float32))
    y, context = model.forward(x, training=True)
    model.backward(y, context)
    model.compile((2, 6, 6, 2))(x)
    fc.explain(model, (2, 6, 6, 2))
    assert model.plan.steps is steps
    for step, fields in zip(steps, before, strict=True):
        assert all(getattr(step, name) is value for name, value in fields.items())


def test_a_model_has_none_before_it_is_built():
    model = nn.Sequential(*_layers())
    with pytest.raises(ArgumentError, match="not built"):
        _ = model.plan
    with pytest.raises(ArgumentError, match="not built"):
        model(np.ones((1, 6, 6, 2), np.float32))


def test_it_is_that_of_the_backend():
    if "numba" not in fc.available_backends():
        pytest.skip("the backend numba is not there")
    model = nn.Sequential(*_layers()).build((6, 6, 2))
    for name in ("numpy", "numba", "numpy"):
        model.to(name)
        with fc.use_backend(name) as backend:
            takes = "conv2d_backward_input_norm" in backend.native
        assert model.plan.steps[0].after.takes is (NormEnding if takes else None)
        assert model.plan.steps[1].before is model.plan.steps[0].after


def test_layers_appended_are_built_first(backend, rng):
    """Not run, not forgotten: an error says what to do, and after `build` values are kept."""
    model = Growing(*_layers()).build((6, 6, 2), seed=1)
    x = fc.asarray(rng.standard_normal((2, 6, 6, 2)).astype(np.float32))
    before = fc.to_numpy(model(x)).copy()
    model.append(nn.Flatten())
    for use in (model, model.compile, lambda x: model.forward(x, training=True)):
        with pytest.raises(ArgumentError, match="layers: got others than this Growing was built with"):
            use(x.shape if use == model.compile else x)
    same = nn.Sequential(*model.layers).build((6, 6, 2), seed=5)
    np.testing.assert_array_equal(fc.to_numpy(same(x)), before.reshape(2, -1))
    model.build((6, 6, 2))
    np.testing.assert_array_equal(fc.to_numpy(model(x)), before.reshape(2, -1))


def test_a_model_of_ones_own_class_runs_as_one_and_is_frozen_so():
    """Unless it computes something else; then it is taken as it is."""

    class Named(nn.Sequential):
        """Another name."""

    class Negative(nn.Sequential):
        def forward(self, x, *, training):
            y, context = super().forward(x, training=training)
            return -y, context

    x = np.random.default_rng(0).standard_normal((2, 6, 6, 2))
    with fc.use_backend("numpy"):
        want = nn.Sequential(*_layers()).build((6, 6, 2), np.float64, seed=2)(x)
        for kind, sign in ((Named, 1), (Negative, -1)):
            model = kind(*_layers()).build((6, 6, 2), np.float64, seed=2)
            np.testing.assert_array_equal(model(x), sign * want)
            np.testing.assert_allclose(model.compile(x.shape)(x), sign * want, rtol=1e-12, atol=1e-12)
            outer = nn.Sequential(nn.Residual(kind(*_layers()[:2]), nn.Conv2d(16, 3)), nn.ReLU()).build((6, 6, 2))
            assert (len(outer.plan.steps) == 1) == (kind is Named)


def test_models_have_steps_of_all_kinds():
    kinds = {type(step).__name__ for step in all_steps(fc.models.resnet20(seed=0))}
    assert kinds == {"ConvNorm", "ResidualActivation", "Single"}


def test_none_that_is_made_without_fusing_runs_layers_as_one():
    graph = nn.Graph({"a": (nn.Conv2d(4, 1), "input"), "b": (nn.ReLU(), "a"), "c": ("sum", "b", "input")}, "c")
    model = nn.Sequential(*_layers(), nn.Residual(nn.Sequential(graph))).build((6, 6, 2))
    token = fusing.set(False)
    try:
        arrange_all(model)
    finally:
        fusing.reset(token)
    assert all(len(step.layers) == 1 for step in all_steps(model.plan))
    arrange_all(model)
    assert sorted(len(step.layers) for step in all_steps(model.plan) if not step.inside) == [2, 2, 3]


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (lambda: [nn.Conv2d(4, 3), nn.BatchNorm2d(), nn.Mish(), nn.MaxPool2d(2)], [4]),
        (lambda: [nn.DepthwiseConv2d(3), nn.BatchNorm2d(), nn.Tanh()], [3]),
        (lambda: [nn.Conv2d(4, 3), nn.BatchNorm2d(), nn.PReLU()], [2, 1]),
        (lambda: [nn.Conv2d(4, 3), nn.ReLU(), nn.AvgPool2d(2)], [2, 1]),
        (lambda: [nn.Conv2d(4, 3), nn.PReLU()], [1, 1]),
        (lambda: [nn.Conv2d(4, 3), nn.Maxout(2)], [1, 1]),
        (lambda: [nn.Conv2d(4, 3), nn.LocalResponseNorm(3), nn.ReLU()], [1, 1, 1]),
        (lambda: [nn.Conv2d(4, 3), nn.GroupNorm(2), nn.ReLU()], [1, 1, 1]),
        (lambda: [nn.Conv2d(4, 3), nn.SyncBatchNorm(), nn.ReLU()], [1, 1, 1]),
        (lambda: [nn.ConvTranspose2d(4, 3), nn.BatchNorm2d(), nn.ReLU()], [1, 1, 1]),
    ],
)
def test_what_runs_by_itself_is_as_the_guide_says(make, sizes):
    """The guide of models lists what a convolution takes along."""
    model = nn.Sequential(*make()).build((8, 8, 4))
    assert [len(step.layers) for step in model.plan.steps] == sizes
