"""What comes before and after a pass: images on their way into a batch, and the steps of optimizers.

The rules of operations.py hold.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping

from fastconv.backends.contract.layers import LayerOperations
from fastconv.backends.contract.types import Array, RandomKey
from fastconv.kernels.update_rules import Update


class TrainingOperations(LayerOperations):
    """What a backend implements of them."""

    # Images

    @abc.abstractmethod
    def augment(
        self,
        images: Array,
        indices: Array,
        *,
        mean: Array,
        std: Array,
        flip: bool,
        pad: int,
        key: RandomKey,
        out: Array,
    ) -> None:
        """Gather a batch of images, shift and mirror each at random, and normalise it.

        ``out[b, h, w, c] = (image[h + dy, w' + dx, c] / 255 - mean[c]) / std[c]`` with ``image = images[indices[b]]``
        and ``w' = W - 1 - w`` if mirrored, else w. A cell outside the image counts as 0 before normalisation (pad with
        black, then crop).

        Image b uses the first Philox block with counter b. It is mirrored if `flip` is set and word 0 is odd;
        ``dy = (word1 * (2 * pad + 1) >> 32) - pad``, and ``dx`` is the same of word 2.

        Parameters
        ----------
        images : (M, H, W, C) uint8 array
        indices : (B,) int64 array, each in [0, M)
        mean, std : (C,) arrays of the type of `out`, in units of the full range 1.0
        out : (B, H, W, C) array, written
        """

    @abc.abstractmethod
    def transform_images(
        self, images: Array, indices: Array, changes: Array, *, mean: Array, std: Array, out: Array
    ) -> None:
        """``out[b] = (images[indices[b]], changed / 255 - mean) / std``, each image by numbers of its own.

        In this order: shifted, mirrored, resampled, coloured, normalised, erased, mixed. What a number does stands in
        `fastconv.kernels.transforms`; of colour the values v are from 0 to 1, clamped after each but the hue::

            brightness  f * v
            contrast    f * v + (1 - f) * mean of gray over the image as it is then
            saturation  f * v + (1 - f) * gray              gray = 0.2989 r + 0.587 g + 0.114 b, or the one channel
            hue         the hue of hue, saturation and value turned by a share of a full turn

        The last two leave an image of one channel as it is. Where the window of mixing is not empty,
        ``out[b] = share * out[b] + (1 - share) * the partner``, as it would be without mixing, or the partner alone
        where the share is 0. Bytes that are only moved are normalised with the same bits on every backend.

        Parameters
        ----------
        images : (M, H, W, C) uint8 array; C is 1 or 3 where colours change
        indices : (B,) int64 array, each in [0, M)
        changes : (B, len(COLUMNS)) float64 array; windows lie within the image, the shift is below its size where it is
            reflected, partners are in [0, B)
        mean, std : (C,) arrays of the type of `out`, in units of the full range 1.0
        out : (B, H, W, C) array, written
        """

    # Optimizers, over the flat arenas of a model; everything in place

    @abc.abstractmethod
    def update(
        self,
        rule: Update,
        parameter: Array,
        grad: Array,
        state: Mapping[str, Array],
        *,
        lr: Array,
        step: Array,
        pieces: Array | None = None,
    ) -> None:
        """Do one step of an update rule of `fastconv.kernels.update_rules`, which has the formulas.

        Parameters
        ----------
        rule : the rule and the values of its settings
        parameter : (P,) array, updated; grad : (P,) array
        state : the rule's arrays by name, (P,) each, updated; one that its settings do not need may be absent
        lr : (1,) float64 array of the backend; step : (1,) int64 array holding t, which counts from 1
        pieces : (n, 2) int64 array of the backend, or None for all elements
            The first element and the end of each piece that is updated, of `PIECE_ELEMENTS` at most; none overlap.
        """

    @abc.abstractmethod
    def normalise_gram(self, gram: Array, *, eps: float, out: Array, norm: Array) -> None:
        """``norm[0] = max(sqrt(trace of gram), eps); out = gram / norm[0]**2``; `gram` and `out` (n, n), `norm` (1,).

        The trace of a Gram matrix, ``x^T x``, is the squared norm of x.
        """

    @abc.abstractmethod
    def gram_polynomial(
        self, gram: Array, square: Array, norm: Array | None, *, coefficients: tuple[float, float, float], out: Array
    ) -> None:
        """``out = (a * I + b * gram + c * square) / norm[0]``, with 1 for a norm that is None; all (n, n)."""
