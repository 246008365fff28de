"""Numbers that other people published, computed on every backend.

From Stanford's CS231n, assignment 2 (https://github.com/cs231n/cs231n.github.io), whose arrays are NCHW and OIHW and
whose measure of error is `rel_error`; the numbers are printed there to eight places. And a small network worked out by
hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastconv import functional as F
from fastconv.backends import use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.kernels.update_rules import UPDATE_RULES

# What was computed, what was published, and the largest relative error at which they count as equal.
Pairs = list[tuple[np.ndarray, np.ndarray, float]]
PRINTED = 1e-7
H = 1e-5  # step of the difference quotients


def rel_error(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.max(np.abs(x - y) / np.maximum(1e-8, np.abs(x) + np.abs(y))))


def nhwc(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1))


def nchw(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(0, 3, 1, 2))


def hwio(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(2, 3, 1, 0))


def oihw(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(3, 2, 0, 1))


def seeded() -> np.random.RandomState:
    """CS231n draws from the old generator with this seed."""
    return np.random.RandomState(231)


def numeric_gradient(f: Callable[[], np.ndarray], at: np.ndarray, grad_output: np.ndarray) -> np.ndarray:
    """Central differences of ``sum(f() * grad_output)`` by each element of `at`, which is changed in place."""
    result = np.empty_like(at)
    for i in np.ndindex(at.shape):
        kept = at[i]
        at[i] = kept + H
        above = f()
        at[i] = kept - H
        below = f()
        at[i] = kept
        result[i] = ((above - below) * grad_output).sum() / (2 * H)
    return result


def conv_forward(backend: Backend) -> Pairs:
    x = np.linspace(-0.1, 0.5, 96).reshape(2, 3, 4, 4)
    w = np.linspace(-0.2, 0.3, 144).reshape(3, 3, 4, 4)
    b = np.linspace(-0.1, 0.2, 3)
    expected = [
        [
            [[-0.08759809, -0.10987781], [-0.18387192, -0.2109216]],
            [[0.21027089, 0.21661097], [0.22847626, 0.23004637]],
            [[0.50813986, 0.54309974], [0.64082444, 0.67101435]],
        ],
        [
            [[-0.98053589, -1.03143541], [-1.19128892, -1.24695841]],
            [[0.69108355, 0.66880383], [0.59480972, 0.56776003]],
            [[2.36270298, 2.36904306], [2.38090835, 2.38247847]],
        ],
    ]
    y = F.conv2d(nhwc(x), hwio(w), b, stride=2, padding=1)
    return [(nchw(y), np.array(expected), PRINTED)]


def conv_backward(backend: Backend) -> Pairs:
    r = seeded()
    x, w, b, g = nhwc(r.randn(4, 3, 5, 5)), hwio(r.randn(2, 3, 3, 3)), r.randn(2), nhwc(r.randn(4, 2, 5, 5))

    def forward() -> np.ndarray:
        return F.conv2d(x, w, b, padding=1)

    return [
        (F.conv2d_backward_input(g, w, input_shape=x.shape, padding=1), numeric_gradient(forward, x, g), 1e-7),
        (F.conv2d_backward_weight(g, x, weight_shape=w.shape, padding=1), numeric_gradient(forward, w, g), 1e-7),
        (F.conv2d_backward_bias(g), numeric_gradient(forward, b, g), 1e-8),
    ]


def conv_large(backend: Backend) -> Pairs:
    """The "fast" layers against an expansion into columns, written here."""
    r = seeded()
    x, w, b, g = r.randn(100, 3, 31, 31), r.randn(25, 3, 3, 3), r.randn(25), r.randn(100, 25, 16, 16)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    columns = np.stack([padded[:, :, i : i + 31 : 2, j : j + 31 : 2] for i in range(3) for j in range(3)], axis=2)
    y = np.einsum("nctpq,kct->nkpq", columns, w.reshape(25, 3, 9), optimize=True) + b[:, None, None]
    grad_w = np.einsum("nctpq,nkpq->kct", columns, g, optimize=True).reshape(w.shape)
    spread = np.einsum("nkpq,kct->nctpq", g, w.reshape(25, 3, 9), optimize=True)
    grad_x = np.zeros_like(padded)
    for t in range(9):
        grad_x[:, :, t // 3 : t // 3 + 31 : 2, t % 3 : t % 3 + 31 : 2] += spread[:, :, t]
    options = {"stride": 2, "padding": 1}
    got_x = F.conv2d_backward_input(nhwc(g), hwio(w), input_shape=(100, 31, 31, 3), **options)
    got_w = F.conv2d_backward_weight(nhwc(g), nhwc(x), weight_shape=(3, 3, 3, 25), **options)
    return [
        (nchw(F.conv2d(nhwc(x), hwio(w), b, **options)), y, 1e-9),
        (nchw(got_x), grad_x[:, :, 1:-1, 1:-1], 1e-9),
        (oihw(got_w), grad_w, 1e-9),
        (F.conv2d_backward_bias(nhwc(g)), g.sum((0, 2, 3)), 1e-9),
    ]


def max_pool_forward(backend: Backend) -> Pairs:
    x = np.linspace(-0.3, 0.4, 96).reshape(2, 3, 4, 4)
    expected = [
        [
            [[-0.26315789, -0.24842105], [-0.20421053, -0.18947368]],
            [[-0.14526316, -0.13052632], [-0.08631579, -0.07157895]],
            [[-0.02736842, -0.01263158], [0.03157895, 0.04631579]],
        ],
        [
            [[0.09052632, 0.10526316], [0.14947368, 0.16421053]],
            [[0.20842105, 0.22315789], [0.26736842, 0.28210526]],
            [[0.32631579, 0.34105263], [0.38526316, 0.4]],
        ],
    ]
    return [(nchw(F.max_pool2d(nhwc(x), 2)[0]), np.array(expected), 2 * PRINTED)]


def max_pool_backward(backend: Backend) -> Pairs:
    r = seeded()
    x, g = nhwc(r.randn(3, 2, 8, 8)), nhwc(r.randn(3, 2, 4, 4))
    _, argmax = F.max_pool2d(x, 2)
    grad = F.max_pool2d_backward(g, argmax, input_shape=x.shape, kernel_size=2)
    return [(grad, numeric_gradient(lambda: F.max_pool2d(x, 2)[0], x, g), 1e-9)]


def max_pool_large(backend: Backend) -> Pairs:
    x = seeded().randn(100, 3, 32, 32)
    y = nchw(F.max_pool2d(nhwc(x), 2)[0])
    return [(y, x.reshape(100, 3, 16, 2, 16, 2).max((3, 5)), 0.0)]


def affine_forward(backend: Backend) -> Pairs:
    x = np.linspace(-0.1, 0.5, 240).reshape(2, 4, 5, 6)
    w = np.linspace(-0.2, 0.3, 360).reshape(120, 3)
    b = np.linspace(-0.3, 0.1, 3)
    expected = [[1.49834967, 1.70660132, 1.91485297], [3.25553199, 3.5141327, 3.77273342]]
    return [(F.dense(x.reshape(2, 120), w, b), np.array(expected), PRINTED)]


def affine_backward(backend: Backend) -> Pairs:
    r = seeded()
    x, w, b, g = r.randn(10, 6), r.randn(6, 5), r.randn(5), r.randn(10, 5)

    def forward() -> np.ndarray:
        return F.dense(x, w, b)

    return [
        (F.dense_backward_input(g, w), numeric_gradient(forward, x, g), 1e-7),
        (F.dense_backward_weight(g, x), numeric_gradient(forward, w, g), 1e-7),
        (F.dense_backward_bias(g), numeric_gradient(forward, b, g), 1e-7),
    ]


def relu_forward(backend: Backend) -> Pairs:
    x = np.linspace(-0.5, 0.5, 12).reshape(3, 4)
    expected = [[0, 0, 0, 0], [0, 0, 0.04545455, 0.13636364], [0.22727273, 0.31818182, 0.40909091, 0.5]]
    return [(F.relu(x), np.array(expected), PRINTED)]


def first_loss(backend: Backend) -> Pairs:
    r = seeded()
    x, labels = 0.001 * r.randn(50, 10), r.randint(10, size=50)
    loss, grad = F.softmax_cross_entropy(x, labels)

    def forward() -> np.ndarray:
        return np.asarray(F.softmax_cross_entropy(x, labels)[0])

    # "loss should be around 2.3": the logarithm of ten classes, up to the size of the scores.
    return [(loss, np.log(np.array(10.0)), 1e-3), (grad, numeric_gradient(forward, x, np.ones(())), 1e-7)]


def two_layer_net(backend: Backend) -> Pairs:
    w1, b1 = np.linspace(-0.7, 0.3, 250).reshape(5, 50), np.linspace(-0.1, 0.9, 50)
    w2, b2 = np.linspace(-0.3, 0.4, 350).reshape(50, 7), np.linspace(-0.9, 0.1, 7)
    x = np.linspace(-5.5, 4.5, 15).reshape(5, 3).T
    scores = F.dense(F.relu(F.dense(x, w1, b1)), w2, b2)
    expected = [
        [11.53165108, 12.2917344, 13.05181771, 13.81190102, 14.57198434, 15.33206765, 16.09215096],
        [12.05769098, 12.74614105, 13.43459113, 14.1230412, 14.81149128, 15.49994135, 16.18839143],
        [12.58373087, 13.20054771, 13.81736455, 14.43418138, 15.05099822, 15.66781506, 16.2846319],
    ]
    loss, _ = F.softmax_cross_entropy(scores, np.array([0, 5, 1]))
    penalised = loss + 0.5 * ((w1**2).sum() + (w2**2).sum())
    return [
        (scores, np.array(expected), PRINTED),
        (loss, np.array(3.4702243556), 1e-10),
        (np.asarray(penalised), np.array(26.5948426952), 1e-10),
    ]


def batch_norm_gradients(backend: Backend) -> Pairs:
    r = seeded()
    x, gamma, beta, g = 5 * r.randn(4, 5) + 12, r.randn(5), r.randn(5), r.randn(4, 5)

    def forward() -> np.ndarray:
        return F.batch_norm(x, gamma, beta)[0]

    _, mean, var = F.batch_norm(x, gamma, beta)
    grad_input, grad_gamma, grad_beta = F.batch_norm_backward(g, x, gamma, mean, var)
    return [
        (grad_input, numeric_gradient(forward, x, g), 1e-6),
        (grad_gamma, numeric_gradient(forward, gamma, g), 1e-7),
        (grad_beta, numeric_gradient(forward, beta, g), 1e-7),
    ]


def sgd_momentum(backend: Backend) -> Pairs:
    lr = 1e-3
    w, g = np.linspace(-0.4, 0.6, 20), np.linspace(-0.6, 0.4, 20)
    v = np.linspace(0.6, 0.9, 20) / -lr  # CS231n keeps -lr times the velocity
    backend.update(UPDATE_RULES["sgd"](0.9), w, g, {"velocity": v}, lr=np.array([lr]), step=np.array([1]))
    next_w = [
        [0.1406, 0.20738947, 0.27417895, 0.34096842, 0.40775789],
        [0.47454737, 0.54133684, 0.60812632, 0.67491579, 0.74170526],
        [0.80849474, 0.87528421, 0.94207368, 1.00886316, 1.07565263],
        [1.14244211, 1.20923158, 1.27602105, 1.34281053, 1.4096],
    ]
    ends = -lr * v[[0, -1]]
    return [(w.reshape(4, 5), np.array(next_w), PRINTED), (ends, np.array([0.5406, 0.8096]), PRINTED)]


def adam(backend: Backend) -> Pairs:
    w, g = np.linspace(-0.4, 0.6, 20), np.linspace(-0.6, 0.4, 20)
    m, v = np.linspace(0.6, 0.9, 20), np.linspace(0.7, 0.5, 20)
    backend.update(UPDATE_RULES["adam"](), w, g, {"m": m, "v": v}, lr=np.array([1e-2]), step=np.array([6]))
    next_w = [
        [-0.40094747, -0.34836187, -0.29577703, -0.24319299, -0.19060977],
        [-0.1380274, -0.08544591, -0.03286534, 0.01971428, 0.0722929],
        [0.1248705, 0.17744702, 0.23002243, 0.28259667, 0.33516969],
        [0.38774145, 0.44031188, 0.49288093, 0.54544852, 0.59801459],
    ]
    return [
        (w.reshape(4, 5), np.array(next_w), 2 * PRINTED),
        (v[[0, -1]], np.array([0.69966, 0.49966]), PRINTED),
        (m[[0, -1]], np.array([0.48, 0.85]), PRINTED),
    ]


def rmsprop(backend: Backend) -> Pairs:
    w, g = np.linspace(-0.4, 0.6, 20), np.linspace(-0.6, 0.4, 20)
    cache = np.linspace(0.6, 0.9, 20)
    rule = UPDATE_RULES["rmsprop"](0.99, 1e-8)
    backend.update(rule, w, g, {"square": cache}, lr=np.array([1e-2]), step=np.array([1]))
    next_w = [
        [-0.39223849, -0.34037513, -0.28849239, -0.23659121, -0.18467247],
        [-0.132737, -0.08078555, -0.02881884, 0.02316247, 0.07515774],
        [0.12716641, 0.17918792, 0.23122175, 0.28326742, 0.33532447],
        [0.38739248, 0.43947102, 0.49155973, 0.54365823, 0.59576619],
    ]
    first = [0.5976, 0.6126277, 0.6277108, 0.64284931, 0.65804321]
    return [
        (w.reshape(4, 5), np.array(next_w), 2 * PRINTED),
        (cache[:5], np.array(first), PRINTED),
        (cache[-1:], np.array([0.8926]), PRINTED),
    ]


CHECKS = [
    conv_forward,
    conv_backward,
    conv_large,
    max_pool_forward,
    max_pool_backward,
    max_pool_large,
    affine_forward,
    affine_backward,
    relu_forward,
    first_loss,
    two_layer_net,
    batch_norm_gradients,
    sgd_momentum,
    adam,
    rmsprop,
]


@pytest.mark.float64
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_cs231n(check: Callable[[Backend], Pairs], backend: Backend) -> None:
    for number, (got, expected, limit) in enumerate(check(backend)):
        assert got.shape == expected.shape
        assert got.dtype == np.float64
        assert rel_error(got, expected) <= limit, f"{check.__name__}, comparison {number}"


def test_number_of_checks_has_a_floor() -> None:
    with use_backend("numpy") as backend:
        assert sum(len(check(backend)) for check in CHECKS) >= 29
        assert sum(expected.size for check in CHECKS for _, expected, _ in check(backend)) >= 1000


def test_network_worked_out_by_hand(backend: Backend) -> None:
    """Two inputs of 1, three hidden units and one output, sigmoids: 0.80, 0.75, 0.69 and 0.75 to two digits."""
    inputs = np.array([[1, 1]], np.float32)
    first = np.array([[0.8, 0.6], [0.2, 0.9], [0.7, 0.1]], np.float32).T
    second = np.array([[0.2, 0.8, 0.5]], np.float32).T
    hidden = F.sigmoid(F.dense(inputs, first))
    output = F.sigmoid(F.dense(hidden, second))
    assert np.round(hidden.astype(float), 2).tolist() == [[0.80, 0.75, 0.69]]
    assert np.round(output.astype(float), 2).tolist() == [[0.75]]
