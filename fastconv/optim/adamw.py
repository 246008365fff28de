"""Adam with decoupled weight decay."""

from __future__ import annotations

from types import MappingProxyType

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.habits import ABSENT
from fastconv.optim.ruled import RuledOptimizer, takes


class AdamW(RuledOptimizer):
    """Adam, and weights that shrink by themselves (Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101).

    ``p -= lr * weight_decay * p``, then a step of `Adam` without penalties. There is no L1 penalty here: what it adds
    to the gradient would be divided by the gradient's size, which is what this rule avoids. Who wants that, as with a
    penalty in the loss elsewhere, has it in `Adam`, and in `NAdam` beside a decay as here.

    Parameters
    ----------
    weight_decay : float
        Share of the parameter that is taken away in each step, times the rate.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.01).step()
    >>> layer.weight.data.round(6)
    array([[0.899]])
    """

    rule = UPDATE_RULES["adamw"]
    absent = MappingProxyType(
        {
            **ABSENT,
            "l1": "what a penalty adds to a gradient would be divided by the gradient's size, which AdamW avoids;"
            " Adam(l1=...) does that, and NAdam(decoupled_weight_decay=True, l1=...) beside AdamW's decay",
        }
    )

    @takes(rule.scalars)
    def __init__(self, parameters: Trained, lr: float = 1e-3, **settings: float | bool) -> None:
        super().__init__(parameters, lr, **settings)
