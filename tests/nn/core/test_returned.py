"""What layers of somebody's own return is read as it is meant, and what NumPy computes is computed in each step."""

from __future__ import annotations

import collections
import copy
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import losses, nn, optim
from fastconv.backends import memory
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.kernels.cpu.runtime.launch import kernel, launch

F = fc.functional
SHAPE = (4, 4, 3)


class Mirror(nn.Layer):
    """Left and right exchanged, as views of NumPy's have it; then `form` on it."""

    def __init__(self, form: Callable[[Any], Any]) -> None:
        self.form = form

    def forward(self, x, *, training):
        return self.form(x[:, :, ::-1]), None

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return self.form(grad_output[:, :, ::-1])


FORMS = {
    "view": lambda a: a,
    "columns first": np.asfortranarray,
    "other bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "not writable": lambda a: np.broadcast_to(a, a.shape),
    "not aligned": lambda a: np.frombuffer(b"." + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
}
MODELS = {
    "chain": lambda own: nn.Sequential(own, nn.Conv2d(3, 3, padding=1), own, nn.ReLU()),
    "shortcut": lambda own: nn.Residual(nn.Sequential(nn.Conv2d(3, 3, padding=1), nn.BatchNorm2d()), own),
    "in front of a fused one": lambda own: nn.Sequential(MODELS["shortcut"](own), nn.ReLU()),
    "branch": lambda own: nn.Parallel(nn.Identity(), own, mode="concatenate"),
    "node": lambda own: nn.Graph({"a": (own, "input"), "b": (nn.ReLU(), "a"), "c": ("concatenate", "a", "b")}, "c"),
}


@pytest.mark.parametrize("where", MODELS)
@pytest.mark.parametrize("form", FORMS)
def test_any_memory_is_read_as_it_is_meant(form, where, backend, rng):
    x = rng.standard_normal((2, *SHAPE)).astype(np.float32)
    got, want = (MODELS[where](Mirror(each)).build(SHAPE, seed=1) for each in (FORMS[form], np.ascontiguousarray))
    (y, context), (y_want, context_want) = (model.forward(x, training=True) for model in (got, want))
    np.testing.assert_array_equal(y, y_want)
    grad = rng.standard_normal(y.shape).astype(np.float32)
    np.testing.assert_array_equal(got.backward(grad, context), want.backward(grad, context_want))
    for one, other in zip(got.parameters(), want.parameters(), strict=True):
        np.testing.assert_array_equal(one.grad, other.grad)
    np.testing.assert_allclose(got.compile(x.shape)(x), want(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("form", "error", "message"),
    [
        (lambda a: a.astype(np.float64), DTypeError, "output of Mirror: got float64; allowed: float32"),
        (lambda a: a.astype(np.int32), DTypeError, "output: got int32; allowed: float32 or float64"),
        (lambda a: a.tolist(), DTypeError, "output: got list; allowed: an array"),
        (lambda a: None, DTypeError, "output: got NoneType; allowed: an array"),
    ],
)
def test_what_is_no_output_is_refused_where_it_comes_from(form, error, message, backend):
    model = nn.Parallel(nn.Identity(), Mirror(form)).build(SHAPE)
    with pytest.raises(error, match=message):
        model(np.zeros((2, *SHAPE), np.float32))


def test_an_output_alone_is_refused(backend):
    class Bare(nn.Layer):
        def forward(self, x, *, training):
            return x

        def backward(self, grad_output, context, *, needs_input_grad=True):
            return grad_output

    with pytest.raises(ArgumentError, match="forward of Bare: got ndarray; allowed: the output and the context"):
        Bare().build(SHAPE)(np.zeros((2, *SHAPE), np.float32))


class Half(nn.Layer):
    """Computes in NumPy."""

    def setup(self, input_shape, scope):
        self.shift = scope.parameter("shift", input_shape[-1:], init=0.0)
        return input_shape

    def forward(self, x, *, training):
        return x * np.float32(0.5) + self.shift.array, x

    def backward(self, grad_output, context, *, needs_input_grad=True):
        self.shift.add_grad(grad_output.reshape(-1, grad_output.shape[-1]).sum(0))
        return grad_output * np.float32(0.5)


class Said(Half):
    """The same, but it says that it may be captured."""

    setting_names = ()

    def forward(self, x, *, training):
        return super().forward(x, training=training)


class Unseen(Half):
    """Gives what fastconv computed, but to its parameter a gradient that NumPy did."""

    setting_names = ()

    def forward(self, x, *, training):
        x = self.check_input(x)
        return F.relu(x), x

    def backward(self, grad_output, context, *, needs_input_grad=True):
        self.shift.add_grad(grad_output.reshape(-1, grad_output.shape[-1]).sum(0))
        return F.relu_backward(grad_output, context)


class Before(Half):
    """Gives what fastconv computed, of what NumPy did."""

    setting_names = ()

    def forward(self, x, *, training):
        x = self.check_input(x)
        return F.relu(x * np.float32(0.5) + self.shift.array), x

    def backward(self, grad_output, context, *, needs_input_grad=True):
        self.shift.add_grad(F.conv2d_backward_bias(grad_output))
        return F.relu_backward(grad_output.copy(), context)


class Between(Before):
    """The same, within what fastconv computes."""

    setting_names = ()

    def forward(self, x, *, training):
        x = self.check_input(x)
        return F.relu(np.tanh(F.relu(x))), x

    def backward(self, grad_output, context, *, needs_input_grad=True):
        self.shift.add_grad(F.conv2d_backward_bias(grad_output))
        return F.relu_backward(F.relu_backward(grad_output, context).astype(np.float32), context)


@pytest.mark.parametrize("own", [Half, Said, Unseen, Before, Between])
def test_what_numpy_computes_is_computed_in_each_step(own, backend, rng):
    _computed_in_each_step(own, rng, repeated=2)


def _numpys(change):
    """Return a layer that hands what `change` makes of its input, and of its gradient, into operations of fastconv."""

    class Changing(Half):
        setting_names = ()

        def forward(self, x, *, training):
            x = self.check_input(x)
            return F.relu(change(x)), x

        def backward(self, grad_output, context, *, needs_input_grad=True):
            self.shift.add_grad(F.conv2d_backward_bias(grad_output))
            return F.relu_backward(change(grad_output), context)

    return Changing


CHANGES = {
    "runs backwards": lambda x: x[:, ::-1],
    "flip": lambda x: np.flip(x, 1),
    "transposed": lambda x: x.transpose(0, 2, 1, 3),
    "reshaped": lambda x: x.transpose(0, 3, 1, 2).reshape(x.shape),
    "chosen": lambda x: x[:, [1, 0, 2, 3]],
    "flattened": lambda x: x.flatten().reshape(x.shape),
    "one value": lambda x: np.full(x.shape, x[0, 0, 0, 0]),
    "copied": np.array,
    "in a row": lambda x: np.ascontiguousarray(x[:, ::-1]),
    "an array": lambda x: np.asarray(x) * np.float32(2),
    "broadcast": lambda x: np.broadcast_to(x, x.shape) * np.float32(2),
    "listed": lambda x: np.array(list(x)),
    "memory": lambda x: np.array(memoryview(x)),
    "branch": lambda x: x if x.max() > 1e30 else x * np.float32(2),
}


def _batch(rng):
    return rng.standard_normal((8, *SHAPE)).astype(np.float32), rng.integers(0, 2, 8)


def _trainer(layer, *, in_front=False, **keywords):
    """Return one of a model with this layer."""
    first = (layer, nn.Conv2d(4, 1)) if in_front else (nn.Conv2d(4, 1), layer)
    model = nn.Sequential(*first, nn.GlobalAvgPool2d(), nn.Dense(2)).build(SHAPE, seed=0)
    return fc.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), 0.5), **keywords)


