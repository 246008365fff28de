"""Augmentations by windows: of nothing, and of other images, whole ones too."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fastconv import _validate as validate
from fastconv.data.augmentations import Augmentation, Columns, ImageShape
from fastconv.data.draws import Draws
from fastconv.data.ranges import ends_of, pair_of, share_of, whole_number, within
from fastconv.errors import ArgumentError

_ATTEMPTS = 10  # as many as torchvision has


class Cutout(Augmentation):
    """Erase a square whose centre is drawn from all pixels, so that it may lie across the border.

    (DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552)

    Parameters
    ----------
    length : int
        Of a side, in pixels.
    value : float
        What the pixels become, in units of the normalised image: 0 is the mean.

    Examples
    --------
    >>> images, labels = np.full((1, 4, 4, 1), 255, np.uint8), np.zeros(1, np.int32)
    >>> loader = fc.data.DataLoader((images, labels), 1, augmentation=fc.data.Cutout(2))
    >>> next(iter(loader))[0][0, ..., 0]
    array([[0., 1., 1., 1.],
           [0., 1., 1., 1.],
           [1., 1., 1., 1.],
           [1., 1., 1., 1.]], dtype=float32)
    """

    length: int
    value: float
    stage = 4

    def __init__(self, length: int = 16, value: float = 0.0) -> None:
        super().__init__(length=length, value=value)
        validate.at_least(self.length, 1, "length", 2**30)
        validate.number(self.value, "value")

    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        changes: dict[str, np.ndarray | float] = {"erase_value": self.value}
        for draw, size, first, last in zip(
            draws.uniform(2), shape, ("erase_top", "erase_left"), ("erase_bottom", "erase_right"), strict=False
        ):
            begin = whole_number(draw, 0, size - 1) - self.length // 2
            changes |= {first: begin.clip(0), last: (begin + self.length).clip(0, size)}
        return changes


class RandomErasing(Augmentation):
    """Erase a rectangle within the image.

    As torchvision's: of ten attempts the first counts whose rectangle is smaller than the image, both ways; if there is
    none, the image stays whole (Zhong et al. 2017, https://arxiv.org/abs/1708.04896).

    Parameters
    ----------
    p : float
        Probability.
    scale : pair of float
        Range of the share of the image that is erased, from 0 to 1.
    ratio : pair of float
        Range of height by width, above 0; its logarithm is drawn evenly.
    value : float
        What the pixels become, in units of the normalised image: 0 is the mean.

    Examples
    --------
    >>> images, labels = np.full((1, 4, 4, 1), 255, np.uint8), np.zeros(1, np.int32)
    >>> erasing = fc.data.RandomErasing(p=1.0, scale=(0.2, 0.5))
    >>> next(iter(fc.data.DataLoader((images, labels), 1, augmentation=erasing)))[0][0, ..., 0]
    array([[0., 1., 1., 1.],
           [0., 1., 1., 1.],
           [0., 1., 1., 1.],
           [1., 1., 1., 1.]], dtype=float32)
    """

    p: float
    scale: tuple[float, float]
    ratio: tuple[float, float]
    value: float
    stage = 4

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float = 0.0,
    ) -> None:
        super().__init__(p=p, scale=scale, ratio=ratio, value=value)
        share_of(self.p, "p")
        ends_of(pair_of(self.scale, "scale"), "scale", 0.0, 1.0)
        if not ends_of(self.ratio, "ratio", 0.0)[0] > 0:
            raise ArgumentError(f"ratio: got {self.ratio!r}; allowed: a pair of numbers above 0, the lower first")
        validate.number(self.value, "value")

    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        uniform = draws.uniform(3 + 2 * _ATTEMPTS)
        area = within(uniform[3 : 3 + _ATTEMPTS], self.scale) * shape[0] * shape[1]
        low, high = map(math.log, self.ratio)
        ratio = np.exp(within(uniform[3 + _ATTEMPTS :], (low, high)))
        heights, widths = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
        fits = (heights < shape[0]) & (widths < shape[1])
        first = (fits.argmax(0), np.arange(fits.shape[1]))
        erased = (uniform[0] < self.p) & fits.any(0)
        height, width = np.where(erased, heights[first], 0), np.where(erased, widths[first], 0)
        top = np.floor(uniform[1] * (shape[0] - height + 1))
        left = np.floor(uniform[2] * (shape[1] - width + 1))
        sides = {"erase_top": top, "erase_bottom": top + height, "erase_left": left, "erase_right": left + width}
        return {**sides, "erase_value": self.value}


class Mixing(Augmentation):
    """Images of a batch with others of it, and targets too, as rows of shares of the classes.

    The partner of an image is the one before it in the batch, of the first the last, as in torchvision.

    Parameters
    ----------
    alpha : float
        Above 0; the share of the image itself has the distribution Beta(alpha, alpha), and is drawn once for a batch.
    num_classes : int or None
        By default as many as the data set has; needed for a pair of arrays with class numbers.
    """

    alpha: float
    num_classes: int | None
    stage: ClassVar[int] = 5

    def __init__(self, alpha: float = 1.0, num_classes: int | None = None) -> None:
        super().__init__(alpha=alpha, num_classes=num_classes)
        validate.number(self.alpha, "alpha", low=0, open_low=True)
        validate.at_least_one_or_none(self.num_classes, "num_classes")

    def partners(self, draws: Draws) -> np.ndarray:
        """Return the places of the others in the batch.

        Parameters
        ----------
        draws : Draws
            The random numbers of the batch.

        Returns
        -------
        (B,) array of int
            Place ``i - 1`` for image i, the last place for the first.
        """
        return np.roll(np.arange(len(draws.indices)), 1)


class Mixup(Mixing):
    """Mix each image of a batch with another one, and their targets alike: ``share * x + (1 - share) * other``.

    The other is the one before it in the batch, of the first the last; the share is drawn once for a batch. (Zhang et
    al. 2017, https://arxiv.org/abs/1710.09412; torchvision's MixUp.)

    Parameters
    ----------
    alpha : float
        Above 0; the share is drawn from Beta(alpha, alpha).
    num_classes : int or None
        By default as many as the data set has; needed for a pair of arrays with class numbers.

    Examples
    --------
    >>> data = fc.data.shapes10("train", size=4)
    >>> x, shares = next(iter(fc.data.DataLoader(data, 4, augmentation=fc.data.Mixup(0.2))))
    >>> shares.shape, shares.sum(axis=1)
    ((4, 10), array([1., 1., 1., 1.], dtype=float32))
    """

    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        share = draws.beta(self.alpha)
        ends = {"mix_bottom": shape[0], "mix_right": shape[1]}
        return {**ends, "partner": self.partners(draws), "mix_share": share}


class CutMix(Mixing):
    """Put a window of another image into each of a batch; targets are mixed by its share of the image.

    The window has ``1 - share`` of the image, its centre is drawn from all pixels, and what lies across the border is
    cut off (Yun et al. 2019, https://arxiv.org/abs/1905.04899; torchvision's CutMix). The other image is the one before
    it in the batch, of the first the last; share and window are drawn once for a batch.

    Parameters
    ----------
    alpha : float
        Above 0; the share is drawn from Beta(alpha, alpha).
    num_classes : int or None
        By default as many as the data set has; needed for a pair of arrays with class numbers.

    Examples
    --------
    >>> data = fc.data.shapes10("train", size=4)
    >>> x, shares = next(iter(fc.data.DataLoader(data, 4, augmentation=fc.data.CutMix())))
    >>> shares.shape, shares.sum(axis=1)
    ((4, 10), array([1., 1., 1., 1.], dtype=float32))
    """

    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        half = math.sqrt(1 - draws.beta(self.alpha)) / 2
        changes: dict[str, np.ndarray | float] = {"partner": self.partners(draws), "mix_share": 0.0}
        for draw, size, first, last in zip(
            draws.of_batch(2), shape, ("mix_top", "mix_left"), ("mix_bottom", "mix_right"), strict=False
        ):
            centre, reach = math.floor(draw * size), int(half * size)
            changes |= {first: max(centre - reach, 0), last: min(centre + reach, size)}
        return changes
