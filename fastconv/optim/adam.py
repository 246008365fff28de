"""Adam."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.optimizer import Optimizer


class Adam(Optimizer):
    """Adam (Kingma and Ba 2014, https://arxiv.org/abs/1412.6980).

    ``g = grad + weight_decay * p + l1 * sign(p); m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2;
    p -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)`` at step t, counted from 1.

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
        L2 penalty: times the parameter, added to the gradient.
    amsgrad : bool
        Divide by the highest v so far (Reddi et al. 2018, https://openreview.net/forum?id=ryQu7f-RZ).
    l1 : float
        L1 penalty: times the parameter's sign, added to the gradient.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.Adam(layer.parameters(), lr=0.1).step()
    >>> layer.weight.data.round(6)
    array([[0.9]])
    """

    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    amsgrad: bool
    l1: float
    rule = UPDATE_RULES["adam"]

    def __init__(
        self,
        parameters: Trained,
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        l1: float = 0.0,
    ) -> None:
        self.take(beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, l1=l1)
        super().__init__(parameters, lr)
