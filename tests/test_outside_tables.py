"""Tables that other people published: rates of schedules, values of losses and of pooling, sizes of networks.

Each vector is what was computed here, what was published, and half a unit of its last printed digit, or one unit where
digits were cut off. What PyTorch and Keras publish stands in their documentation and in the tables of their tests
(test/optim/test_lrscheduler.py; optimizers/schedules/learning_rate_schedule_test.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import losses, nn
from fastconv.backends import use_backend
from fastconv.optim import schedules
from fastconv.optim.schedules import Schedule

Vector = tuple[Sequence[float], Sequence[float], float]
EXACT = 1e-12


def rates(schedule: Schedule, steps: Iterable[int]) -> list[float]:
    return [schedule(step) for step in steps]


def pytorch_step() -> list[Vector]:
    """StepLR, MultiStepLR and ConstantLR of the documentation, at 0.05, and the tables of their tests."""
    every, at = schedules.Step(0.05, step_size=30), schedules.Step(0.05, (30, 80))
    low = schedules.Step(0.025, (40,), 2.0)
    return [
        (rates(every, (0, 29, 30, 59, 60, 89)), [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005], EXACT),
        (rates(at, (0, 29, 30, 79, 80, 99)), [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005], EXACT),
        (rates(low, (0, 1, 2, 3, 39, 40, 99)), [0.025] * 5 + [0.05] * 2, EXACT),
        (rates(schedules.Step(0.025, (5,), 2.0), range(10)), [0.025] * 5 + [0.05] * 5, EXACT),
        (rates(schedules.Step(0.05, step_size=2), range(6)), [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005], EXACT),
        (
            rates(schedules.Step(0.05, step_size=4), range(16)),
            [0.05] * 4 + [0.005] * 4 + [0.0005] * 4 + [0.00005] * 4,
            EXACT,
        ),
    ]


def pytorch_linear() -> list[Vector]:
    """LinearLR; the documentation's table begins at step 1. And warm-up into an ExponentialLR."""
    documented = schedules.Warmup(schedules.Constant(0.05), 40, 0.05)
    half = schedules.Warmup(schedules.Constant(0.05), 4, 0.5)
    fifth = schedules.PiecewiseLinear(((0, 0.05 / 4), (4, 0.03)))
    product = schedules.PiecewiseLinear(((0, 0.0005), (5, 0.005)))
    return [
        (rates(documented, (1, 2, 3, 4, 40, 99)), [0.003687, 0.004875, 0.006062, 0.00725, 0.05, 0.05], 1e-6),
        (rates(half, range(10)), [0.025, 0.03125, 0.0375, 0.04375] + [0.05] * 6, EXACT),
        (rates(fifth, range(10)), [0.0125, 0.016875, 0.02125, 0.025625] + [0.03] * 6, EXACT),
        (rates(product, range(5)), [0.0005, 0.0014, 0.0023, 0.0032, 0.0041], EXACT),
    ]


def pytorch_decays() -> list[Vector]:
    """SequentialLR's exponential parts, and PolynomialLR, whose documented table begins at step 1 and is cut off."""
    return [
        (rates(schedules.Exponential(0.05, 0.9), range(3)), [0.05, 0.045, 0.0405], EXACT),
        (rates(schedules.Exponential(0.05, 0.8), range(3)), [0.05, 0.04, 0.032], EXACT),
        (rates(schedules.Polynomial(0.05, 50, 0.9), (1, 2, 3, 50, 99)), [0.0490, 0.0481, 0.0472, 0.0, 0.0], 1e-4),
    ]


def pytorch_cyclic() -> list[Vector]:
    halves = [1, 2, 3, 4, 5, 4, 3, 2, 1, 1.5, 2, 2.5, 3, 2.5, 2, 1.5, 1, 1.25, 1.5, 1.75, 2, 1.75]
    return [
        (rates(schedules.Cyclic(1, 5, 4), range(11)), [1, 2, 3, 4, 5, 4, 3, 2, 1, 2, 3], EXACT),
        (rates(schedules.Cyclic(1, 5, 4, mode="triangular2"), range(22)), halves, EXACT),
    ]


