"""The update rules of optimizers: the one list that kernels, optimizers, tables and tests are made from.

The formulas are written three times, by hand: in NumPy (fastconv/backends/reference/update.py), for the CPU
(cpu/elementwise/optimizer.py) and in CUDA (cuda/elementwise/optimizer.cu).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .scalars import Scalar


@dataclass(frozen=True)
class Update:
    """An update rule with values for its settings: what an operation is called with, hashable and small."""

    name: str
    values: tuple[float | bool, ...]

    @property
    def rule(self) -> UpdateRule:
        """The rule, as it is declared."""
        return UPDATE_RULES[self.name]


@dataclass(frozen=True)
class UpdateRule:
    """How parameters p change at step t, counted from 1, by their gradients g and what is kept of earlier ones.

    Attributes
    ----------
    name : str
        Of the rule; its kernel is called ``sgd_update``.
    state : tuple of str
        The arrays that are kept, each as large as the parameters; zeros at first.
    settings : tuple of Scalar
        All that is set but the learning rate `lr`.
    formula, source : str
    needs : tuple of (state, setting)
        Arrays that are kept only where that setting is not zero.
    initial : tuple of (state, Scalar)
        Arrays that begin with a number that is set, which the formula does not need.
    optimizes : bool
        Whether it is an optimizer of its own; else it is a part of one.
    """

    name: str
    state: tuple[str, ...]
    settings: tuple[Scalar, ...]
    formula: str
    source: str = ""
    needs: tuple[tuple[str, str], ...] = ()
    initial: tuple[tuple[str, Scalar], ...] = ()
    optimizes: bool = True

    def __call__(self, *values: float | bool) -> Update:
        """Return the rule with these values for its first settings and the defaults for the others."""
        rest = (setting.default for setting in self.settings[len(values) :])
        return Update(self.name, (*values, *rest))

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """All that is set, for its formula or for what its arrays begin with."""
        return *self.settings, *(scalar for _, scalar in self.initial)

    def state_for(self, settings: Mapping[str, float | bool]) -> tuple[str, ...]:
        """Return the arrays that are kept with these settings."""
        needs = dict(self.needs)
        return tuple(name for name in self.state if name not in needs or settings[needs[name]])


PIECE_ELEMENTS = 4096
"""Where a rule goes over pieces of the arenas, these are the elements of a piece at most."""

_DECAY = Scalar("weight_decay", 0.0, 0)
_L1 = Scalar("l1", 0.0, 0)
_BETAS = Scalar("beta1", 0.9, 0, 1), Scalar("beta2", 0.999, 0, 1)
_AMSGRAD = Scalar("amsgrad", False)
_PENALISED = "g += weight_decay * p + l1 * sign(p); "
_MOMENTS = "m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2; "
_ADAM = (
    f"{_MOMENTS}highest = max(highest, v); p -= lr * (m / (1 - beta1**t)) / (sqrt((highest if amsgrad else v)"
    " / (1 - beta2**t)) + eps)"
)


def _eps(default: float) -> Scalar:
    return Scalar("eps", default, 0, open_low=True)


_RULES = (
    UpdateRule(
        "sgd",
        ("velocity",),
        (Scalar("momentum", 0.0, 0, 1), Scalar("nesterov", False), _DECAY, Scalar("dampening", 0.0), _L1),
        f"{_PENALISED}velocity = momentum * velocity + (1 - dampening) * g, or g at t = 1;"
        " p -= lr * (g + momentum * velocity if nesterov else velocity), or lr * g without momentum, and no state",
        source="Sutskever et al. 2013, as in PyTorch",
        needs=(("velocity", "momentum"),),
    ),
    UpdateRule(
        "adagrad",
        ("sum",),
        (Scalar("lr_decay", 0.0, 0), _eps(1e-10), _DECAY, _L1),
        f"{_PENALISED}sum += g**2; p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)",
        source="Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html, as in PyTorch",
        initial=(("sum", Scalar("initial_accumulator_value", 0.0, 0)),),
    ),
    UpdateRule(
        "adadelta",
        ("square", "changes"),
        (Scalar("rho", 0.9, 0, 1), _eps(1e-6), _DECAY, _L1),
        f"{_PENALISED}square = rho * square + (1 - rho) * g**2; d = sqrt(changes + eps) / sqrt(square + eps) * g;"
        " changes = rho * changes + (1 - rho) * d**2; p -= lr * d",
        source="Zeiler 2012, https://arxiv.org/abs/1212.5701",
    ),
    UpdateRule(
        "rmsprop",
        ("square", "mean", "velocity"),
        (
            *(Scalar("alpha", 0.99, 0, 1), _eps(1e-8), Scalar("momentum", 0.0, 0, 1), Scalar("centered", False)),
            *(_DECAY, _L1),
        ),
        f"{_PENALISED}square = alpha * square + (1 - alpha) * g**2; mean = alpha * mean + (1 - alpha) * g;"
        " d = g / (sqrt(max(square - mean**2, 0) if centered else square) + eps);"
        " velocity = momentum * velocity + d; p -= lr * (velocity if momentum else d)",
        source="Hinton 2012, https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf, centred: Graves"
        " 2013, https://arxiv.org/abs/1308.0850",
        needs=(("mean", "centered"), ("velocity", "momentum")),
    ),
    UpdateRule(
        "adam",
        ("m", "v", "highest"),
        (*_BETAS, _eps(1e-8), _DECAY, _AMSGRAD, _L1),
        f"{_PENALISED}{_ADAM}",
        source="Kingma and Ba 2014, https://arxiv.org/abs/1412.6980; amsgrad: Reddi et al. 2018,"
        " https://openreview.net/forum?id=ryQu7f-RZ",
        needs=(("highest", "amsgrad"),),
    ),
    UpdateRule(
        "adamw",
        ("m", "v", "highest"),
        (*_BETAS, _eps(1e-8), Scalar("weight_decay", 0.01, 0), _AMSGRAD),
        f"p -= lr * weight_decay * p; {_ADAM}",
        source="Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101",
        needs=(("highest", "amsgrad"),),
    ),
    UpdateRule(
        "nadam",
        ("m", "v"),
        (
            *(*_BETAS, _eps(1e-8), _DECAY, Scalar("momentum_decay", 0.004, 0)),
            *(Scalar("decoupled_weight_decay", False), _L1),
        ),
        f"{_PENALISED}{_MOMENTS}mu_t = beta1 * (1 - 0.96**(t * momentum_decay) / 2), product = mu_1 * ... * mu_t;"
        " p -= lr * ((1 - mu_t) / (1 - product) * g + mu_t+1 / (1 - product * mu_t+1) * m)"
        " / (sqrt(v / (1 - beta2**t)) + eps);"
        " if decoupled_weight_decay, p -= lr * weight_decay * p instead of what that adds to g",
        source="Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ",
    ),
    UpdateRule(
        "muon",
        (),
        (Scalar("weight_decay", 0.1, 0),),
        "p -= lr * weight_decay * p + lr * g, with the orthogonalised momentum as g",
        source="Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/",
    ),
    UpdateRule(
        "muon_momentum",
        ("momentum",),
        (Scalar("momentum", 0.95, 0, 1), Scalar("nesterov", True)),
        "momentum += (1 - mu) * (g - momentum); p = g + mu * (momentum - g) if nesterov else momentum, with the setting"
        " momentum as mu",
        optimizes=False,
    ),
    UpdateRule(
        "lookahead",
        ("slow",),
        (Scalar("k", 5, 1), Scalar("alpha", 0.5, 0)),
        "where k divides t: slow += alpha * (p - slow); p = slow",
        source="Zhang et al. 2019, https://arxiv.org/abs/1907.08610",
        optimizes=False,
    ),
    UpdateRule(
        "ema",
        (),
        (Scalar("decay", 0.999, 0, 1), Scalar("warmup", False)),
        "p += (1 - d) * (g - p) with d = min(decay, (1 + t) / (10 + t) if warmup): p is an average, g the weights",
        optimizes=False,
    ),
    UpdateRule(
        "mask",
        (),
        (),
        "p = p where g > 0, else 0: g is a mask, p weights, their gradients or their state",
        optimizes=False,
    ),
)

UPDATE_RULES = {rule.name: rule for rule in _RULES}
