"""Functions that take a model say so where they get something else."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, FastconvError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.training import diagnostics

X, Y = np.zeros((2, 8, 8, 3), np.float32), np.zeros(2, np.int32)
TAKE_A_MODEL = {
    "explain": lambda model: fc.explain(model, X.shape),
    "dead_units": lambda model: diagnostics.dead_units(model, X),
    "find_non_finite": lambda model: diagnostics.find_non_finite(model, SoftmaxCrossEntropy(), X, Y),
    "grad_cam": lambda model: diagnostics.grad_cam(model, X),
    "gradient_times_input": lambda model: diagnostics.gradient_times_input(model, X),
    "layer_statistics": lambda model: diagnostics.layer_statistics(model, X),
    "occlusion": lambda model: diagnostics.occlusion(model, X),
    "profile_layers": lambda model: diagnostics.profile_layers(model, X),
    "saliency": lambda model: diagnostics.saliency(model, X),
}


@pytest.mark.parametrize("name", TAKE_A_MODEL)
def test_what_is_no_built_model_is_refused(name):
    with fc.use_backend("numpy"):
        for wrong, got in (("lenet5", "'lenet5'"), (None, "None"), (fc.nn.Sequential, "the class Sequential")):
            with pytest.raises(ArgumentError, match=f"model: got {got}; allowed: a built layer, such as a Sequential"):
                TAKE_A_MODEL[name](wrong)
        with pytest.raises(FastconvError, match="not built"):
            TAKE_A_MODEL[name](fc.nn.Sequential(fc.nn.Flatten(), fc.nn.Dense(2)))