def _both_ways(own, batches, *, in_front=False):
    """Return losses and values of a model with this layer, captured where that goes, and not; and the last trainer."""
    found = []
    for capture in (False, None):
        trainer = _trainer(own(), capture=capture, in_front=in_front)
        steps = [float(trainer.train_step(x, y)) for x, y in batches]
        found.append((steps, [parameter.data.tobytes() for parameter in trainer.model.parameters()]))
    return found, trainer


def _computed_in_each_step(own, rng, repeated=1):
    """Check that a model with this layer is trained, and computes, the same captured; return the last trainer."""
    batches = [_batch(rng) for _ in range(4)]
    (by_hand, captured), trainer = _both_ways(own, repeated * batches)
    assert by_hand == captured
    plan = trainer.model.compile((8, *SHAPE))
    for x, _ in batches:
        np.testing.assert_allclose(plan(x), trainer.model(x), rtol=1e-5, atol=1e-6)
    return trainer


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_numpy_makes_of_it_is_made_in_each_step(change, rng):
    with fc.use_backend("numba"):
        assert not _computed_in_each_step(_numpys(change), rng)._captured.works


def _first(change):
    """Return a layer in front of all others, whose input has its values while the step is recorded."""

    class First(nn.Layer):
        setting_names = ()

        def forward(self, x, *, training):
            return F.relu(change(x)), None

        def backward(self, grad_output, context, *, needs_input_grad=True):
            assert not needs_input_grad

    return First


