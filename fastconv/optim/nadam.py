"""Adam with the momentum of Nesterov."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.optimizer import Optimizer


class NAdam(Optimizer):
    """Adam that looks one step ahead (Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ).

    ``g = grad + weight_decay * p + l1 * sign(p); m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2;
    mu_t = beta1 * (1 - 0.96**(t * momentum_decay) / 2); product = mu_1 * ... * mu_t;
    d = (1 - mu_t) / (1 - product) * g + mu_t+1 / (1 - product * mu_t+1) * m;
    p -= lr * d / (sqrt(v / (1 - beta2**t)) + eps)`` at step t, counted from 1.

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
    momentum_decay : float
        How fast the momentum of the first steps grows to `beta1`.
    decoupled_weight_decay : bool
        ``p -= lr * weight_decay * p`` instead of what `weight_decay` adds to the gradient.
    l1 : float
        L1 penalty: times the parameter's sign, added to the gradient.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.NAdam(layer.parameters(), lr=0.1).step()
    >>> layer.weight.data.round(6)
    array([[0.894355]])
    """

    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    momentum_decay: float
    decoupled_weight_decay: bool
    l1: float
    rule = UPDATE_RULES["nadam"]

    def __init__(
        self,
        parameters: Trained,
        lr: float = 2e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        l1: float = 0.0,
    ) -> None:
        self.take(
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            l1=l1,
        )
        super().__init__(parameters, lr)
