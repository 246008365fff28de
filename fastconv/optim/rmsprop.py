"""RMSProp."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.optimizer import Optimizer


class RMSProp(Optimizer):
    """Gradients divided by the size of recent ones (Hinton 2012; centred: Graves 2013, https://arxiv.org/abs/1308.0850).

    ``g = grad + weight_decay * p + l1 * sign(p); square = alpha * square + (1 - alpha) * g**2;
    d = g / (sqrt(square) + eps); velocity = momentum * velocity + d; p -= lr * (velocity if momentum else d)``

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Or groups of them with settings of their own, see `Optimizer`.
    lr : float
        Learning rate.
    alpha : float
        At least 0, below 1.
    eps : float
        Above 0.
    momentum : float
        At least 0, below 1; without momentum there is no velocity.
    centered : bool
        Divide by the spread of recent gradients, ``square - mean**2`` (0 where rounding makes it less) in place of
        `square`, with ``mean = alpha * mean + (1 - alpha) * g``.
    weight_decay : float
        L2 penalty: times the parameter, added to the gradient.
    l1 : float
        L1 penalty: times the parameter's sign, added to the gradient.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.RMSProp(layer.parameters(), lr=0.01).step()
    >>> layer.weight.data.round(6)
    array([[0.9]])
    """

    alpha: float
    eps: float
    momentum: float
    centered: bool
    weight_decay: float
    l1: float
    rule = UPDATE_RULES["rmsprop"]

    def __init__(
        self,
        parameters: Trained,
        lr: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        self.take(alpha=alpha, eps=eps, momentum=momentum, centered=centered, weight_decay=weight_decay, l1=l1)
        super().__init__(parameters, lr)