@pytest.mark.parametrize("change", [CHANGES[name] for name in ("runs backwards", "flattened", "broadcast")])
def test_what_numpy_makes_of_a_batch_is_made_in_each_step(change, rng):
    with fc.use_backend("numba"):
        found, trainer = _both_ways(_first(change), [_batch(rng) for _ in range(4)], in_front=True)
    assert found[0] == found[1]
    assert not trainer._captured.works


class Standard(nn.Layer):
    """Divides its weight by what NumPy says is its deviation, and has no gradient of that."""

    setting_names = ()

    def setup(self, input_shape, scope):
        self.weight = scope.parameter("weight", (1, 1, input_shape[-1], 3), init="he_normal", fan_in=3)
        return (*input_shape[:-1], 3)

    def forward(self, x, *, training):
        x = self.check_input(x)
        return F.conv2d(x, self.weight.array / self.weight.array.std()), x

    def backward(self, grad_output, context, *, needs_input_grad=True):
        shape = self.weight.array.shape
        self.weight.add_grad(F.conv2d_backward_weight(grad_output, context, weight_shape=shape))
        return F.conv2d_backward_input(grad_output, self.weight.array, input_shape=context.shape)


def test_what_numpy_makes_of_weights_is_made_in_each_step(rng):
    with fc.use_backend("numba"):
        assert not _computed_in_each_step(Standard, rng)._captured.works


class Smoothed(losses.SoftmaxCrossEntropy):
    """Targets that NumPy made less sure."""

    def settings(self):
        return super().settings()

    def __call__(self, predictions, targets, /):
        return super().__call__(predictions, np.eye(2, dtype=np.float32)[targets] * np.float32(0.8) + np.float32(0.1))


@kernel
def descend(begin, end, data, grad, rate):
    """data -= rate * grad."""
    for i in range(data.size):
        data[i] -= rate * grad[i]


class Numbers(optim.Optimizer):
    """Hands a number that Python made of the rate and of the step into a kernel."""

    state_names = ()

    def __init__(self, parameters, lr, *, by_step):
        super().__init__(parameters, lr)
        self._by_step = by_step

    def settings(self):
        return {"by_step": self._by_step}

    def _update(self, data, grad, state, lr, step):
        launch(descend, 1, data, grad, np.float32(0.5 / int(step[0]) if self._by_step else lr[0]))


