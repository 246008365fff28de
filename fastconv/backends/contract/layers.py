"""Operations of single layers: a number for each channel, softmax, local and group normalisation, sizes of maps.

The rules of operations.py hold.
"""

from __future__ import annotations

import abc

from fastconv.backends.contract.losses import Losses
from fastconv.backends.contract.types import Array, Pair, Workspace


class LayerOperations(Losses):
    """What a backend implements of them."""

    # A number for each channel

    @abc.abstractmethod
    def add_bias(self, x: Array, bias: Array, *, out: Array) -> None:
        """``y[..., c] = x[..., c] + bias[c]``; `bias` is (C,), `out` may be `x`."""

    @abc.abstractmethod
    def prelu(self, x: Array, slope: Array, *, out: Array) -> None:
        """``y = x if x > 0 else slope * x`` (He et al. 2015, https://arxiv.org/abs/1502.01852).

        Parameters
        ----------
        x : (..., C) array
        slope : (C,) array, or (1,) for all channels
        out : like `x`, written
        """

    @abc.abstractmethod
    def prelu_backward(
        self, grad_output: Array, x: Array, slope: Array, *, out: Array, grad_slope: Array, workspace: Workspace
    ) -> None:
        """Gradients of `prelu`.

        ``grad_input = grad_output if x > 0 else slope * grad_output``, and `grad_slope` is the sum of
        ``0 if x > 0 else grad_output * x`` over all that the slope is for, with the bound of `sum_rows`.
        """

    # Softmax

    @abc.abstractmethod
    def softmax(self, x: Array, *, out: Array) -> None:
        """``y[..., k] = exp(x[..., k] - max) / sum over j of exp(x[..., j] - max)`` along the last axis.

        The sum is in float64; each y is off by a few roundings of itself where ``x - max`` is above the logarithm of
        the smallest normal number, and 0 below.
        """

    @abc.abstractmethod
    def softmax_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        """``grad_input[k] = y[k] * (grad_output[k] - sum over j of grad_output[j] * y[j])`` along the last axis."""

    # Normalisation

    @abc.abstractmethod
    def local_response_norm(self, x: Array, *, size: int, alpha: float, beta: float, k: float, out: Array) -> None:
        """Divide each element by a power of the squares in the channels around it, as PyTorch does.

        ``y[..., c] = x[..., c] * s[c]**-beta`` with ``s[c] = k + alpha / size * sum of x[..., i]**2`` over those i from
        ``c - size // 2`` to ``c + (size - 1) // 2`` that are channels (Krizhevsky et al. 2012,
        https://papers.nips.cc/paper/2012/hash/c399862d3b9d6b76c8436e924a68c45b-Abstract.html).

        Off by at most ``(2 * size * beta + 16) u * |y|`` (u is half the type's eps), if the squares are in range.

        Parameters
        ----------
        x : (..., C) array
        size : at least 1; alpha, beta, k : none negative
        """

    @abc.abstractmethod
    def local_response_norm_backward(
        self, grad_output: Array, x: Array, *, size: int, alpha: float, beta: float, k: float, out: Array
    ) -> None:
        """Gradient of `local_response_norm`, with its s.

        ``grad_input[c] = grad_output[c] * s[c]**-beta - 2 * alpha * beta / size * x[c] * sum over i of
        grad_output[i] * x[i] * s[i]**(-beta - 1)`` over the i whose sum of squares has c in it, from
        ``c - (size - 1) // 2`` to ``c + size // 2``. With abs(x) up to 1e18 in float32, at the usual beta of 0.75.
        """

    @abc.abstractmethod
    def group_norm(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        *,
        eps: float,
        out: Array,
        mean: Array,
        rstd: Array,
        workspace: Workspace,
    ) -> None:
        """Normalise each of G groups of neighbouring channels of each image (Wu and He, https://arxiv.org/abs/1803.08494).

        ``y = gamma * (x - mean) * rstd + beta``, ``rstd = 1 / sqrt(var + eps)``, ``var`` biased. Statistics have the
        care of `batch_norm`: a mean far from zero costs no accuracy, and y is off by at most
        ``1300 u * (|gamma| * (|z| + 1) + |beta|)`` with ``z = (x - mean) * rstd``, for numbers up to 2^126 in float32.

        Parameters
        ----------
        x : (N, H, W, C) or (N, C) array; G divides C
        gamma, beta : (C,) arrays, or both None for 1 and 0
        out : like `x`, written
        mean : (2, N, G) array, written; the second row is what the rounding of the first left
        rstd : (N, G) array, written
        """

    @abc.abstractmethod
    def group_norm_backward(
        self,
        grad_output: Array,
        x: Array,
        gamma: Array | None,
        mean: Array,
        rstd: Array,
        *,
        grad_input: Array,
        grad_gamma: Array | None = None,
        grad_beta: Array | None = None,
        workspace: Workspace,
    ) -> None:
        """Gradients of `group_norm`, through the statistics as well.

        With ``z = (x - mean) * rstd``, ``g = gamma * grad_output``, M elements a group, and sums over a group of an
        image: ``grad_input = rstd * (g - sum g / M - z * sum g * z / M)``; and
        ``grad_beta = sum grad_output``, ``grad_gamma = sum grad_output * z`` over all axes but the last.

        Parameters
        ----------
        mean, rstd : those of the forward
        grad_gamma, grad_beta : (C,) arrays, written, or both None
        """

    # Sizes of maps

    @abc.abstractmethod
    def adaptive_avg_pool2d(self, x: Array, *, out: Array) -> None:
        """Mean of each of P x Q parts of a map, as PyTorch cuts it: (N, H, W, C) -> (N, P, Q, C).

        ``y[n, p, q, c]`` is the mean of x over the rows from ``floor(p * H / P)`` to ``ceil((p + 1) * H / P) - 1`` and
        the columns likewise. With the bound of `avg_pool2d`.
        """

    @abc.abstractmethod
    def adaptive_avg_pool2d_backward(self, grad_output: Array, *, out: Array) -> None:
        """Gradient of `adaptive_avg_pool2d`: a value spread over its part, divided by the count; out (N, H, W, C)."""

    @abc.abstractmethod
    def upsample2d(self, x: Array, *, scale: Pair, out: Array) -> None:
        """``y[n, p, q, c] = x[n, p // scale_h, q // scale_w, c]``; out (N, H * scale_h, W * scale_w, C)."""

    @abc.abstractmethod
    def upsample2d_backward(self, grad_output: Array, *, scale: Pair, out: Array) -> None:
        """Gradient of `upsample2d`: the sum of each block of scale_h x scale_w pixels; out (N, H, W, C).

        Off by at most ``40 u * sum |grad_output|`` of the block.
        """
