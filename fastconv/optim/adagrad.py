"""Adagrad."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.optimizer import Optimizer


class Adagrad(Optimizer):
    """Rates that fall with the gradients seen so far (Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html).

    ``g = grad + weight_decay * p + l1 * sign(p); sum += g**2;
    p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)`` at step t, counted from 1.

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Or groups of them with settings of their own, see `Optimizer`.
    lr : float
        Learning rate.
    lr_decay : float
        How fast the rate itself falls; at least 0.
    eps : float
        Above 0.
    weight_decay : float
        L2 penalty: times the parameter, added to the gradient.
    l1 : float
        L1 penalty: times the parameter's sign, added to the gradient.
    initial_accumulator_value : float
        What `sum` begins with.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.Adagrad(layer.parameters(), lr=0.1).step()
    >>> layer.weight.data.round(6)
    array([[0.9]])
    """

    lr_decay: float
    eps: float
    weight_decay: float
    l1: float
    initial_accumulator_value: float
    rule = UPDATE_RULES["adagrad"]

    def __init__(
        self,
        parameters: Trained,
        lr: float = 1e-2,
        *,
        lr_decay: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        l1: float = 0.0,
        initial_accumulator_value: float = 0.0,
    ) -> None:
        self.take(
            lr_decay=lr_decay,
            eps=eps,
            weight_decay=weight_decay,
            l1=l1,
            initial_accumulator_value=initial_accumulator_value,
        )
        super().__init__(parameters, lr)