@pytest.mark.parametrize("targets", [None, 0, 1])
@pytest.mark.parametrize(
    ("loss", "make"),
    [
        (Smoothed(), optim.SGD),
        (losses.SoftmaxCrossEntropy(), lambda *arguments: Numbers(*arguments, by_step=False)),
        (losses.SoftmaxCrossEntropy(), lambda *arguments: Numbers(*arguments, by_step=True)),
    ],
    ids=["targets", "rate", "step"],
)
def test_what_python_makes_of_targets_rate_and_step_is_made_in_each_step(loss, make, targets, rng):
    batches = [_batch(rng) for _ in range(4)]
    if targets is not None:
        batches[0] = batches[0][0], np.full(8, targets)
    with fc.use_backend("numba"):
        found = []
        for capture in (False, None):
            model = nn.Sequential(nn.Conv2d(4, 1), nn.GlobalAvgPool2d(), nn.Dense(2)).build(SHAPE, seed=0)
            trainer = fc.Trainer(model, loss, make(model.parameters(), 0.5), capture=capture)
            steps = []
            for number, (x, y) in enumerate(batches):
                trainer.optimizer.lr = 0.5 / (1 + number)
                steps.append(float(trainer.train_step(x, y)))
            found.append((steps, [parameter.data.tobytes() for parameter in model.parameters()]))
    assert found[0] == found[1]
    assert not trainer._captured.works


@pytest.fixture
def same_memory(monkeypatch):
    """Let each captured step, or plan, find in its memory what the one before it left there, as may happen anyway."""
    blocks, counts = {}, weakref.WeakKeyDictionary()
    allocate = memory.Pool._allocate

    def again(pool, size):
        if pool._most_idle is not None:
            return allocate(pool, size)
        of_size = counts.setdefault(pool, collections.Counter())
        of_size[size] += 1
        if (size, of_size[size]) not in blocks:
            blocks[size, of_size[size]] = allocate(pool, size)
        return blocks[size, of_size[size]]

    monkeypatch.setattr(memory.Pool, "_allocate", again)


def test_what_lay_in_memory_is_not_taken_for_what_is_computed(same_memory):
    """NumPy makes of it, while a step is recorded, what would be right if the step before had been the same."""
    with fc.use_backend("numba"):
        for _ in range(3):
            rng = np.random.default_rng(0)
            trainer = _computed_in_each_step(_numpys(CHANGES["runs backwards"]), rng)
            assert not trainer._captured.works
            assert trainer.model.compile((8, *SHAPE))._replay is None


def test_a_loss_or_an_optimizer_of_ones_own_is_tried_too(rng):
    class Squares(losses.DeclaredLoss):
        """Computes in NumPy."""

        def settings(self):
            return {}

        def checked_targets(self, targets, shape, dtype):
            return targets

        def __call__(self, predictions, targets):
            difference = predictions - np.eye(2, dtype=np.float32)[targets]
            return np.array((difference**2).mean()), difference * np.float32(2 / difference.size)

    class Descent(optim.Optimizer):
        """Computes in NumPy."""

        state_names = ()

        def settings(self):
            return {}

        def _update(self, data, grad, state, lr, step):
            data -= lr.astype(data.dtype) * grad

    batches = [_batch(rng) for _ in range(4)]
    with fc.use_backend("numba"):
        for loss, make in ((Squares(), optim.SGD), (losses.SoftmaxCrossEntropy(), Descent)):
            found = []
            for capture in (False, None):
                model = nn.Sequential(nn.Conv2d(4, 1), nn.GlobalAvgPool2d(), nn.Dense(2)).build(SHAPE, seed=0)
                trainer = fc.Trainer(model, loss, make(model.parameters(), 0.5), capture=capture)
                steps = [float(trainer.train_step(x, y)) for x, y in batches]
                found.append((steps, [parameter.data.tobytes() for parameter in model.parameters()]))
            assert found[0] == found[1]
            assert len(set(found[0][0])) == 4


