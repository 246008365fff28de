"""Every model in every form runs in `compile`, and gives what it gives without."""

import numpy as np
import pytest

import fastconv as fc
from tests.models.forms import FORMS, small

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", FORMS)
def test_predictions_of_the_plan_are_those_of_the_model(rng, case):
    """But for rounding, which a channel that hardly varies within the batch makes larger, to some 1e-4."""
    with fc.use_backend("numba"):
        model = small(*FORMS[case], seed=0)
        x = rng.standard_normal((4, *model.input_shape)).astype(np.float32)
        model.forward(x, training=True)
        expected = model(x)
        largest = np.abs(expected).max()
        assert np.abs(expected[0] - expected[1]).max() > 0.02 * largest  # it sees the images
        plan = model.compile(x.shape)
        for _ in range(2):
            np.testing.assert_allclose(plan(x), expected, rtol=0, atol=1e-3 * largest)
