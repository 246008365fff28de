"""One picture of each function of `fastconv.plot`: ``python -m tests.plot.pictures`` draws the baselines anew.

They are small and without words, whose outlines differ between releases of FreeType, and what makes room for them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import nn, plot
from fastconv.optim import schedules
from fastconv.training import History, RangeTest
from fastconv.training import diagnostics as look

BASELINES = Path(__file__).parent / "baselines"
DPI = 40


def bowl(x: Any, y: Any) -> Any:
    return x**2 + 4 * y**2


PATHS = {"straight": np.outer(np.linspace(1, 0, 9), [2.0, 1.0]), "bent": np.linspace(1, 0, 9)[:, None] ** [1.0, 3.0]}
AREA: dict[str, Any] = {"x": (-1, 2.5), "y": (-1.5, 1.5)}


def random() -> np.random.Generator:
    return np.random.default_rng(5)


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 17 / 16


def small_model() -> nn.Sequential:
    """Weights are made by the formula above, so that no draw changes the pictures."""
    layers = (nn.Conv2d(4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dense(3))
    model = nn.Sequential(*layers).build((10, 10, 1), seed=0)
    for parameter in model.parameters():
        parameter.data = ramp(*parameter.shape) - 0.4
    return model


def history(*losses: float) -> History:
    found = History()
    for number, loss in enumerate(losses):
        found.append({"loss": loss, "val_loss": loss + 0.1 * number})
    return found


def profile() -> Any:
    times = {"forward_ms": 2.0, "backward_ms": 3.0, "forward_macs": 10**8, "backward_macs": 2 * 10**8}
    moved = {"forward_bytes": 10**7, "backward_bytes": 10**8, "forward_share": 0.5, "backward_share": 0.5}
    rows = [look.LayerTime((str(i),), ("Conv2d",), **times, **moved) for i in range(1)]
    rows.append(look.LayerTime(("1",), ("ReLU",), **{**times, "forward_macs": 0, "backward_macs": 0}, **moved))
    rows.append(look.LayerTime(("2",), ("Dense",), **{**times, "forward_macs": 10**6}, **moved))
    return look.Profile("numpy", "default", (1,), look.Machine(2e11, 2e10), tuple(rows))


def reports() -> dict[int, Any]:
    def row(name: str, dead: int) -> Any:
        return look.DeadUnits(name, "ReLU", 10, tuple(range(dead)))

    return {step: look.DeadUnitReport((row("1", step // 2), row("3", step)), 4) for step in (1, 4, 6, 9)}


def statistics() -> Any:
    model = small_model()
    x = ramp(4, 10, 10, 1) - 0.3
    return look.layer_statistics(model, x, np.array([0, 1, 2, 0], np.int32), fc.losses.SoftmaxCrossEntropy())


PICTURES: dict[str, Callable[[], Any]] = {
    "activations": lambda: plot.activations(nn.ReLU(), nn.Tanh(), nn.GELU()),
    "animate_kernel": lambda: plot.animate_kernel(ramp(9, 9), np.array([[-1, 0, 1]]), frames=3),
    "animate_surface": lambda: plot.animate_surface(bowl, PATHS, **AREA, frames=3),
    "attributions": lambda: plot.attributions(
        ramp(2, 8, 8, 3), {"signed": ramp(2, 8, 8) - 0.5, "amount": ramp(2, 8, 8), "coarse": ramp(2, 3, 3)}
    ),
    "confusion": lambda: plot.confusion(np.array([[8, 2, 0], [1, 5, 3], [0, 0, 4]])),
    "costs": lambda: plot.costs([fc.losses.MeanSquaredError(), fc.losses.Huber(1.0), fc.losses.MeanAbsoluteError()]),
    "curves": lambda: plot.curves({"one": history(2.0, 1.0, 0.5), "two": history(2.2, 1.8, 1.7)}),
    "dead_units": lambda: plot.dead_units(reports()),
    "feature_maps": lambda: plot.feature_maps(small_model(), ramp(10, 10, 1), per_layer=3),
    "filters": lambda: plot.filters(small_model().layers[0], columns=2),
    "histograms": lambda: plot.histograms(statistics(), "gradient"),
    "kernel_at_work": lambda: plot.kernel_at_work(
        ramp(9, 9), {"edge": np.array([[-1, 0, 1]]), "blur": np.ones((3, 3))}
    ),
    "learning_rate_finder": lambda: plot.learning_rate_finder(
        RangeTest((1e-3, 1e-2, 1e-1, 1.0), (3.0, 2.0, 1.0, 4.0), (3.0, 2.5, 1.8, 2.5), True)
    ),
    "matrix": lambda: plot.matrix(np.arange(12).reshape(3, 4)),
    "mistakes": lambda: plot.mistakes(
        ramp(6, 8, 8), np.arange(6) % 3, np.eye(3)[[0, 2, 2, 0, 0, 1]] * np.arange(6)[:, None], count=3
    ),
    "roofline": lambda: plot.roofline(profile()),
    "sparsity": lambda: plot.sparsity(History({"sparsity": [0.2, 0.6, 0.9], "sparsity/0.weight": [0.1, 0.5, 0.9]})),
    "sparsity_accuracy": lambda: plot.sparsity_accuracy(
        {"published": {0.0: 0.86, 0.95: 0.77}, "ours": {0.5: [0.8, 0.84]}}
    ),
    "schedules": lambda: plot.schedules({"line": schedules.Polynomial(1.0, 9), "half": schedules.Constant(0.5)}, 9),
    "surface": lambda: plot.surface(bowl, PATHS, **AREA),
    "update_ratios": lambda: plot.update_ratios(
        [look.UpdateRatios(step, {"weight": 10.0**-step, "bias": 2e-3}) for step in (1, 2, 3, 4)]
    ),
    "volumes": lambda: plot.volumes(small_model()),
}
"""By the function's name: what it draws of data that no random stream and no release changes."""


def save(name: str, path: Path) -> None:
    """Draw a picture and write it without words."""
    from matplotlib.legend import Legend
    from matplotlib.text import Text

    with fc.use_backend("numpy"), fc.precision("strict"):
        made = PICTURES[name]()
    if hasattr(made, "save"):  # an animation: one of its three pictures
        made._draw_frame(1)
        made._draw_was_started = True
        figure = made._fig
    else:
        figure = made if hasattr(made, "savefig") else made.get_figure(root=True)
    for artist in figure.findobj(lambda each: isinstance(each, Text | Legend)):
        artist.set_visible(False)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def main() -> None:
    """Draw all anew."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    BASELINES.mkdir(exist_ok=True)
    for name in PICTURES:
        save(name, BASELINES / f"{name}.png")
        plt.close("all")


if __name__ == "__main__":
    main()