def pytorch_one_cycle() -> list[Vector]:
    two = schedules.OneCycle(25, 10, final_factor=2, anneal="linear")
    three = schedules.OneCycle(25, 10, 0.4, 25, 4, "linear", three_phase=True)
    return [
        (rates(two, range(10)), [1, 13, 25, 21.5, 18, 14.5, 11, 7.5, 4, 0.5], EXACT),
        (rates(three, range(10)), [1, 9, 17, 25, 17, 9, 1, 0.75, 0.5, 0.25], EXACT),
    ]


def watched(results: Iterable[float], mode: str, **settings: object) -> list[float]:
    """The rate behind each epoch of ReduceLROnPlateau, from 0.5 on."""
    schedule, found = schedules.ReduceOnPlateau(0.5, "result", mode, **settings), []
    for result in results:
        schedule.observe({"result": result})
        found.append(schedule(0))
    return found


def pytorch_plateau() -> list[Vector]:
    """The eight tables of ReduceLROnPlateau's tests; the last has two groups."""
    slow, cool = {"patience": 5, "threshold_mode": "abs"}, {"patience": 5, "cooldown": 5, "threshold": 0.1}
    growing, stopped = [1.5 * 1.005**i for i in range(20)], [1] * 7 + [0.6] + [0.5] * 12
    falling = [10 - i * 0.0165 for i in range(22)]
    twice = [0.5] * 6 + [0.05] * 11 + [0.005] * 3
    return [
        (watched([10 - i * 0.0167 for i in range(10)], "min", **slow, threshold=0.01, cooldown=5), [0.5] * 10, EXACT),
        (
            watched(falling, "min", **slow, threshold=0.1),
            [0.5] * 6 + [0.05] * 7 + [0.005] * 7 + [0.0005] * 2,
            EXACT,
        ),
        (
            watched([-0.8] * 2 + [-0.234] * 20, "max", **slow, cooldown=5),
            [0.5] * 8 + [0.05] * 11 + [0.005] * 3,
            EXACT,
        ),
        (watched([1.5 * 1.025**i for i in range(20)], "max", patience=3, threshold=0.1), [0.5] * 20, EXACT),
        (watched(growing, "max", **cool), twice, EXACT),
        (watched([1.5 * 0.85**i for i in range(20)], "min", threshold=0.1), [0.5] * 20, EXACT),
        (watched(stopped, "min", **cool), twice, EXACT),
        (watched(growing, "max", **cool, min_lr=0.4), [0.5] * 6 + [0.4] * 14, EXACT),
        (watched(growing, "max", **cool, min_lr=0.3), [0.5] * 6 + [0.3] * 14, EXACT),
    ]


def keras() -> list[Vector]:
    """ExponentialDecay, PolynomialDecay and InverseTimeDecay of Keras' tests."""
    stairs = schedules.Exponential(0.1, 0.96, 3, staircase=True)
    line, root = (schedules.Polynomial(0.05, 10, power, 0.001) for power in (1.0, 0.5))
    inverse = [schedules.InverseTime(0.1, 0.96, 10, staircase) for staircase in (False, True)]
    return [
        (rates(stairs, (1, 2)), [0.1, 0.1], EXACT),
        (rates(line, (5, 10, 15)), [0.0255, 0.001, 0.001], EXACT),
        (rates(root, (10, 15)), [0.001, 0.001], EXACT),
        (rates(schedules.Polynomial(0.05, 10), (5,)), [0.025], EXACT),
        (rates(inverse[0], (0, 10)), [0.1, 0.1 / 1.96], EXACT),
        (rates(inverse[1], (0, 9, 10)), [0.1, 0.1, 0.1 / 1.96], EXACT),
        (
            rates(schedules.PiecewiseLinear(((0, 0.0), (1500, 10.0))), range(0, 1500, 250)),
            [0.0, 10 / 6, 20 / 6, 5.0, 40 / 6, 50 / 6],
            EXACT,
        ),
    ]


