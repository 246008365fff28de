"""What the losses of the list share: defaults, capture, copies."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv import losses, nn
from fastconv.errors import ArgumentError
from fastconv.kernels.losses import LOSSES as LIST
from fastconv.losses import LOSSES
from fastconv.losses.listed import ListedLoss, is_listed
from fastconv.optim import SGD
from tests.backends.emulator.emulated import emulator_or_skip

SET = {
    "softmax_cross_entropy": {"label_smoothing": 0.1, "class_weight": [1, 2, 3], "ignore_index": -1},
    "multiclass_hinge": {"margin": 0.5, "class_weight": [1, 2, 3], "ignore_index": -1},
    "squared_hinge": {"margin": 0.5, "reduction": "sum"},
    "binary_cross_entropy": {"pos_weight": [1, 2, 3]},
    "huber": {"delta": 0.3},
}


def test_every_loss_of_the_list_has_its_class():
    assert list(LOSSES) == list(LIST)
    for name, cls in LOSSES.items():
        assert cls.__name__ == LIST[name].layer
        assert cls.__name__ in losses.__all__
        assert cls.function is LIST[name]


def test_losses_of_the_list_are_known():
    class Own(losses.SoftmaxCrossEntropy):
        def __call__(self, predictions, targets, sample_weight=None):
            return super().__call__(predictions, targets, sample_weight)

    assert is_listed(losses.SoftmaxCrossEntropy())
    assert not is_listed(Own())
    assert not is_listed(lambda predictions, targets: None)


@pytest.mark.parametrize("name", LOSSES)
def test_defaults_are_those_of_the_list(name):
    parameters = list(inspect.signature(LOSSES[name].__init__).parameters.values())[1:]
    defaults = {parameter.name: parameter.default for parameter in parameters}
    for scalar in LIST[name].parameters:
        assert defaults[scalar.name] == scalar.default
    assert set(LOSSES[name]().settings()) == set(defaults)


def _targets(name, rng, dtype, soft=False):
    if LIST[name].over == "rows" and not soft:
        return rng.integers(0, 3, 8).astype(np.int32)
    return rng.uniform(0, 1, (8, 3)).astype(dtype)


def _losses_of_steps(loss, backend, targets, *, capture):
    with fc.use_backend(backend):
        model = nn.Sequential(nn.Dense(3)).build((4,), seed=1)
        trainer = fc.Trainer(model, loss, SGD(model.parameters(), 0.1), capture=capture)
        x = fc.asarray(np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32))
        values = [float(fc.to_numpy(trainer.train_step(x, fc.asarray(t)))) for t in targets]
    return trainer, values


@pytest.mark.parametrize("backend", ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
@pytest.mark.parametrize("name", [*LOSSES, "soft"])
def test_steps_are_replayed_with_the_same_bits(backend, name, monkeypatch):
    if backend == "cuda-emulator":
        emulator_or_skip()
    soft, name = name == "soft", "softmax_cross_entropy" if name == "soft" else name
    loss, rng = LOSSES[name](**({} if soft else SET.get(name, {}))), np.random.default_rng(3)
    targets = [_targets(name, rng, np.float32, soft) for _ in range(3)]
    _, plain = _losses_of_steps(loss, backend, targets, capture=False)
    calls, chosen = [], ListedLoss.chosen.fget
    monkeypatch.setattr(LOSSES[name], "chosen", property(lambda self: calls.append(1) or chosen(self)))
    trainer, replayed = _losses_of_steps(loss, backend, targets, capture=True)
    assert trainer._captured is not None
    assert trainer._captured.works
    assert len(calls) == 1  # at the capture alone: three steps were replayed
    assert replayed == plain
    assert len(set(plain)) == 3


@pytest.mark.parametrize("name", LOSSES)
def test_steps_on_the_reference_are_not_captured(name):
    targets = [_targets(name, np.random.default_rng(3), np.float32)] * 2
    trainer, values = _losses_of_steps(LOSSES[name](), "numpy", targets, capture=None)
    assert trainer._captured is None
    assert values[1] < values[0]


def test_targets_of_another_kind_are_captured_anew():
    """Numbers of classes, then rows of targets, as mixup makes them, in one training."""
    rng = np.random.default_rng(0)
    kinds = (False, False, True, True, False, False)
    targets = [_targets("softmax_cross_entropy", rng, np.float32, soft) for soft in kinds]
    results = [_losses_of_steps(losses.SoftmaxCrossEntropy(), "numba", targets, capture=c)[1] for c in (False, True)]
    assert results[0] == results[1]


@pytest.mark.float64
def test_what_is_set_later_is_checked_and_counts(backend):
    loss, x, y = losses.SoftmaxCrossEntropy(), np.zeros((2, 3)), np.array([0, 2])
    loss(x, y)
    loss.class_weight = [1, 0, 4]
    np.testing.assert_allclose(loss(x, y)[1].sum(axis=1), 0, atol=1e-15)
    np.testing.assert_allclose(loss(x, y)[1][1, 2] / loss(x, y)[1][0, 0], 4)
    with pytest.raises(ArgumentError, match="class_weight: got -1"):
        loss.class_weight = [1, -1]
    with pytest.raises(ArgumentError, match="label_smoothing: got 2"):
        loss.label_smoothing = 2


def test_copies_and_names(backend):
    loss = losses.SoftmaxCrossEntropy(0.1, class_weight=[1, 2], ignore_index=-100)
    scores = np.ones((1, 2), np.float32)
    loss(scores, np.array([0]))
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other.settings() == loss.settings()
        assert float(other(scores, np.array([1]))[0]) == float(loss(scores, np.array([1]))[0])
    assert repr(loss) == "SoftmaxCrossEntropy(label_smoothing=0.1, class_weight=(1.0, 2.0), ignore_index=-100)"
    assert repr(losses.MeanSquaredError()) == "MeanSquaredError()"
    assert repr(losses.Huber(2, reduction="sum")) == "Huber(delta=2, reduction='sum')"


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"y_true": 1, "y_pred": 2}, r"y_true: got it for MeanSquaredError.__call__, .* \(targets\)"),
        ({"input": 1, "target": 2}, r"input: got it for MeanSquaredError.__call__, .* \(predictions\)"),
        ({"predictions": 1}, "targets: got nothing for MeanSquaredError.__call__; allowed: "),
    ],
)
def test_arguments_of_other_libraries_are_told(named, words):
    with pytest.raises(ArgumentError, match=words):
        losses.MeanSquaredError()(**named)