def test_trying_a_capture_leaves_all_as_it_was(rng):
    """Running statistics, the optimizer's state and the weights are those of one step."""
    batches = [_batch(rng) for _ in range(3)]
    with fc.use_backend("numba"):
        found = []
        for capture in (False, True):
            model = nn.Sequential(
                nn.Conv2d(4, 1), nn.BatchNorm2d(), Views(), nn.Dropout(0.3), nn.Flatten(), nn.Dense(2)
            )
            model.build(SHAPE, seed=0)
            optimizer = optim.EMA(optim.Adam(model.parameters(), 0.05), decay=0.5)
            trainer = fc.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer, capture=capture, seed=3)
            steps = [float(trainer.train_step(x, y)) for x, y in batches]
            state = [array.tobytes() for array in optimizer.state_dict()["tensors"].values()]
            found.append((steps, state, [tensor.data.tobytes() for tensor in model.tensors()], optimizer.steps))
        assert trainer._captured.works
        assert found[0] == found[1]


def test_what_a_layer_keeps_is_copied_with_it(rng):
    class Keep(Views):
        setting_names = ()

        def forward(self, x, *, training):
            self.seen = x
            return super().forward(x, training=training)

    with fc.use_backend("numba"):
        trainer, (x, y) = _trainer(Keep()), _batch(rng)
        trainer.train_step(x, y)
        np.testing.assert_array_equal(copy.deepcopy(trainer.model)(x), trainer.model(x))


class Upside(Half):
    """Hands rows in another order into operations of fastconv."""

    setting_names = ()

    def forward(self, x, *, training):
        x = self.check_input(x)
        return F.relu(x[::-1]), x

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return F.relu_backward(grad_output[::-1], context)


class Views(Half):
    """Takes shapes and views, whose values fastconv computes."""

    setting_names = ()

    def forward(self, x, *, training):
        x = self.check_input(x)
        y = F.relu(x.reshape(-1, x.shape[-1])).reshape(np.shape(x))
        return y, np.empty_like(x).shape

    def backward(self, grad_output, context, *, needs_input_grad=True):
        self.shift.add_grad(F.conv2d_backward_bias(grad_output.reshape(context)))
        return grad_output[:]


def test_views_are_captured(rng):
    with fc.use_backend("numba"):
        trainer = _trainer(Views(), capture=True)
        trainer.train_step(*_batch(rng))
        assert trainer._captured.works
        assert trainer.model.compile((8, *SHAPE))._replay is not None


@pytest.mark.emulator
@pytest.mark.parametrize("own", [Said, Unseen, Upside])
def test_what_no_launch_computes_is_not_captured(own, rng):
    found = []
    with fc.use_backend("cuda-emulator"):
        for capture in (False, None):
            model = nn.Sequential(nn.Dense(4), own(), nn.Dense(2)).build((3,), seed=0)
            optimizer = optim.SGD(model.parameters(), 0.5)
            trainer = fc.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer, capture=capture)
            draw = np.random.default_rng(1)
            batches = [
                (fc.asarray(draw.standard_normal((8, 3)).astype(np.float32)), fc.asarray(draw.integers(0, 2, 8)))
                for _ in range(4)
            ]
            found.append([float(trainer.train_step(x, y)) for x, y in batches])
        assert not trainer._captured.works
    assert found[0] == found[1]
    assert len(set(found[0])) == 4


@pytest.mark.parametrize("own", [Said, Unseen, Before, Between])
def test_a_capture_that_was_asked_for_is_no_other_step(own, rng):
    with fc.use_backend("numba"):
        trainer = _trainer(own(), capture=True)
        before = [parameter.data for parameter in trainer.model.parameters()]
        with pytest.raises(ArgumentError, match="capture: got True with a layer that computes in NumPy"):
            trainer.train_step(*_batch(rng))
        for one, other in zip(before, trainer.model.parameters(), strict=True):
            np.testing.assert_array_equal(one, other.data)