def step_decay_of_the_lecture() -> list[Vector]:
    """Half the rate every ten epochs; epochs are counted from 1 there: 0.1 * 0.5 ** floor((1 + epoch) / 10)."""
    schedule = schedules.Step(0.1, factor=0.5, step_size=10)
    return [([schedule(1 + epoch) for epoch in (0, 8, 9, 18, 19, 29)], [0.1, 0.1, 0.05, 0.05, 0.025, 0.0125], EXACT)]


def value(loss: object, scores: list[list[float]], targets: object) -> list[float]:
    got, _ = loss(fc.asarray(np.array(scores)), fc.asarray(np.array(targets)))
    return [float(got)]


def pytorch_losses() -> list[Vector]:
    """Of the documentation: BCEWithLogitsLoss 0.20..., MultiMarginLoss 0.32..., which divides by the four classes."""
    binary = losses.BinaryCrossEntropy(pos_weight=np.ones(64))
    hinge = losses.MulticlassHinge()
    return [
        (value(binary, np.full((10, 64), 1.5).tolist(), np.ones((10, 64))), [0.205], 0.005),
        ([value(hinge, [[0.1, 0.2, 0.4, 0.8]], [3])[0] / 4], [0.325], EXACT),
    ]


def cs231n_losses() -> list[Vector]:
    """Of the notes on linear classification: margins of 10 and 1, the picture with both losses, and indifference."""
    one = losses.MulticlassHinge()
    picture = [[-2.85, 0.86, 0.28]]
    indifferent = [[10.0, -2.0, 3.0], [10.0, -100.0, -100.0], [10.0, 9.0, 9.0]]
    return [
        (value(losses.MulticlassHinge(10), [[13.0, -7.0, 11.0]], [0]), [8.0], EXACT),
        (value(one, picture, [2]), [1.58], EXACT),
        (value(losses.SoftmaxCrossEntropy(), picture, [2]), [1.04], 0.005),
        ([value(one, [row], [0])[0] for row in indifferent], [0.0, 0.0, 0.0], EXACT),
        (value(losses.MulticlassHinge(), np.full((50, 10), 0.5).tolist(), [3] * 50), [9.0], EXACT),
    ]


def cs231n_probabilities() -> list[Vector]:
    """Softmax of [1, -2, 0] and of half of it, read off the gradient: probabilities less one at the label.

    The notes round 0.705 to 0.7, the others to two digits.
    """
    found = []
    for scores in ([[1.0, -2.0, 0.0]], [[0.5, -1.0, 0.0]]):
        _, grad = F.softmax_cross_entropy(fc.asarray(np.array(scores)), fc.asarray(np.zeros(1, np.int32)))
        found.append([*(fc.to_numpy(grad)[0] + [1, 0, 0])])
    return [(found[0], [0.7, 0.04, 0.26], 0.0055), (found[1], [0.55, 0.12, 0.33], 0.005)]


def pytorch_pooling() -> list[Vector]:
    """MaxUnpool2d's two examples: the gradient of a sum of halved squares of maxima has each of them at its place."""
    found: list[Vector] = []
    for width, largest in ((4, [6.0, 8.0, 14.0, 16.0]), (5, [7.0, 9.0, 17.0, 19.0])):
        x = np.arange(1.0, 4 * width + 1).reshape(1, 4, width, 1)
        y, argmax = F.max_pool2d(fc.asarray(x), 2)
        back = F.max_pool2d_backward(y, argmax, input_shape=x.shape, kernel_size=2)
        places = np.where(np.isin(x, largest), x, 0.0)
        found += [
            (fc.to_numpy(y).ravel().tolist(), largest, EXACT),
            (fc.to_numpy(back).ravel().tolist(), places.ravel().tolist(), EXACT),
        ]
    return found


VGG_CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
VGG_WEIGHTS = (
    *(1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648),
    *(2_359_296, 2_359_296, 2_359_296, 2_359_296, 2_359_296, 102_760_448, 16_777_216, 4_096_000),
)


