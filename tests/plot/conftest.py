"""Pictures are drawn into memory, and closed."""

import pytest


@pytest.fixture(autouse=True)
def drawn_into_memory():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    yield
    plt.close("all")
