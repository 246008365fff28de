"""The checks check: right gradients pass, wrong ones are caught, kinks are seen."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.testing import CheckError, adjoint_check, compare, gradcheck


class Wrong(nn.Conv2d):
    """A convolution with one thing wrong."""

    def __init__(self, fault):
        super().__init__(3, 3, padding=1)
        self.fault = fault

    def backward(self, grad_output, context, *, needs_input_grad=True):
        grad = fc.to_numpy(super().backward(grad_output, context)).copy()
        parameter = {"weight": self.weight, "bias": self.bias}.get(self.fault)
        if parameter is not None:
            values = fc.to_numpy(parameter.grad)
            values *= 1 + 1e-6
        if self.fault == "input":
            grad *= 1 - 1e-6
        if self.fault == "one cell":
            grad[0, 2, 1, 1] += 1e-3
        if self.fault == "nan":
            grad[0, 0, 0, 0] = np.nan
        if self.fault == "shape":
            grad = grad[:, :-1]
        return fc.asarray(grad)


@pytest.mark.float64
def test_a_right_layer_passes(backend, rng):
    assert gradcheck(Wrong("nothing"), rng.standard_normal((2, 4, 4, 2))).ok


@pytest.mark.float64
@pytest.mark.parametrize(
    ("fault", "variable"),
    [("weight", "weight"), ("bias", "bias"), ("input", "x"), ("one cell", "x"), ("nan", "x"), ("shape", "x")],
)
def test_wrong_gradients_are_caught(backend, rng, fault, variable):
    with pytest.raises(CheckError, match=rf"(worst: {variable}|gradient of {variable})"):
        gradcheck(Wrong(fault), rng.standard_normal((2, 4, 4, 2)))


def test_report_instead_of_exception(rng):
    with fc.use_backend("numpy"):
        report = gradcheck(Wrong("bias"), rng.standard_normal((2, 4, 4, 2)), raise_on_failure=False)
    assert not report.ok
    assert report.worst.variable == "bias"
    assert report.worst.error == pytest.approx(1e-6, rel=0.1)
    assert "FAILED" in str(report)


@pytest.mark.float64
def test_a_layer_is_left_as_it_was(backend, rng):
    layer = nn.Sequential(nn.Dense(3), nn.BatchNorm2d()).build((4,), np.float64)
    before = [fc.to_numpy(t.data).copy() for t in layer.tensors()]
    gradcheck(layer, rng.standard_normal((5, 4)))
    for tensor, value in zip(layer.tensors(), before, strict=True):
        np.testing.assert_array_equal(fc.to_numpy(tensor.data), value)


def relu(x):
    return np.maximum(x, 0), lambda g: g * (x > 0)


def test_kinks_in_reach_are_stepped_around(rng):
    """Points at a distance of 1e-5 from the kink of ReLU: the largest steps would cross it."""
    x = 1e-5 * np.sign(rng.standard_normal(20))
    with fc.use_backend("numpy"):
        report = gradcheck(relu, x)
    assert report.kinks == 0
    assert report.checked == 9


def test_kinks_at_the_point_are_left_out(rng):
    x = rng.standard_normal(40)
    x[:20] = 0.0
    with fc.use_backend("numpy"):
        report = gradcheck(relu, x)
        assert 0 < report.kinks < 9
        assert report.ok
        with pytest.raises(CheckError, match="nothing could be compared of: x"):
            gradcheck(relu, np.zeros(10))


def test_a_kink_is_no_excuse(rng):
    """Wrong where it is smooth, right at the kinks."""
    with fc.use_backend("numpy"), pytest.raises(CheckError):
        gradcheck(lambda x: (np.maximum(x, 0), lambda g: 1.001 * g * (x > 0)), rng.standard_normal(40))


@pytest.mark.parametrize(("factor", "ok"), [(1 + 0.9e-7, True), (1 + 1.1e-7, False)])
def test_one_in_ten_million_is_the_tolerance(factor, ok):
    """Of a linear function, whose differences are exact up to rounding."""
    x = np.array([1.0, -2.0, 3.0])
    report = gradcheck(lambda x: (2 * x, lambda grad: 2 * factor * grad), x, raise_on_failure=False)
    assert report.ok == ok
    assert report.tolerance == 1e-7


@pytest.mark.float64
def test_functions_of_several_inputs(backend, rng):
    F = fc.functional

    def function(x, weight):
        return F.dense(x, weight), lambda g: (F.dense_backward_input(g, weight), F.dense_backward_weight(g, x))

    assert gradcheck(function, rng.standard_normal((3, 4)), rng.standard_normal((4, 2))).checked == 18

    def swapped(x, weight):
        return F.dense(x, weight), lambda g: (F.dense_backward_input(g, weight), 2 * F.dense_backward_weight(g, x))

    with pytest.raises(CheckError, match=r"worst: inputs\[1\]"):
        gradcheck(swapped, rng.standard_normal((3, 4)), rng.standard_normal((4, 2)))


@pytest.mark.parametrize("factor", [1, 2])
def test_several_outputs_are_checked_together(rng, factor):
    x = rng.standard_normal((2, 3))

    def function(x):
        return (x**2, x.sum(axis=1)), lambda grads: 2 * x * grads[0] + factor * grads[1][:, None]

    class Doubled(nn.Graph):
        """Its gradient is wrong, or not."""

        def backward(self, grad_output, context, *, needs_input_grad=True):
            return super().backward((grad_output[0], factor * grad_output[1]), context)

    graph = Doubled({"a": (nn.Dense(2), "input"), "b": (nn.Tanh(), "a"), "c": (nn.Dense(5), "a")}, ("b", "c"))
    with fc.use_backend("numpy"):
        for target in (function, graph):
            report = gradcheck(target, x, raise_on_failure=False)
            assert report.ok == (factor == 1)
            assert report.checked


def test_gradcheck_refuses(rng):
    with fc.use_backend("numpy"):
        x = rng.standard_normal((2, 3))
        with pytest.raises(DTypeError, match="float32"):
            gradcheck(nn.Dense(2), x.astype(np.float32))
        with pytest.raises(DTypeError, match="built in float32"):
            gradcheck(nn.Dense(2).build((3,)), x)
        with pytest.raises(ArgumentError, match="inputs: got 2"):
            gradcheck(nn.Dense(2), x, x)
        with pytest.raises(DTypeError, match="at least one"):
            gradcheck(relu)
        with pytest.raises(ShapeError, match=r"inputs: got shapes \[\(0, 3\)\]; allowed: at least one value"):
            gradcheck(nn.Dense(2), x[:0])
        with pytest.raises(ArgumentError, match="target: got 'dense'; allowed: a layer, or a function that returns"):
            gradcheck("dense", x)
        with pytest.raises(ArgumentError, match=r"target: got ndarray from <function .*; allowed: a layer, or a func"):
            gradcheck(lambda x: x, x)
        with pytest.raises(ArgumentError, match="tolerance: got -1; allowed: a finite number at least 0"):
            gradcheck(nn.Dense(2), x, tolerance=-1)
        with pytest.raises(ArgumentError, match="seed: got 'a'; allowed: an int"):
            gradcheck(nn.Dense(2), x, seed="a")
        with pytest.raises(ArgumentError, match=r"eps: got it for gradcheck, .* \(tolerance; the steps are chosen\)"):
            gradcheck(nn.Dense(2), x, eps=1e-3)


@pytest.mark.parametrize("first", ["kinks", "smooth"])
def test_a_variable_of_which_nothing_was_compared_fails(first):
    """One input is right, the other has a kink at every point: whichever comes first, that is no success."""
    kinks, smooth = np.zeros(10), np.linspace(1.0, 2.0, 10)

    def function(a, b):
        return np.abs(a) + np.abs(b), lambda g: (g * np.sign(a), g * np.sign(b))

    inputs = (kinks, smooth) if first == "kinks" else (smooth, kinks)
    name = "inputs[0]" if first == "kinks" else "inputs[1]"
    with fc.use_backend("numpy"):
        report = gradcheck(function, *inputs, raise_on_failure=False)
    assert not report.ok
    assert report.unchecked == (name,)
    assert (report.checked, report.kinks) == (9, 9)
    assert report.worst.excess(report.tolerance) <= 1  # what was compared is right
    assert f"nothing could be compared of: {name}" in str(report)
    with fc.use_backend("numpy"), pytest.raises(CheckError, match="nothing could be compared"):
        gradcheck(function, *inputs)


@pytest.mark.parametrize("large", [1e3, 1e6, 1e9])
def test_noise_is_that_of_rounding(large):
    """Large values round more, and so hide more of a gradient: as much as rounding explains, and hardly more."""
    x = np.linspace(-1.0, 1.0, 20)

    def function(wrong):
        return lambda v: (large + np.sin(v), lambda g: g * np.cos(v) * (1 + wrong))

    eps = np.finfo(np.float64).eps
    rounding = eps * large / 1e-3  # of one value, at the largest step
    with fc.use_backend("numpy"):
        report = gradcheck(function(0.0), x)
        assert 0.1 * rounding < report.worst.noise < 1000 * rounding, "a hundred times too much would hide a fault"
        for wrong in (3e3 * rounding, 1e6 * rounding):
            found = gradcheck(function(wrong + 1e-5), x, raise_on_failure=False)
            assert not found.ok, f"a gradient wrong by {wrong:.1g} passed, where values round to {rounding:.1g}"


ADJOINT = [
    ((2, 9, 8, 16), (3, 3, 16, 32), {"padding": 1}),
    ((2, 9, 7, 5), (3, 2, 5, 7), {"padding": ((1, 0), (2, 1)), "stride": 2}),
    ((1, 10, 9, 8), (3, 3, 2, 12), {"dilation": 2, "groups": 4, "padding": "same"}),
    ((3, 8, 8, 6), (3, 3, 1, 6), {"groups": 6, "padding": 1}),
    ((2, 6, 6, 3), (1, 1, 3, 4), {"stride": 2}),
    ((2, 10, 10, 4), (5, 5, 4, 8), {"padding": 2}),
    ((7, 33), (33, 9), {}),
]


@pytest.mark.parametrize(("x_shape", "weight_shape", "geometry"), ADJOINT)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.float64)])
def test_passes_are_adjoint(backend, x_shape, weight_shape, geometry, exact, dtype):
    report = adjoint_check(x_shape, weight_shape, **geometry, exact=exact, dtype=dtype)
    assert report.forward != 0.0
    if exact:
        assert report.forward == report.backward_input == report.backward_weight


def test_a_wrong_pass_is_caught(rng, monkeypatch):
    right = fc.functional.conv2d_backward_weight
    monkeypatch.setattr(fc.functional, "conv2d_backward_weight", lambda *a, **k: 1.0001 * right(*a, **k))
    with fc.use_backend("numpy"):
        with pytest.raises(CheckError, match="adjoint check FAILED"):
            adjoint_check((2, 5, 5, 3), (3, 3, 3, 4))
        assert not adjoint_check((2, 5, 5, 3), (3, 3, 3, 4), raise_on_failure=False).ok


@pytest.mark.parametrize(
    ("x_shape", "settings", "words"),
    [
        (5, {}, r"x_shape: got 5; allowed: \(N, H, W, C\) or \(N, C\), each an int of at least 1"),
        ((0, 5, 5, 2), {}, r"x_shape: got \(0, 5, 5, 2\)"),
        ((1, -5, 5, 2), {}, r"x_shape: got \(1, -5, 5, 2\)"),
        ((1, 5, 5, 2), {"dtype": "float16"}, "dtype: got float16; allowed: float32 or float64"),
        ((1, 5, 5, 2), {"seed": -1}, "seed: got -1; allowed: an int from 0"),
        ((1, 5, 5, 2), {"tolerance": "a"}, "tolerance: got 'a'; allowed: a finite number at least 0"),
        ((1, 5, 5, 2), {"strides": 2}, r"strides: got it for adjoint_check, .*nearest: 'stride'"),
    ],
)
def test_adjoint_check_refuses(x_shape, settings, words):
    with fc.use_backend("numpy"), pytest.raises((ArgumentError, ShapeError, DTypeError), match=words):
        adjoint_check(x_shape, (3, 3, 2, 4), **settings)


def test_compare_refuses(rng):
    with pytest.raises(ArgumentError, match=r"operation: got 'conv'; allowed: .*nearest: 'conv2d'"):
        compare("conv", rng.standard_normal(3))
    with pytest.raises(ArgumentError, match="tolerance: got nan; allowed: a finite number"):
        compare("relu", rng.standard_normal(3), tolerance=np.nan)


def test_compare(backend, rng):
    x = rng.standard_normal((2, 6, 6, 4)).astype(np.float32)
    w = rng.standard_normal((3, 3, 4, 5)).astype(np.float32)
    assert compare("conv2d", x, w, padding=1).errors[0] < 1e-4
    assert len(compare("max_pool2d", x, 2).errors) == 2
    x[0, 0, 0, 0] = np.nan
    assert compare("relu", x).errors == (0.0,)


def test_compare_takes_arrays_by_name(backend, rng):
    x = rng.standard_normal((2, 6, 6, 4)).astype(np.float32)
    w, bias = rng.standard_normal((3, 3, 4, 5)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    by_place = compare("conv2d", x, w, bias, padding=1)
    by_name = compare("conv2d", padding=1, bias=bias, weight=w, x=x)
    assert by_place == by_name
    assert by_name.tolerance == 1e-4  # that of float32, also if only names tell the type


@pytest.mark.parametrize(
    ("dtype", "fault", "passes"),
    [(np.float32, 1e-3, False), (np.float32, 2e-5, True), (np.float64, 1e-10, False), (np.float64, 1e-14, True)],
)
def test_compare_tells_faults_from_rounding(rng, monkeypatch, dtype, fault, passes):
    right, calls = fc.functional.relu, []

    def wrong(x):
        calls.append(x)  # the first call is the tested backend's
        return right(x) * x.dtype.type(1 + fault if len(calls) == 1 else 1)

    monkeypatch.setattr(fc.functional, "relu", wrong)
    found = compare("relu", rng.standard_normal((3, 3)).astype(dtype), backend="numpy", raise_on_failure=False)
    assert found.ok is passes
    assert found.errors[0] == pytest.approx(fault, rel=0.1, abs=2e-7 if dtype == np.float32 else 1e-15)


@pytest.mark.parametrize("fault", ["one index", "another type", "shape"])
def test_compare_looks_at_integers(rng, monkeypatch, fault):
    """The second result of a pooling tells where the largest values lie; the first is right."""
    right, calls = fc.functional.max_pool2d, []

    def wrong(x, kernel_size):
        y, argmax = right(x, kernel_size)
        calls.append(x)
        if len(calls) == 1:
            argmax = argmax.copy()
            if fault == "one index":
                argmax.flat[-1] ^= 1
            argmax = argmax.astype(np.float64) if fault == "another type" else argmax
            argmax = argmax[:, :1] if fault == "shape" else argmax
        return y, argmax

    monkeypatch.setattr(fc.functional, "max_pool2d", wrong)
    x = rng.standard_normal((1, 4, 4, 3))
    assert compare("max_pool2d", x, 2, backend="numpy", raise_on_failure=False).errors == (0.0, np.inf)
    calls.clear()
    with pytest.raises(CheckError, match="comparison FAILED"):
        compare("max_pool2d", x, 2, backend="numpy")


@pytest.mark.parametrize("fault", ["value", "shape", "nan"])
def test_compare_catches(rng, monkeypatch, fault):
    right = fc.functional.relu
    calls = []

    def wrong(x):
        y = right(x).copy()
        calls.append(y)
        if len(calls) == 1:  # the first call is the tested backend's, the second the reference's
            if fault == "value":
                y[0, 0] += 1e-2
            elif fault == "nan":
                y[0, 0] = np.nan
            else:
                y = y[:-1]
        return y

    monkeypatch.setattr(fc.functional, "relu", wrong)
    with pytest.raises(CheckError, match="relu on numpy: comparison FAILED"):
        compare("relu", rng.standard_normal((3, 3)), backend="numpy")
    with pytest.raises(ArgumentError, match="operation: got 'rely'"):
        compare("rely", rng.standard_normal(3), backend="numpy")
