"""Adam with decoupled weight decay."""

from __future__ import annotations

from types import MappingProxyType

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.optimizer import Optimizer


class AdamW(Optimizer):
    """Adam, and weights that shrink by themselves (Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101).

    ``p -= lr * weight_decay * p``, then a step of `Adam` without penalties. There is no L1 penalty here: what it adds
    to the gradient would be divided by the gradient's size, which is what this rule avoids. Who wants that, as with a
    penalty in the loss elsewhere, has it in `Adam`, and in `NAdam` beside a decay as here.

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Or groups of them with settings of their own, see `Optimizer`.
    lr : float
        Learning rate.
    beta1, beta2 : float
        At least 0, below 1; PyTorch's `betas`.
    eps : float
        Above 0.
    weight_decay : float
        Share of the parameter that is taken away in each step, times the rate.
    amsgrad : bool
        Divide by the highest v so far.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.01).step()
    >>> layer.weight.data.round(6)
    array([[0.899]])
    """

    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    amsgrad: bool
    rule = UPDATE_RULES["adamw"]
    absent = MappingProxyType(
        {
            "l1": "what a penalty adds to a gradient would be divided by the gradient's size, which AdamW avoids;"
            " Adam(l1=...) does that, and NAdam(decoupled_weight_decay=True, l1=...) beside AdamW's decay"
        }
    )

    def __init__(
        self,
        parameters: Trained,
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
    ) -> None:
        self.take(beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)
        super().__init__(parameters, lr)
