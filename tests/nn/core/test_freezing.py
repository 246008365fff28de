"""Frozen layers: no gradient, no update, running statistics kept; and what is left is trained as before."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, UnknownAttributeError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.nn.fused.plan import Plan
from fastconv.optim import SGD, Adam
from tests.backends.emulator.emulated import emulator_or_skip
from tests.conftest import CPU_BACKENDS
from tests.nn.model.freezable import MODELS, batch_of, gradients, leaves, model_of

PAIRS = [(a, b) for i, a in enumerate(MODELS) for b in (*list(MODELS)[i % 3 :: 3],)]


def _on_backends(every):
    """Return backends of the CPU with names of models; those with SiLU are compiled for it alone, in the slow suite."""
    return [
        pytest.param(backend, *names, marks=[pytest.mark.slow] * (backend == "numba" and "silu" in "".join(names)))
        for backend in CPU_BACKENDS
        for names in every
    ]


@pytest.mark.parametrize(("backend", "first", "second"), _on_backends(PAIRS), indirect=["backend"])
def test_what_remains_has_the_same_gradients(first, second, backend, rng):
    """To the bit, whichever convolutions are frozen; what is frozen has zero."""
    model = model_of(first, second)
    x, y = batch_of(rng)
    kept = {t.name: np.array(fc.to_numpy(t.data)) for t in model.buffers()}
    whole, whole_input = gradients(model, x, y)
    layers = {path: layer for path, layer in leaves(model).items() if not isinstance(layer, nn.BatchNorm2d)}
    choices = [set(layers), *({path} for path in layers), set(list(layers)[:-1])]
    for chosen in filter(None, choices):
        for t in model.buffers():
            t.data = kept[t.name]
        model.unfreeze()
        model.freeze(*chosen)
        found, found_input = gradients(model, x, y)
        assert found_input.tobytes() == whole_input.tobytes()
        for name, grad in found.items():
            if name.rpartition(".")[0] in chosen:
                assert not grad.any(), name
            else:
                np.testing.assert_array_equal(grad, whole[name], err_msg=f"{name} with {sorted(chosen)} frozen")


@pytest.mark.parametrize(("backend", "first", "second"), _on_backends(PAIRS), indirect=["backend"])
def test_backward_stops_where_nothing_before_is_trained(first, second, backend, rng):
    model = model_of(first, second)
    x, y = batch_of(rng)
    model.freeze(*list(leaves(model))[:-1])
    whole, _ = gradients(model, x, y)
    called = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("conv2d_backward_weight", "conv2d_backward_input", "batch_norm_backward", "max_pool2d_backward"):
            real = getattr(type(model.backend), name)
            patch.setattr(type(model.backend), name, property(lambda self, name=name, real=real: called.append(name)))
        found, grad = gradients(model, x, y, needs_input_grad=False)
    assert grad is None
    assert not called
    for name in whole:
        np.testing.assert_array_equal(found[name], whole[name])


def test_it_stops_inside_of_a_block_too(backend, rng):
    model = model_of("residual-gelu", "conv-relu-pool")
    x, y = batch_of(rng)
    whole, _ = gradients(model, x, y)
    model.freeze("0.body.0")
    names = []
    with model.backend.trace(names.append):
        found, _ = gradients(model, x, y, needs_input_grad=False)
    assert not found["0.body.0.weight"].any()
    for name in set(whole) - {"0.body.0.weight", "0.body.0.bias"}:
        np.testing.assert_array_equal(found[name], whole[name])


@pytest.mark.float64
@pytest.mark.parametrize(
    ("backend", "name"),
    _on_backends((name,) for name in MODELS if "norm" in name or "residual" in name),
    indirect=["backend"],
)
@pytest.mark.parametrize("which", ["norms", "all but norms", "everything"])
def test_a_frozen_normalisation_is_a_fixed_affine_map(name, which, backend, rng):
    """The fused steps give what layers one by one give, and what the affine maps themselves do."""
    model = model_of(name, "conv-gelu", dtype=np.float64)  # without corners
    x, y = batch_of(rng, np.float64)
    norms = [path for path, layer in leaves(model).items() if isinstance(layer, nn.BatchNorm2d)]
    others = [path for path in leaves(model) if path not in norms]
    model.freeze(*{"norms": norms, "all but norms": others, "everything": norms + others}[which])
    kept = {t.name: np.array(fc.to_numpy(t.data)) for t in model.buffers()}
    found, _ = gradients(model, x, y)
    if which != "all but norms":
        for t in model.buffers():
            np.testing.assert_array_equal(fc.to_numpy(t.data), kept[t.name])
        out, _ = model.forward(x, training=True)
        np.testing.assert_allclose(fc.to_numpy(out), fc.to_numpy(model(x)), rtol=1e-12, atol=1e-12)

    # Central differences of the loss along the input and each parameter, in training.
    def loss():
        return float(SoftmaxCrossEntropy()(model.forward(x, training=True)[0], y)[0])

    for parameter in model.parameters():
        if parameter.is_frozen:
            assert not found[parameter.name].any()
            continue
        values, direction = np.array(fc.to_numpy(parameter.data)), rng.standard_normal(parameter.shape)
        sides = []
        for sign in (1, -1):
            parameter.data = values + sign * 1e-6 * direction
            for t in model.buffers():
                t.data = kept[t.name]
            sides.append(loss())
        parameter.data = values
        want = (sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose((found[parameter.name] * direction).sum(), want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.1), lambda p: Adam(p, 0.1)])
@pytest.mark.parametrize("capture", [False, True])
def test_optimizers_leave_it_alone(make, capture, rng):
    """No decay, no momentum; the others move as without it, and it goes on where it was when it is unfrozen."""
    with fc.use_backend("numba"):
        model = model_of("conv-norm-relu", "conv-relu-pool")
        trainer = fc.Trainer(model, SoftmaxCrossEntropy(), make(model.parameters()), seed=1, capture=capture)
        batches = [batch_of(rng) for _ in range(3)]
        for batch in batches:
            trainer.train_step(*batch)
        model.freeze("0", "1")
        before = {t.name: np.array(t.data) for t in model.tensors()}
        state = trainer.optimizer.state_dict()["tensors"]
        for batch in batches:
            trainer.train_step(*batch)
        after, after_state = (
            {t.name: np.array(t.data) for t in model.tensors()},
            trainer.optimizer.state_dict()["tensors"],
        )
        for name, value in before.items():
            assert (after[name].tobytes() == value.tobytes()) is name.startswith(("0.", "1.")), name
        for key, value in state.items():
            assert (after_state[key].tobytes() == value.tobytes()) is key.partition("/")[2].startswith(("0.", "1.")), (
                key
            )
        model.unfreeze()
        trainer.train_step(*batches[0])
        assert all(np.any(p.data != after[p.name]) for p in model.parameters() if p.name != "0.bias")  # dead
        if capture:
            assert trainer._captured.works


@pytest.mark.parametrize(
    ("backend", "names", "captures"),
    [
        ("numba", ("conv-norm-relu", "residual-relu"), 4),
        pytest.param("cuda-emulator", ("conv-norm-relu",), 3, marks=pytest.mark.emulator),
    ],
)
def test_captured_as_not_captured(backend, names, captures, rng):
    if backend == "cuda-emulator":
        emulator_or_skip()
    with fc.use_backend(backend):
        batches, results = [batch_of(rng, size=2) for _ in range(8)], []
        for capture in (False, True):
            model = model_of(*names)
            optimizer = SGD(model.parameters(), 0.05, 0.9)
            trainer = fc.Trainer(model, SoftmaxCrossEntropy(), optimizer, seed=1, capture=capture)
            losses, captured = [], []
            for i, batch in enumerate(batches):
                if i == 2:
                    model.freeze("0", "1")
                if i == 4:
                    model.freeze()
                    model.layers[-1].unfreeze()
                if i == 6:
                    model.unfreeze()
                losses.append(float(trainer.train_step(*batch)))
                captured.append(trainer._captured)
            results.append((losses, {t.name: fc.to_numpy(t.data).copy() for t in model.tensors()}))
        assert len(set(map(id, captured))) == captures  # each is replayed
        assert trainer._captured.works
        assert results[0][0] == results[1][0]
        for name, value in results[0][1].items():
            np.testing.assert_array_equal(results[1][1][name], value, err_msg=name)


def test_a_captured_step_launches_less(rng):
    with fc.use_backend("numba") as backend:
        model = model_of("conv-norm-relu", "residual-relu")
        trainer = fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.05), capture=True)
        batch, counts = batch_of(rng), []
        for frozen in (False, True):
            if frozen:
                model.freeze(*list(leaves(model))[:-1])
            trainer.train_step(*batch)
            names = []
            with backend.trace(names.append):
                trainer.train_step(*batch)
            counts.append(sum("weight" in name and "conv2d" in name for name in names))
        assert counts[0] > 2
        assert counts[1] <= 1  # that of the dense layer


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_it(how, backend, rng):
    model = model_of("conv-norm-relu", "conv-relu-pool")
    model.freeze("0", "1")
    twin = how(model)
    assert [p.is_frozen for p in twin.parameters()] == [p.is_frozen for p in model.parameters()]
    x, y = batch_of(rng)
    found, wanted = gradients(twin, x, y)[0], gradients(model, x, y)[0]
    for name, grad in wanted.items():
        np.testing.assert_array_equal(found[name], grad)
    twin.unfreeze()
    assert model.layers[0].is_frozen
    assert gradients(twin, x, y)[0]["0.weight"].any()


def test_a_move_keeps_it_and_a_new_build_does_not():
    with fc.use_backend("numba"):
        model = model_of("conv-norm-relu").freeze("0")
        model.to("numpy")
        assert model.layers[0].is_frozen
        assert not model.is_frozen
        model.to("numba").build((8, 8, 2))
        assert not model.layers[0].is_frozen


def test_layers_shared_with_another_model_stay_frozen():
    with fc.use_backend("numpy"):
        model = model_of("conv-norm-relu").freeze()
        other = nn.Sequential(*model.layers[:-1], nn.Dense(5)).build((8, 8, 2))
        assert [p.is_frozen for p in other.parameters()] == [True] * 4 + [False] * 2


def test_files_of_weights_say_nothing_of_it(tmp_path):
    with fc.use_backend("numpy"):
        model = model_of("conv-norm-relu").freeze("0")
        model.save_weights(tmp_path / "w.safetensors")
        other = model_of("conv-norm-relu", seed=9).freeze("1")
        other.load_weights(tmp_path / "w.safetensors")
        assert [layer.is_frozen for layer in other.layers[:2]] == [False, True]


def test_a_saved_state_of_training_says_it(tmp_path, backend, rng):
    batches, path = [batch_of(rng) for _ in range(4)], tmp_path / "state.safetensors"
    trainers = []
    for _ in range(2):
        model = model_of("conv-norm-relu", "conv-relu-pool")
        trainers.append(fc.Trainer(model, SoftmaxCrossEntropy(), Adam(model.parameters(), 0.1), seed=1))
    one, other = trainers
    one.model.freeze("0", "1")
    for batch in batches[:2]:
        one.train_step(*batch)
    one.save(path)
    other.model.freeze("3")
    other.restore(path)
    assert [layer.is_frozen for layer in other.model.layers[:4]] == [True, True, False, False]
    for batch in batches[2:]:
        assert float(one.train_step(*batch)) == float(other.train_step(*batch))


def test_summary_and_explain_show_it():
    with fc.use_backend("numba"):
        model = model_of("conv-norm-relu", "residual-relu")
        plain = str(model.summary())
        assert "frozen" not in plain
        model.freeze("0", "1", "3.body.3")
        summary = model.summary()
        assert summary.frozen == 8 * 2 * 9 + 8 + 16 + 8 * 8 * 9 + 8
        assert summary.trainable == summary.parameters - summary.frozen
        assert f"trainable parameters: {summary.trainable:,}; frozen: {summary.frozen:,}" in str(summary)
        assert "Conv2d, frozen" in str(summary)
        explained = fc.explain(model, (4, 8, 8, 2))
        rows = {row.names: row for row in explained.rows}
        assert rows["0", "1", "2"].frozen == ("0", "1")
        assert not rows["0", "1", "2"].backward
        assert "frozen:   0, 1" in str(explained)
        assert rows["3", "4"].frozen == ("3.body.3",)


def test_a_parameter_by_itself(backend, rng):
    """The weight of the first layer stays; its bias, and all else, has the gradient that it had."""
    model = model_of("conv-gelu", "conv-norm-relu")
    x, y = batch_of(rng)
    whole, _ = gradients(model, x, y, needs_input_grad=False)
    model.freeze("0.weight", "2")
    frozen = {p.name for p in model.parameters() if p.is_frozen}
    assert frozen == {"0.weight", "2.weight", "2.bias"}
    found, _ = gradients(model, x, y, needs_input_grad=False)
    for name, grad in found.items():
        np.testing.assert_array_equal(grad, 0 * whole[name] if name in frozen else whole[name], err_msg=name)
    assert not model.unfreeze("2.bias").layers[2].is_frozen
    conv = nn.Conv2d(4, 3).build((5, 5, 2)).freeze("bias")
    assert [p.is_frozen for p in conv.parameters()] == [False, True]


def test_refuses():
    layer = nn.Conv2d(4, 3)
    with pytest.raises(ArgumentError, match=r"Conv2d: got a layer that is not built; allowed: after build"):
        layer.freeze()
    with fc.use_backend("numpy"):
        model = model_of("conv-norm-relu")
        with pytest.raises(
            ArgumentError,
            match=r"names: got 'conv1'; allowed: those of layers inside, and of parameters \(nearest: '1'\)",
        ):
            model.freeze("conv1")
        with pytest.raises(ArgumentError, match=r"names: got '0.weigth'; allowed: .* \(nearest: '0.weight'\)"):
            model.freeze("0.weigth")
        with pytest.raises(ArgumentError, match=r"names: got '1.running_mean'; allowed: "):
            model.freeze("1.running_mean")
        for change in (
            lambda: setattr(model, "trainable", False),
            lambda: setattr(model.parameters()[0], "requires_grad", 0),
        ):
            with pytest.raises(AttributeError, match=r"layer\.freeze\(\)"):
                change()
        optimizer = SGD(model.parameters(), 0.1)
        model.freeze()
        with pytest.raises(ArgumentError, match=r"parameters: got 6, all of them frozen; allowed: at least one"):
            optimizer.step()
        trainer = fc.Trainer(model, SoftmaxCrossEntropy(), optimizer)
        x, y = batch_of(np.random.default_rng(0))
        with pytest.raises(ArgumentError, match="all of them frozen"):
            trainer.train_step(x, y)
        assert trainer.step == 0


def test_an_interrupt_freezes_all_or_none(monkeypatch):
    from fastconv.nn.core.parameter import Parameter

    with fc.use_backend("numpy"):
        model, real, left = model_of("conv-norm-relu"), Parameter.set_frozen, [3]

        def interrupted(self, frozen):
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            real(self, frozen)

        monkeypatch.setattr(Parameter, "set_frozen", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.freeze()
        assert not any(p.is_frozen for p in model.parameters())


def test_a_plan_looks_again_when_it_changed():
    with fc.use_backend("numpy"):
        model = model_of("conv-relu-pool", "conv-relu-pool")
        plan: Plan = model.plan
        assert plan.trained_from == 0
        model.freeze("0")
        assert plan.trained_from == 1
        model.freeze()
        assert plan.trained_from == len(plan.steps)
        model.unfreeze()
        assert plan.trained_from == 0


@pytest.mark.slow
def test_to_the_bit_where_kernels_go_back_through_a_pooling_at_once(rng):
    """On the CPU one kernel does the gradients of weight and input, or that of the input alone."""
    with fc.use_backend("numba"):
        layers = [nn.Conv2d(32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 3, padding=1), nn.ReLU()]
        model = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Dense(3)).build((16, 16, 8), seed=1)
        x, y = rng.standard_normal((4, 16, 16, 8)).astype(np.float32), np.arange(4, dtype=np.int32) % 3
        whole, whole_input = gradients(model, x, y)
        for path in ("0", "3"):
            model.unfreeze().freeze(path)
            found, found_input = gradients(model, x, y)
            assert found_input.tobytes() == whole_input.tobytes()
            for name in whole:
                same = found[name].tobytes() == whole[name].tobytes()
                assert same is not name.startswith(f"{path}."), name


def test_names_may_come_in_a_list():
    model = nn.Sequential(nn.Dense(3), nn.ReLU(), nn.Dense(2)).build((4,))
    model.freeze(["0", "2.bias"])
    assert [p.name for p in model.parameters() if p.is_frozen] == ["0.weight", "0.bias", "2.bias"]
    model.unfreeze(("0",), "2.bias")
    model.freeze([])
    assert not any(p.is_frozen for p in model.parameters())
    for wrong in (0, [0], model.layers[0], {"a": 1}, None):
        with pytest.raises(ArgumentError, match=r"^names: got .*; allowed: texts, such as '0.weight'$"):
            model.freeze(wrong)


@pytest.mark.parametrize("value", [True, False, 1, None])
def test_a_switch_that_nothing_would_notice_is_refused(value):
    """Optimizers and captured steps are told of freezing by `freeze`, and by nothing else."""
    model = nn.Sequential(nn.Dense(3), nn.ReLU(), nn.Dense(2)).build((4,))
    weight = model.parameters()[0]
    allowed = r"layer\.freeze\(\) and .*, or model\.freeze\('0\.weight'\)$"
    with pytest.raises(ArgumentError, match=rf"^is_frozen: got .* for 0\.weight; allowed: {allowed}"):
        weight.is_frozen = value
    for layer in (model, model[0]):
        for name in ("is_frozen", "frozen"):
            with pytest.raises(UnknownAttributeError, match=rf"^{name}: got .*; allowed: layer\.freeze\(\) and "):
                setattr(layer, name, value)
    assert not any(parameter.is_frozen for parameter in model.parameters())
    model.freeze("0.weight")
    assert all(each.is_frozen for each in (weight, pickle.loads(pickle.dumps(weight)), copy.deepcopy(weight)))