def vgg16() -> list[Vector]:
    """CS231n's table: weights of each layer without biases, their sum, and the published count with biases."""
    maps = [nn.Conv2d(c, 3, padding=1, bias=False) if c else nn.MaxPool2d(2) for c in VGG_CHANNELS]
    bare = nn.Sequential(*maps, nn.Flatten(), *(nn.Dense(n, bias=False) for n in (4096, 4096, 1000)))
    maps = [nn.Conv2d(c, 3, padding=1) if c else nn.MaxPool2d(2) for c in VGG_CHANNELS]
    whole = nn.Sequential(*maps, nn.Flatten(), *(nn.Dense(n) for n in (4096, 4096, 1000)))
    rows = [row.parameters for row in bare.summary((224, 224, 3)).rows if row.parameters]
    return [
        (rows, VGG_WEIGHTS, 0),
        ([sum(rows), whole.summary((224, 224, 3)).parameters], [138_344_128, 138_357_544], 0),
    ]


def first_layer_of_alexnet() -> list[Vector]:
    """CS231n: 227x227x3 to 55x55x96, 290,400 neurons, 34,944 parameters, columns of 363 by 3,025."""
    layer = nn.Conv2d(96, 11, stride=4)
    (row,) = layer.summary((227, 227, 3)).rows
    h, w, c = row.output_shape
    return [([h, w, c, h * w * c, row.parameters, h * w], [55, 55, 96, 290_400, 34_944, 3_025], 0)]


def plain_networks() -> list[Vector]:
    """Keras' mnist_cnn and cifar10_cnn, TensorFlow's tutorial for images, ResNet-20, LeNet-5 with three channels."""
    mnist = nn.Sequential(
        *(nn.Conv2d(32, 3), nn.ReLU(), nn.Conv2d(64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Dense(128), nn.ReLU(), nn.Dropout(0.5), nn.Dense(10)),
    )
    tutorial = nn.Sequential(
        *(nn.Conv2d(32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 3), nn.ReLU(), nn.Flatten(), nn.Dense(64), nn.ReLU(), nn.Dense(10)),
    )
    built = [model().summary().parameters for model in (fc.models.keras_cnn, fc.models.resnet20, fc.models.lenet5)]
    return [
        ([mnist.summary((28, 28, 1)).parameters, tutorial.summary((32, 32, 3)).parameters], [1_199_882, 122_570], 0),
        (built, [1_250_858, 269_722, 62_006], 0),
        ([built[1] / 1e6], [0.27], 0.005),
    ]


SCHEDULES = [
    *(pytorch_step, pytorch_linear, pytorch_decays, pytorch_cyclic, pytorch_one_cycle, pytorch_plateau),
    *(keras, step_decay_of_the_lecture),
]
VALUES = [pytorch_losses, cs231n_losses, cs231n_probabilities, pytorch_pooling]
SIZES = [vgg16, first_layer_of_alexnet, plain_networks]


def check(vectors: Callable[[], list[Vector]]) -> None:
    for number, (got, published, limit) in enumerate(vectors()):
        assert len(got) == len(published)
        difference = np.abs(np.asarray(got, float) - np.asarray(published, float)).max()
        assert difference <= limit, f"{vectors.__name__}, vector {number}: {list(got)}, published {list(published)}"


@pytest.mark.parametrize("vectors", SCHEDULES, ids=lambda vectors: vectors.__name__)
def test_rates(vectors: Callable[[], list[Vector]]) -> None:
    check(vectors)


@pytest.mark.float64
@pytest.mark.parametrize("vectors", VALUES, ids=lambda vectors: vectors.__name__)
def test_values(vectors: Callable[[], list[Vector]], backend: object) -> None:
    check(vectors)


@pytest.mark.parametrize("vectors", SIZES, ids=lambda vectors: vectors.__name__)
def test_sizes(vectors: Callable[[], list[Vector]]) -> None:
    with use_backend("numpy"):
        check(vectors)


def test_number_of_vectors_has_a_floor() -> None:
    with use_backend("numpy"):
        found = [vector for vectors in (*SCHEDULES, *VALUES, *SIZES) for vector in vectors()]
    assert len(found) >= 53
    assert sum(len(published) for _, published, _ in found) >= 434