@kernel
def halve(begin, end, x, y):
    for i in range(begin, end):
        y[i] = x[i] * 0.5


class Kernel(nn.Layer):
    """As docs/own_kernel.md has it: a kernel that writes into an array of NumPy's."""

    setting_names = ()

    def forward(self, x, *, training):
        x = self.check_input(x)
        y = np.empty_like(x)
        launch(halve, x.size, x.ravel(), y.ravel())
        return y, None

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return self.forward(grad_output, training=False)[0]


def test_what_kernels_compute_is_captured(rng):
    with fc.use_backend("numba"):
        model = nn.Sequential(nn.Conv2d(4, 1), Kernel(), nn.ReLU()).build(SHAPE, seed=0)
        plan = model.compile((8, *SHAPE))
        assert plan._replay is not None
        for x in rng.standard_normal((3, 8, *SHAPE)).astype(np.float32):
            np.testing.assert_allclose(plan(x), model(x), rtol=1e-6)


def _calls(module):
    """Return a layer that runs the kernel that the module has at the time."""

    class Calls(nn.Layer):
        setting_names = ()

        def forward(self, x, *, training):
            x = self.check_input(x)
            y = np.empty_like(x)
            module.run(x, y)
            return y, None

        def backward(self, grad_output, context, *, needs_input_grad=True):
            return grad_output

    return Calls()


CELL = """
from fastconv.kernels.cpu.runtime.launch import kernel, launch

@kernel
def mul(begin, end, x, y):
    for i in range(begin, end):
        if x[i] > 100:
            raise ValueError("input above 100")
        y[i] = x[i] * {factor}

def run(x, y):
    launch(mul, x.size, x.ravel(), y.ravel())
"""
FACTORY = """
from fastconv.kernels.cpu.elementwise import maps
from fastconv.kernels.cpu.runtime.launch import device
from fastconv.kernels.cpu.vector.simd import vsplat

@device
def times(a, b, parameters, dt):
    return (a + b) * vsplat({factor} / 2, dt)

mul = maps.make_binary("mul", times)

def run(x, y):
    maps.run_binary(mul, x, x, y)
"""
CELLS = {"the same name": CELL, "another name": CELL.replace("mul", "mul_{factor}"), "a factory's": FACTORY}


@pytest.mark.parametrize(
    ("capture", "name"), [*((None, name) for name in CELLS), (True, "the same name"), (False, "the same name")]
)
def test_a_kernel_that_was_declared_since_is_run_by_the_next_step(rng, capture, name):
    cell = types.ModuleType("cell")
    x, y = _batch(rng)
    with fc.use_backend("numba"):
        exec(CELLS[name].format(factor=1), vars(cell))
        trainer, found = _trainer(_calls(cell), capture=capture), []
        trainer.optimizer.lr = 0.0
        for factor in (1, 3, 5):
            exec(CELLS[name].format(factor=factor), vars(cell))
            found += [float(trainer.train_step(x, y)) for _ in range(2)]
            assert found[-1] == found[-2] == pytest.approx(trainer.evaluate((x, y))["loss"], rel=1e-6)
        assert len(set(found)) == 3


@pytest.mark.parametrize("capture", [None, True, False])
def test_what_a_kernel_raises_arrives_at_the_caller(rng, capture):
    cell = types.ModuleType("cell")
    x, y = _batch(rng)
    with fc.use_backend("numba"):
        exec(CELL.format(factor=1), vars(cell))
        model = nn.Sequential(_calls(cell), nn.BatchNorm2d(), nn.GlobalAvgPool2d(), nn.Dense(2)).build(SHAPE, seed=0)
        optimizer = optim.Adam(model.parameters(), 0.1)
        trainer = fc.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer, capture=capture)
        plan = model.compile(x.shape)
        trainer.train_step(x, y)
        before = [tensor.data.tobytes() for tensor in model.tensors()]
        bad = x.copy()
        bad[3, 1, 1, 1] = 1000
        with pytest.raises(ValueError, match="input above 100"):
            trainer.train_step(bad, y)
        with pytest.raises(ValueError, match="input above 100"):
            plan(bad)
        assert [tensor.data.tobytes() for tensor in model.tensors()] == before
        assert (trainer.step, optimizer.steps) == (1, 1)
        trainer.train_step(x, y)


