"""Models of one's own that got other layers, as by ``model.head = nn.Dense(3)``: built again, nothing is lost."""

import dataclasses

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD
from fastconv.parallel import DataParallel


class Net(nn.Layer):
    """A body and a head, as one writes them elsewhere."""

    def __init__(self, classes):
        self.body, self.act, self.head = nn.Sequential(nn.Dense(5), nn.ReLU()), nn.Tanh(), nn.Dense(classes)

    def children(self):
        return [("body", self.body), ("act", self.act), ("head", self.head)]

    def setup(self, input_shape, scope):
        for name, layer in self.children():
            input_shape = scope.child(name, layer, input_shape)
        return input_shape

    def infer(self, input_shape):
        return self.head.infer(self.body.infer(input_shape))

    def forward(self, x, *, training):
        contexts = []
        for _, layer in self.children():
            x, context = layer.forward(x, training=training)
            contexts.append(context)
        return x, contexts if training else None

    def backward(self, grad_output, context, *, needs_input_grad=True):
        for (name, layer), its in zip(reversed(self.children()), reversed(context), strict=True):
            grad_output = layer.backward(grad_output, its, needs_input_grad=needs_input_grad or name != "body")
        return grad_output


class Known(Net):
    """One that is captured."""

    setting_names = ()
    forward, backward, infer, setup, children = Net.forward, Net.backward, Net.infer, Net.setup, Net.children


BATCH = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32), np.array([0, 1, 1, 0], np.int32)


def trained(kind=Net, **keywords):
    trainer = fc.Trainer(model := kind(2).build((3,), seed=0), SoftmaxCrossEntropy(), SGD(model.parameters(), 0.5))
    for _ in range(2):
        trainer.train_step(*map(fc.asarray, BATCH))
    return trainer


def values(model):
    return {name: np.array(fc.to_numpy(tensor.data)) for name, tensor in model.named_tensors().items()}


def test_a_new_head_leaves_the_body(backend):
    model = trained().model
    before = values(model)
    model.head = nn.Dense(3)
    model.build((3,), seed=7)
    after = values(model)
    assert before.keys() == after.keys()
    for name in ("body.0.weight", "body.0.bias"):
        np.testing.assert_array_equal(before[name], after[name])
    assert after["head.weight"].shape == (5, 3)
    model.act = nn.ReLU()  # without tensors
    model.build((3,), seed=8)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, after[name])
    model.build((3,), seed=9)  # the same model again: anew
    assert not np.array_equal(values(model)["body.0.weight"], before["body.0.weight"])


def test_a_layer_that_is_left_out_takes_nothing_along(backend):
    class Growing(nn.Sequential):
        """A model whose layers change."""

    model = Growing(nn.Dense(4), nn.Dense(3), nn.Dense(2)).build((3,), seed=0)
    before = values(model)
    model.layers = model.layers[:2]
    model.build((3,), seed=5)
    assert {name: array.tolist() for name, array in values(model).items()} == {
        name: array.tolist() for name, array in before.items() if not name.startswith("2")
    }


class Listed(Net):
    """One that has its layers in a list."""

    def __init__(self):
        self.layers = [nn.Dense(3), nn.Dense(3)]

    def children(self):
        return [(str(number), layer) for number, layer in enumerate(self.layers)]

    def infer(self, input_shape):
        return input_shape


def test_layers_in_another_order_are_built_first(backend, tmp_path):
    model, x = nn.Sequential(Listed(), nn.ReLU()).build((3,), seed=0), fc.asarray(BATCH[0])
    model[0].layers.reverse()
    turned = fc.to_numpy(model(x)).copy()
    with pytest.raises(ArgumentError, match="layers: got others than this Sequential was built with"):
        model.save_weights(tmp_path / "weights")
    model.build((3,), seed=5)
    np.testing.assert_array_equal(fc.to_numpy(model(x)), turned)
    model.save_weights(tmp_path / "weights")
    other = nn.Sequential(Listed(), nn.ReLU()).build((3,), seed=7)
    other.load_weights(tmp_path / "weights")
    np.testing.assert_array_equal(fc.to_numpy(other(x)), turned)


