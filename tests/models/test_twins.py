"""Outputs and gradients of every model in every form equal PyTorch's, with the same weights."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy
from tests.models.forms import FORMS, small
from tests.models.twins import to_ours, twin

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peer

LONG = ("alexnet", "googlenet", "mobilenet", "resnet", "vgg")
CASES = [pytest.param(case, marks=[pytest.mark.slow] if case.startswith(LONG) else []) for case in FORMS]


@pytest.mark.parametrize("case", CASES)
def test_in_training_and_after_it(rng, case):
    """In float64; a ReLU at zero may fall on either side in float32."""
    with fc.use_backend("numba"):
        model = small(*FORMS[case], dtype=np.float64, seed=2)
        for layer in model.walk():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        peer = twin(torch, model)
        x = rng.standard_normal((3, *model.input_shape))
        labels = np.array([3, 1, 4], np.int32)
        want = peer(torch.tensor(x))
        loss = torch.nn.functional.cross_entropy(want, torch.tensor(labels).long())
        loss.backward()
        logits, context = model.forward(x, training=True)
        value, grad = SoftmaxCrossEntropy()(logits, labels)
        model.backward(grad, context, needs_input_grad=False)
        want = want.detach().numpy()
        np.testing.assert_allclose(logits, want, rtol=0, atol=1e-9 * np.abs(want).max())
        assert float(value) == pytest.approx(loss.item(), rel=1e-9)
        largest = max(float(q.grad.norm()) for q in peer.parameters())
        for p, q in zip(model.parameters(), peer.parameters(), strict=True):
            error = np.linalg.norm(p.grad - to_ours(q.grad))
            # a bias before BatchNorm has only noise
            assert error < 1e-8 * max(float(q.grad.norm()), 1e-2 * largest), p.name
        peer.eval()
        with torch.no_grad():
            want = peer(torch.tensor(x)).numpy()
        np.testing.assert_allclose(model(x), want, rtol=0, atol=1e-9 * np.abs(want).max())