class Plain(nn.Layer):
    """What it is made with is what its `setup` returns."""

    def __init__(self, shape):
        self.shape = shape

    def setup(self, input_shape, scope):
        return self.shape

    def forward(self, x, *, training):
        return x, None

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return grad_output


@pytest.mark.parametrize("shape", [None, 4, (4.0,), ("a",), (True,), "4"])
def test_a_setup_that_returns_no_shape_is_told(shape):
    with pytest.raises(ShapeError, match=r"setup, or infer: got .*; allowed: the shape of one output, a tuple of ints"):
        Plain(shape).build((4,))
    with pytest.raises(ShapeError, match=r"^layer 0 \(Plain\): setup, or infer: got "):
        nn.Sequential(Plain(shape), nn.Dense(2)).build((4,))


@pytest.mark.parametrize("shape", [(4,), [4], (np.int64(4),), ((4,), (2, 3)), ()])
def test_shapes_are_taken_as_they_are(shape):
    layer = Plain(shape)
    assert layer.build((4,)) is layer


def test_a_class_that_leaves_something_out_is_told_what():
    class Called(nn.Layer):
        def call(self, x):
            return x

    class Half(nn.Layer):
        def forward(self, x, *, training):
            return x, None

    back = r"backward\(self, grad_output, context, \*, needs_input_grad=True\)"
    with pytest.raises(
        ArgumentError, match=rf"^Called: got .*; allowed: with {back}, forward\(self, x, \*, training\)$"
    ):
        Called()
    with pytest.raises(ArgumentError, match=rf"^Half: got a class that leaves something out; allowed: with {back}$"):
        Half()


def test_a_forward_and_a_backward_of_other_arguments_are_told_which():
    class Torch(nn.Layer):
        def forward(self, x):
            return x, None

        def backward(self, grad_output):
            return grad_output

    layer = Torch().build((4,))
    x = np.ones((2, 4), np.float32)
    with pytest.raises(
        ArgumentError, match=r"^training: got it for Torch.forward, .*\(forward\(self, x, \*, training\)\)$"
    ):
        layer(x)
    with pytest.raises(
        ArgumentError, match=r"^arguments: got 2 without a name for Torch.backward; .*\(backward\(self, grad"
    ):
        layer.backward(x, None)
    with pytest.raises(ArgumentError, match=r"^needs_input_grad: got it for Torch.backward, .*\(backward\(self, grad"):
        layer.backward(x, needs_input_grad=False)


def test_a_build_of_ones_own_returns_the_layer_or_is_a_setup():
    class Keras(Plain):
        def build(self, input_shape):
            self.made = True

    class Ours(Plain):
        def build(self, input_shape, *args, **kwargs):
            self.made = True
            return super().build(input_shape, *args, **kwargs)

    class Without(nn.Layer):
        build = Keras.build
        forward, backward = Plain.forward, Plain.backward

    with pytest.raises(
        ArgumentError, match=r"^build of Keras: got NoneType; allowed: the layer itself, .*setup\(self, inp"
    ):
        Keras((4,)).build((4,))
    assert Ours((4,)).build((4,)).made
    nn.Sequential(Ours((4,)), nn.Dense(2)).build((4,))
    with pytest.raises(
        ArgumentError, match=r"^layer 0 \(Without\): build: got one of Without, which a model around it"
    ):
        nn.Sequential(Without(), nn.Dense(2)).build((4,))