@pytest.mark.parametrize("kind", [Net, Known])
def test_another_head_is_built_with_its_model_first(backend, tmp_path, kind):
    """Files and names were those of the old head, which also was what went on to be trained."""
    trainer = trained(kind)
    model, x, y = trainer.model, *map(fc.asarray, BATCH)
    model.head = nn.Dense(2).build((5,), seed=3)
    kept = np.array(fc.to_numpy(model.head.weight.data))
    message = f"layers: got others than this {kind.__name__} was built with; allowed: after build"
    uses = (
        *(lambda: trainer.train_step(x, y), lambda: trainer.fit((x, y), 1), lambda: trainer.save(tmp_path / "state")),
        *(lambda: model.save_weights(tmp_path / "weights"), model.named_tensors),
        lambda: fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1)),
    )
    for use in uses:
        with pytest.raises(ArgumentError, match=message):
            use()
    assert trainer.step == 2
    model.build((3,))
    np.testing.assert_array_equal(values(model)["head.weight"], kept)
    with pytest.raises(ArgumentError, match="optimizer: got SGD of 4 parameters, 2 of which are not"):
        trainer.train_step(x, y)
    trainer.optimizer = SGD(model.parameters(), 0.5)
    trainer.train_step(x, y)
    assert not np.array_equal(values(model)["head.weight"], kept)


def test_ranks_refuse_and_capture_alike(backend):
    x, y = map(fc.asarray, BATCH)
    model = Known(2).build((3,), seed=0)
    trainer = fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.5), parallel=DataParallel(shards=2))
    alone = trained(Known)
    for _ in range(2):
        trainer.train_step(x, y)
    for each in (trainer, alone):
        each.model.act = nn.ReLU().build((5,))
    assert float(trainer.train_step(x, y)) == pytest.approx(float(alone.train_step(x, y)), rel=1e-5)
    model.head = nn.Dense(2).build((5,), seed=3)
    with pytest.raises(ArgumentError, match="layers: got others than this Known"):
        trainer.train_step(x, y)


def test_a_step_is_captured_anew_with_another_layer():
    with fc.use_backend("numba"):
        found = []
        for capture in (False, True):
            trainer = trained(Known)
            trainer._capture = capture
            trainer.train_step(*BATCH)
            trainer.model.act = nn.ReLU().build((5,))
            found += [float(trainer.train_step(*BATCH)), values(trainer.model)["body.0.weight"].tobytes()]
        assert found[:2] == found[2:]


def test_layers_of_a_derived_container_stay_its_own():
    class Block(nn.Sequential):
        """As one writes it elsewhere."""

        def __init__(self):
            self.first = nn.Dense(2)
            super().__init__(self.first, nn.ReLU())

    block = Block().build((3,))
    with pytest.raises(ArgumentError, match="first: got other layers than Block was made of; allowed: a new Block"):
        block.first = nn.Dense(2)


def test_a_layer_in_an_empty_place_is_not_left_untrained(backend):
    """What held nothing at first was not looked at again."""
    holder = Listed()
    holder.layers = []
    model = nn.Sequential(nn.Dense(3), holder, nn.Dense(2)).build((3,), seed=0)
    trainer = fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.5))
    trainer.train_step(*map(fc.asarray, BATCH))
    holder.layers.append(nn.Dense(3).build((3,)))
    with pytest.raises(ArgumentError, match="layers: got others than this Sequential was built with"):
        trainer.train_step(*map(fc.asarray, BATCH))
    holder.layers.clear()
    trainer.train_step(*map(fc.asarray, BATCH))
    assert trainer.step == 2


@dataclasses.dataclass
class Equal(nn.Layer):
    """All of one width are equal."""

    width: int

    def infer(self, input_shape):
        return (self.width,)

    def setup(self, input_shape, scope):
        self.weight = scope.parameter("weight", (input_shape[-1], self.width), init="he_normal")
        return (self.width,)

    def forward(self, x, *, training):
        return fc.functional.dense(x, self.weight.array), x if training else None

    def backward(self, grad_output, context, *, needs_input_grad=True):
        self.weight.add_grad(fc.functional.dense_backward_weight(grad_output, context))
        return fc.functional.dense_backward_input(grad_output, self.weight.array)


def test_layers_that_call_themselves_equal_are_others(backend, tmp_path):
    holder = Listed()
    holder.layers = [Equal(3), Equal(3)]
    model = nn.Sequential(holder, nn.Dense(2)).build((3,), seed=0)
    trainer = fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.5))
    trainer.train_step(*map(fc.asarray, BATCH))
    holder.layers[1] = Equal(3).build((3,))
    for use in (lambda: trainer.train_step(*map(fc.asarray, BATCH)), lambda: model.save_weights(tmp_path / "weights")):
        with pytest.raises(ArgumentError, match="layers: got others than this Sequential was built with"):
            use()
