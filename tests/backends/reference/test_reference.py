"""The reference against code that shares nothing with it: loops over single numbers, hand-computed values, PyTorch."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from fastconv.backends import get_backend
from fastconv.backends.contract.types import RandomKey
from fastconv.backends.reference.training import philox4x32, random_words
from fastconv.kernels.epilogue import NO_EPILOGUE
from fastconv.kernels.losses import LOSSES
from fastconv.kernels.pointwise import POINTWISE
from fastconv.kernels.update_rules import UPDATE_RULES
from tests.backends.cases.conv import CONVS, Conv, prepared_weight
from tests.backends.cases.pool import BOTH, DILATED, Pool
from tests.compare import assert_close

SMALL_CONVS = [c for c in CONVS if math.prod(c.y_shape) * math.prod(c.w_shape[:3]) <= 60_000 and not c.infinite]
SMALL_POOLS = [p for p in BOTH + DILATED if math.prod(p.y_shape) * math.prod(p.kernel) <= 8_000]


@pytest.fixture
def reference():
    return get_backend("numpy")


def connections(c: Conv):
    """Yield every (n, p, q, k), (n, h, w, c), (r, s, c, k) that one product of the convolution joins."""
    n, height, width, _ = c.x_shape
    _, p_size, q_size, k_size = c.y_shape
    per_group, out_per_group = c.c // c.groups, c.k // c.groups
    for i, p, q, k in itertools.product(range(n), range(p_size), range(q_size), range(k_size)):
        for r, s, j in itertools.product(range(c.kernel[0]), range(c.kernel[1]), range(per_group)):
            h = p * c.stride[0] - c.padding[0][0] + r * c.dilation[0]
            w = q * c.stride[1] - c.padding[1][0] + s * c.dilation[1]
            if 0 <= h < height and 0 <= w < width:
                yield (i, p, q, k), (i, h, w, k // out_per_group * per_group + j), (r, s, j, k)


def reference_conv(backend, c: Conv, direction: str, **arrays):
    out, pool = arrays.pop("out"), backend.pool
    if direction == "backward_weight":
        arguments = (arrays["grad_output"], arrays["x"])
        how = {"geometry": c.geometry, "precision": "strict", "algorithm": "shapes"}
        backend.conv2d_backward_weight(*arguments, **how, out=out, workspace=pool)
        return out
    weight = prepared_weight(backend, arrays["weight"], direction, replace(c, precision="strict"), pool)
    if direction == "forward":
        backend.conv2d(arrays["x"], weight, None, NO_EPILOGUE, out=out, workspace=pool)
    else:
        backend.conv2d_backward_input(arrays["grad_output"], weight, out=out, workspace=pool)
    return out


def test_enough_small_cases() -> None:
    assert len(SMALL_CONVS) >= 20
    assert len(SMALL_POOLS) >= 15
    assert any(c.groups > 1 and c.dilation != (1, 1) for c in SMALL_CONVS)


@pytest.mark.parametrize("c", SMALL_CONVS, ids=lambda c: c.id)
def test_convolution_equals_loops(reference, rng: np.random.Generator, c: Conv) -> None:
    # Small integers: every sum is exact, in any order.
    x, weight, g = (rng.integers(-8, 9, shape).astype(np.float64) for shape in (c.x_shape, c.w_shape, c.y_shape))
    y, grad_x, grad_weight = np.zeros(c.y_shape), np.zeros(c.x_shape), np.zeros(c.w_shape)
    for at_y, at_x, at_w in connections(c):
        y[at_y] += x[at_x] * weight[at_w]
        grad_x[at_x] += g[at_y] * weight[at_w]
        grad_weight[at_w] += g[at_y] * x[at_x]
    for direction, expected in (("forward", y), ("backward_input", grad_x), ("backward_weight", grad_weight)):
        out = np.full(expected.shape, np.nan)
        got = reference_conv(reference, c, direction, x=x, weight=weight, grad_output=g, out=out)
        np.testing.assert_array_equal(got, expected, err_msg=direction)


def windows(p: Pool):
    """Yield (n, p, q, c), start of the window (h, w), and the cells inside the map with their place in the window."""
    n, height, width, channels = p.x_shape
    for i, a, b, c in itertools.product(range(n), range(p.y_shape[1]), range(p.y_shape[2]), range(channels)):
        top, left = a * p.stride[0] - p.padding[0][0], b * p.stride[1] - p.padding[1][0]
        cells = []
        for r, s in itertools.product(range(p.kernel[0]), range(p.kernel[1])):
            h, w = top + r * p.dilation[0], left + s * p.dilation[1]
            if 0 <= h < height and 0 <= w < width:
                cells.append((r * p.kernel[1] + s, (i, h, w, c)))
        yield (i, a, b, c), (top, left), cells


@pytest.mark.parametrize("p", SMALL_POOLS, ids=lambda p: p.id)
def test_max_pool_equals_loops(reference, rng: np.random.Generator, p: Pool) -> None:
    x = rng.integers(-3, 4, p.x_shape).astype(np.float64)
    x[rng.random(x.shape) < 0.1] = np.nan
    g = rng.integers(-8, 9, p.y_shape).astype(np.float64)
    y, argmax, grad = np.full(p.y_shape, -np.inf), np.zeros(p.y_shape, np.int64), np.zeros(p.x_shape)
    for at, _, cells in windows(p):
        if not cells:
            continue
        nans = [cell for cell in cells if math.isnan(x[cell[1]])]
        place, source = nans[0] if nans else max(cells, key=lambda cell: (x[cell[1]], -cell[0]))
        y[at], argmax[at] = x[source], place
        grad[source] += g[at]
    out, places, back = np.full(p.y_shape, 7.0), np.full(p.y_shape, 7, np.int32), np.full(p.x_shape, 7.0)
    reference.max_pool2d(x, windows=p.windows(), out=out, argmax=places)
    reference.max_pool2d_backward(g, places, windows=p.windows(), out=back)
    np.testing.assert_array_equal(out, y)
    np.testing.assert_array_equal(places, argmax)
    np.testing.assert_array_equal(back, grad)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("p", [p for p in SMALL_POOLS if p.dilation == (1, 1)], ids=lambda p: p.id)
def test_avg_pool_equals_loops(reference, rng: np.random.Generator, p: Pool, include: bool) -> None:
    x, g = rng.standard_normal(p.x_shape), rng.standard_normal(p.y_shape)
    y, grad = np.zeros(p.y_shape), np.zeros(p.x_shape)
    for at, (top, left), cells in windows(p):
        padded = sum(
            h < p.size[0] + p.padding[0][1] and w < p.size[1] + p.padding[1][1]
            for h in range(top, top + p.kernel[0])
            for w in range(left, left + p.kernel[1])
        )
        count = padded if include else len(cells)
        y[at] = sum(x[source] for _, source in cells) / count
        for _, source in cells:
            grad[source] += g[at] / count
    how = p.windows(count_include_pad=include)
    out, back = np.full(p.y_shape, np.nan), np.full(p.x_shape, np.nan)
    reference.avg_pool2d(x, windows=how, out=out)
    reference.avg_pool2d_backward(g, windows=how, out=back)
    assert_close(out, y, dtype="float64", terms=math.prod(p.kernel), magnitude=np.abs(x).max(initial=0))
    assert_close(back, grad, dtype="float64", terms=math.prod(p.kernel), magnitude=np.abs(g).max(initial=0))


def test_known_convolution(reference) -> None:
    x, weight = np.arange(9.0).reshape(1, 3, 3, 1), np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    c = Conv("", 1, (3, 3), 1, 1, (2, 2), padding=((0, 0), (0, 0)))
    y = reference_conv(reference, c, "forward", x=x, weight=weight, out=np.empty((1, 2, 2, 1)))
    assert y.ravel().tolist() == [27.0, 37.0, 57.0, 67.0]  # 0*1 + 1*2 + 3*3 + 4*4 = 27: not flipped


def test_known_batch_norm(reference) -> None:
    x = np.array([[1.0, 10.0], [3.0, 10.0]])
    out, mean, var = np.empty((2, 2)), np.empty(2), np.empty(2)
    reference.batch_norm(
        x, np.array([2.0, 5.0]), np.array([1.0, -1.0]), eps=3.0, out=out, mean=mean, var=var, workspace=reference.pool
    )
    assert mean.tolist() == [2.0, 10.0]
    assert var.tolist() == [1.0, 0.0]
    assert out.tolist() == [[0.0, -1.0], [2.0, -1.0]]  # 2 * (1 - 2) / sqrt(1 + 3) + 1 = 0


def test_known_running_statistics(reference) -> None:
    mean, var = np.array([0.0]), np.array([1.0])
    reference.update_running_stats(
        np.array([10.0]), np.array([4.0]), momentum=0.1, count=5, running_mean=mean, running_var=var
    )
    assert_close(mean, [1.0], dtype="float64")
    assert_close(var, [0.9 + 0.1 * 5.0], dtype="float64")  # unbiased: 4 * 5 / 4


@pytest.mark.parametrize("name", POINTWISE)
def test_activation_gradients_are_slopes(reference, name: str) -> None:
    """With the defaults of its parameters, and with others; away from kinks."""
    x = np.array([-2.9, -1.3, -0.2, 0.4, 1.1, 2.7])
    function = POINTWISE[name]
    for factor in (1.0, 1.3):
        activation = function(*(factor * parameter.default for parameter in function.parameters))
        h, y, above, below, grad = 2.0**-20, *(np.empty(6) for _ in range(4))
        reference.activate(activation, x, out=y)
        reference.activate(activation, x + h, out=above)
        reference.activate(activation, x - h, out=below)
        reference.activate_backward(activation, np.ones(6), y if function.needs == "y" else x, out=grad)
        _assert_slope(grad, above, below, h)


def _assert_slope(grad: np.ndarray, above: np.ndarray, below: np.ndarray, h: float) -> None:
    slope = (above - below) / (2 * h)
    # The difference quotient is wrong by about h**2 and eps / h.
    assert np.abs(grad - slope).max() < 4 * (h**2 + np.finfo(float).eps / h)


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("gelu", 1.0, 0.8413447460685429),
        ("gelu", -2.0, -0.04550026389635842),
        ("silu", 1.0, 0.7310585786300049),
        ("sigmoid", -2.0, 0.11920292202211755),
        ("tanh", 0.5, 0.46211715726000973),
        ("elu", -1.0, -0.6321205588285577),
        ("mish", 1.0, 0.8650983882673103),
        ("softplus", -1.0, 0.31326168751822286),
        ("hardswish", -1.0, -1 / 3),
    ],
)
def test_known_activations(reference, name: str, x: float, expected: float) -> None:
    out = np.empty(1)
    reference.activate(POINTWISE[name](), np.array([x]), out=out)
    assert_close(out, [expected], dtype="float64", magnitude=1)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter: list[int], key: tuple[int, int], words: str) -> None:
    """The known-answer vectors of Random123 for philox4x32 with 10 rounds."""
    got = philox4x32(np.array(counter, np.uint64), key)
    assert " ".join(f"{int(word):08x}" for word in got) == words


def test_random_words_place_the_key() -> None:
    words = random_words(2, RandomKey(seed=0x299F31D0_A4093822, stream=0x13198A2E, step=0x03707344))
    alone = philox4x32(np.array([1, 0, 0x13198A2E, 0x03707344], np.uint64), (0xA4093822, 0x299F31D0))
    assert words[1].tolist() == alone.tolist()


def test_dropout_keeps_the_mean(reference) -> None:
    x, out = np.full(100_000, 10.0), np.empty(100_000)
    for p in (0.25, 0.4, 0.7):
        reference.dropout(x, p=p, key=RandomKey(231, 0, 0), out=out)
        sigma = math.sqrt(p * (1 - p) / x.size)
        assert abs((out == 0).mean() - p) < 5 * sigma
        assert abs(out.mean() - 10) < 5 * 10 * sigma / (1 - p)


def test_augment_shifts_and_mirrors_whole_images(reference) -> None:
    images = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5, 1)
    out = np.empty((64, 5, 5, 1))
    settings = {"mean": np.zeros(1), "std": np.full(1, 1 / 255), "flip": True, "pad": 1, "key": RandomKey(3, 1, 4)}
    reference.augment(images, np.zeros(64, np.int64), **settings, out=out)
    padded = np.pad(images[0, :, :, 0].astype(float), 1)
    crops = [padded[y : y + 5, x : x + 5] for y in range(3) for x in range(3)]
    allowed = {np.rint(crop[:, ::step]).tobytes() for crop in crops for step in (1, -1)}
    seen = {np.rint(image[:, :, 0]).tobytes() for image in out}
    assert seen <= allowed
    assert len(seen) > 12  # of 18


@pytest.mark.peer
@pytest.mark.parametrize("c", [c for c in CONVS if not c.infinite and c.precision == "default"], ids=lambda c: c.id)
def test_convolution_equals_torch(reference, rng: np.random.Generator, c: Conv) -> None:
    torch = pytest.importorskip("torch")
    arrays = [rng.standard_normal(shape) for shape in (c.x_shape, c.w_shape, c.y_shape)]
    x, weight, g = (torch.from_numpy(a) for a in arrays)
    x.requires_grad_(), weight.requires_grad_()
    (top, bottom), (left, right) = c.padding
    padded = torch.nn.functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    y = torch.nn.functional.conv2d(
        padded, weight.permute(3, 2, 0, 1), None, stride=c.stride, dilation=c.dilation, groups=c.groups
    ).permute(0, 2, 3, 1)
    y.backward(g)
    results = {"forward": y.detach(), "backward_input": x.grad, "backward_weight": weight.grad}
    longest = max(math.prod(c.w_shape[:3]), math.prod(c.y_shape[:3]), math.prod(c.w_shape[:2]) * c.k)
    for direction, expected in results.items():
        got = reference_conv(
            reference,
            c,
            direction,
            x=arrays[0],
            weight=arrays[1],
            grad_output=arrays[2],
            out=np.full(tuple(expected.shape), np.nan),
        )
        assert_close(got, expected.numpy(), dtype="float64", terms=longest, magnitude=longest, what=direction)


@pytest.mark.peer
@pytest.mark.parametrize("p", BOTH + DILATED, ids=lambda p: p.id)
def test_pooling_equals_torch(reference, rng: np.random.Generator, p: Pool) -> None:
    torch = pytest.importorskip("torch")
    if p.n == 0:
        pytest.skip("PyTorch refuses an empty batch here")
    x, g = rng.standard_normal(p.x_shape), rng.standard_normal(p.y_shape)
    given = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
    # PyTorch pads both ends alike and by at most half of the undilated kernel; what goes beyond is padded beforehand.
    plain = all(low == high <= k // 2 for (low, high), k in zip(p.padding, p.kernel, strict=True))
    options = {"stride": p.stride, "ceil_mode": p.ceil}
    options |= {"padding": (p.padding[0][0], p.padding[1][0])} if plain else {}

    def padded(value: float):
        (top, bottom), (left, right) = p.padding
        return given if plain else torch.nn.functional.pad(given, (left, right, top, bottom), value=value)

    def compare(y, out, back) -> None:
        given.grad = None
        y.backward(torch.from_numpy(g).permute(0, 3, 1, 2))
        terms = math.prod(p.kernel)
        assert_close(out, y.detach().permute(0, 2, 3, 1).numpy(), dtype="float64", terms=terms, magnitude=4)
        assert_close(back, given.grad.permute(0, 2, 3, 1).numpy(), dtype="float64", terms=terms, magnitude=4 * terms)

    out, back, argmax = np.empty(p.y_shape), np.empty(p.x_shape), np.empty(p.y_shape, np.int32)
    reference.max_pool2d(x, windows=p.windows(), out=out, argmax=argmax)
    reference.max_pool2d_backward(g, argmax, windows=p.windows(), out=back)
    if plain or not p.ceil:
        y = torch.nn.functional.max_pool2d(padded(-math.inf), p.kernel, dilation=p.dilation, **options)
        compare(y, out, back)
    if p.dilation == (1, 1):
        for include in (True, False) if plain else (True,):
            windows = p.windows(count_include_pad=include)
            reference.avg_pool2d(x, windows=windows, out=out)
            reference.avg_pool2d_backward(g, windows=windows, out=back)
            y = torch.nn.functional.avg_pool2d(padded(0), p.kernel, count_include_pad=include, **options)
            compare(y, out, back)


@pytest.mark.peer
def test_batch_norm_and_loss_equal_torch(reference, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x, g, gamma, beta = (rng.standard_normal(s) for s in ((4, 5, 6, 7), (4, 5, 6, 7), (7,), (7,)))
    tx, tg, tb = (torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta))
    running = torch.zeros(7, dtype=torch.float64), torch.ones(7, dtype=torch.float64)
    y = torch.nn.functional.batch_norm(tx.permute(0, 3, 1, 2), *running, tg, tb, training=True).permute(0, 2, 3, 1)
    y.backward(torch.from_numpy(g))
    out, mean, var = np.empty_like(x), np.empty(7), np.empty(7)
    reference.batch_norm(x, gamma, beta, eps=1e-5, out=out, mean=mean, var=var, workspace=reference.pool)
    grads = {"grad_input": np.empty_like(x), "grad_gamma": np.empty(7), "grad_beta": np.empty(7)}
    reference.batch_norm_backward(g, x, gamma, mean, var, NO_EPILOGUE, eps=1e-5, **grads, workspace=reference.pool)
    stats = {"running_mean": np.zeros(7), "running_var": np.ones(7)}
    reference.update_running_stats(mean, var, momentum=0.1, count=120, **stats)
    pairs = [
        (out, y.detach()),
        (grads["grad_input"], tx.grad),
        (grads["grad_gamma"], tg.grad),
        (grads["grad_beta"], tb.grad),
        (stats["running_mean"], running[0]),
        (stats["running_var"], running[1]),
    ]
    for got, expected in pairs:
        assert_close(got, expected.numpy(), dtype="float64", terms=120, magnitude=120)

    logits, labels = rng.standard_normal((9, 11)), rng.integers(0, 11, 9).astype(np.int32)
    for smoothing in (0.0, 0.2):
        given = torch.from_numpy(logits).requires_grad_()
        target = torch.from_numpy(labels.astype(np.int64))
        cost = torch.nn.functional.cross_entropy(given, target, label_smoothing=smoothing)
        cost.backward()
        loss, grad = np.empty(()), np.empty((9, 11))
        how = {"channel_weight": None, "sample_weight": None, "ignore_index": None, "mean": True}
        chosen = LOSSES["softmax_cross_entropy"](smoothing)
        reference.loss_and_grad(chosen, logits, labels, **how, loss=loss, grad=grad, workspace=reference.pool)
        assert_close(loss, cost.detach().numpy(), dtype="float64", terms=99, magnitude=4)
        assert_close(grad, given.grad.numpy(), dtype="float64", terms=11, magnitude=1)
        given.grad = None


@pytest.mark.peer
def test_optimizers_equal_torch(reference, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    start, grads = rng.standard_normal(50), rng.standard_normal((4, 50))
    settings = [
        ("sgd", {"momentum": 0.0, "nesterov": False, "weight_decay": 0.01}),
        ("sgd", {"momentum": 0.9, "nesterov": False, "weight_decay": 0.01}),
        ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0}),
        ("adam", {"weight_decay": 0.02}),
    ]
    for name, options in settings:
        expected = torch.from_numpy(start.copy()).requires_grad_()
        make = torch.optim.SGD if name == "sgd" else torch.optim.Adam
        optimizer = make([expected], lr=0.03, **options)
        parameter, m, v = start.copy(), np.zeros(50), np.zeros(50)
        for t, grad in enumerate(grads, 1):
            expected.grad = torch.from_numpy(grad)
            optimizer.step()
            rule = UPDATE_RULES[name]
            values = (options.get(setting.name, setting.default) for setting in rule.settings)
            state = {"velocity": m, "m": m, "v": v}
            reference.update(rule(*values), parameter, grad, state, lr=np.array([0.03]), step=np.array([t]))
        assert_close(parameter, expected.detach().numpy(), dtype="float64", magnitude=4, what=f"{name} {options}")
