"""What may happen to an image on its way into a batch.

Each augmentation draws numbers for the images of a batch and writes them into rows of `fastconv.kernels.transforms`,
which one operation, `Backend.transform_images`, carries out.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Asked
from fastconv.data.draws import Draws
from fastconv.data.ranges import ends_of, pair_of, share_of, whole_number, within
from fastconv.errors import ArgumentError, UnknownAttributeError

ImageShape = tuple[int, int, int]
Columns = Mapping[str, Any]
"""Columns of the rows of changes: a number for each image, or one for all."""
Range = float | tuple[float, float]


_OUTSIDE = ("zero", "reflect")  # what is where an image has no pixels
_FACTORS = ("brightness", "contrast", "saturation")
_ELSEWHERE = {"padding": "pad", "size": "length", "prob": "p", "rotation": "degrees"}


@dataclass(frozen=True)
class FlipCrop(metaclass=Asked):
    """Mirror half of the images, and shift each by up to `pad` pixels in both directions, with black coming in.

    The usual augmentation for CIFAR-10 (He et al. 2016, section 4.2, https://arxiv.org/abs/1512.03385). The operation
    `Backend.augment` does it, together with the normalisation. Together with others it is ``Flip(), Crop(pad)``.

    Parameters
    ----------
    flip : bool
        Mirror left and right with probability 1/2.
    pad : int
        Largest shift, in pixels.

    Examples
    --------
    >>> loader = fc.data.DataLoader(fc.data.shapes10("train", size=4), 4, augmentation=fc.data.FlipCrop(pad=2))
    >>> next(iter(loader))[0].shape
    (4, 32, 32, 3)
    """

    flip: bool = True
    pad: int = 4
    argument_habits: ClassVar[Mapping[str, str]] = _ELSEWHERE

    def __post_init__(self) -> None:
        validate.at_least(self.pad, 0, "pad")
        validate.truth(self.flip, "flip")


class Augmentation(metaclass=Asked):
    """A change of images with numbers drawn for each of them; a value that does not change.

    Parameters
    ----------
    **settings
        What the class takes.

    Attributes
    ----------
    stage : int
        When it happens: the lower before the higher.

    Examples
    --------
    >>> fc.data.Flip(p=0.25)
    Flip(mode='random', p=0.25)
    >>> isinstance(fc.data.Flip(), fc.data.Augmentation)
    True
    """

    stage: ClassVar[int]
    argument_habits: ClassVar[Mapping[str, str]] = _ELSEWHERE

    def __init__(self, **settings: Any) -> None:
        vars(self).update(settings)

    def __setattr__(self, name: str, value: Any) -> None:
        raise UnknownAttributeError(
            f"{name}: got a new value for a {type(self).__name__}; allowed: to make another one"
        )

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    @abc.abstractmethod
    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        """Return what a batch draws.

        Parameters
        ----------
        draws : Draws
            The random numbers of the batch.
        shape : (H, W, C)
            Of one image.

        Returns
        -------
        dict of str to array or float
            By the columns of `fastconv.kernels.transforms` that it sets: (B,), a value for each image, or one for all.
        """

    def misfit(self, shape: ImageShape) -> str:
        """Return what images must be if those of this shape cannot be changed so.

        Parameters
        ----------
        shape : (H, W, C)
            Of one image.

        Returns
        -------
        str
            For the message of an error; "" if they can.
        """
        return ""


class Flip(Augmentation):
    """Mirror images left and right.

    Parameters
    ----------
    mode : "random" or "alternating"
        "random": each time by chance, as torchvision's RandomHorizontalFlip. "alternating": by chance in epoch 0, and
        then in every other epoch, so that two epochs show both sides of each image (Jordan 2024, section 3.6,
        https://arxiv.org/abs/2404.00498).
    p : float
        Probability, 1/2 by default; that of epoch 0 where it alternates.

    Examples
    --------
    >>> images, labels = np.array([[0, 255]], np.uint8).reshape(1, 1, 2, 1), np.zeros(1, np.int32)
    >>> loader = fc.data.DataLoader((images, labels), 1, augmentation=fc.data.Flip(p=0.999))
    >>> next(iter(loader))[0].ravel()
    array([1., 0.], dtype=float32)
    """

    mode: str
    p: float
    stage = 0

    def __init__(self, mode: str = "random", p: float = 0.5) -> None:
        super().__init__(mode=mode, p=p)
        validate.one_of(self.mode, "mode", ("random", "alternating"))
        share_of(self.p, "p")

    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        if self.mode == "random":
            return {"mirrored": draws.uniform(1)[0] < self.p}
        return {"mirrored": (draws.of_image() < self.p) ^ bool(draws.epoch % 2)}


class Crop(Augmentation):
    """Pad images on all sides and crop them at random to their size: a shift by -pad to pad pixels in each direction.

    As torchvision's RandomCrop with `padding`.

    Parameters
    ----------
    pad : int
        At least 0; below the height and the width where it is reflected.
    mode : "zero" or "reflect"
        What comes in: black, or the image reflected at its border, which is not repeated.

    Examples
    --------
    >>> images, labels = np.full((1, 4, 4, 1), 255, np.uint8), np.zeros(1, np.int32)
    >>> loader = fc.data.DataLoader((images, labels), 1, augmentation=fc.data.Crop(pad=2), seed=1)
    >>> next(iter(loader))[0][0, ..., 0]
    array([[0., 0., 0., 0.],
           [0., 0., 0., 0.],
           [1., 1., 0., 0.],
           [1., 1., 0., 0.]], dtype=float32)
    """

    pad: int
    mode: str
    stage = 1

    def __init__(self, pad: int = 4, mode: str = "zero") -> None:
        super().__init__(pad=pad, mode=mode)
        validate.at_least(self.pad, 0, "pad", 2**30)
        validate.one_of(self.mode, "mode", _OUTSIDE)

    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        shift_y, shift_x = (whole_number(draw, -self.pad, self.pad) for draw in draws.uniform(2))
        return {"shift_y": shift_y, "shift_x": shift_x, "reflected": self.mode == "reflect"}

    def misfit(self, shape: ImageShape) -> str:
        fits = self.mode == "zero" or self.pad < min(shape[:2])
        return "" if fits else f"images of more than {self.pad} pixels in both directions, to be reflected"


class Translate(Augmentation):
    """Shift images at random by whole pixels, up to a share of their size, in each direction.

    Parameters
    ----------
    height, width : float
        Largest shifts down or up and to the sides, as shares of the size, at least 0 and below 1; rounded to pixels.
    mode : "zero" or "reflect"
        What comes in, as in `Crop`.

    Examples
    --------
    >>> images, labels = np.full((1, 4, 4, 1), 255, np.uint8), np.zeros(1, np.int32)
    >>> loader = fc.data.DataLoader((images, labels), 1, augmentation=fc.data.Translate(0.5, 0.5), seed=2)
    >>> next(iter(loader))[0][0, ..., 0]
    array([[1., 1., 1., 0.],
           [1., 1., 1., 0.],
           [0., 0., 0., 0.],
           [0., 0., 0., 0.]], dtype=float32)
    """

    height: float
    width: float
    mode: str
    stage = 1

    def __init__(self, height: float = 0.1, width: float = 0.1, mode: str = "zero") -> None:
        super().__init__(height=height, width=width, mode=mode)
        for name in ("height", "width"):
            validate.number(getattr(self, name), name, low=0, high=1)
        validate.one_of(self.mode, "mode", _OUTSIDE)

    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        y, x = self._most(shape)
        draw_y, draw_x = draws.uniform(2)
        shifts = {"shift_y": whole_number(draw_y, -y, y), "shift_x": whole_number(draw_x, -x, x)}
        return shifts | {"reflected": self.mode == "reflect"}

    def misfit(self, shape: ImageShape) -> str:
        y, x = self._most(shape)
        fits = self.mode == "zero" or (y < shape[0] and x < shape[1])
        return "" if fits else "images that are larger than the shift, to be reflected"

    def _most(self, shape: ImageShape) -> tuple[int, int]:
        return round(self.height * shape[0]), round(self.width * shape[1])


class Affine(Augmentation):
    """Turn, shift, scale and shear images about their centre, with bilinear samples and black coming in.

    As torchvision's RandomAffine: each pixel p, seen from the centre, comes from ``inverse(A) (p - t)`` with
    ``A = scale * rotation(angle) * shear(x, y)``. Angles turn clockwise.

    Parameters
    ----------
    degrees : float, or pair
        Range of the angle; d stands for (-d, d).
    translate : pair of float
        Largest shifts to the sides and up and down, as shares of width and height, from 0 to 1; rounded to pixels.
    scale : pair of float
        Range of the scale, above 0.
    shear : float, pair or four floats
        Range of the angles by which the axis x is sheared, s standing for (-s, s), and that of y after it.

    Examples
    --------
    >>> data = fc.data.shapes10("train", size=4)
    >>> x, y = next(iter(fc.data.DataLoader(data, 4, augmentation=fc.data.Affine(degrees=15, scale=(0.8, 1.2)))))
    >>> x.shape
    (4, 32, 32, 3)
    """

    degrees: Range
    translate: tuple[float, float]
    scale: tuple[float, float]
    shear: Range | tuple[float, float, float, float]
    stage = 2

    def __init__(
        self,
        degrees: Range = 0.0,
        translate: tuple[float, float] = (0.0, 0.0),
        scale: tuple[float, float] = (1.0, 1.0),
        shear: Range | tuple[float, float, float, float] = 0.0,
    ) -> None:
        super().__init__(degrees=degrees, translate=translate, scale=scale, shear=shear)
        ends_of(self.degrees, "degrees")
        if not ends_of(self.scale, "scale", 0.0)[0] > 0:
            raise ArgumentError(f"scale: got {self.scale!r}; allowed: numbers above 0, a pair, the lower first")
        for share in pair_of(self.translate, "translate"):
            share_of(share, "translate")
        for part in self._shears():
            ends_of(part, "shear", -89.0, 89.0)

    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        angle, size, skew_x, skew_y, across, down = draws.uniform(6)
        turn = np.radians(within(angle, ends_of(self.degrees, "degrees")))
        scale = within(size, self.scale)
        x, y = (
            np.radians(within(u, ends_of(s, "shear"))) for u, s in zip((skew_x, skew_y), self._shears(), strict=True)
        )
        shift_x = np.round(within(across, (-self.translate[0] * shape[1], self.translate[0] * shape[1])))
        shift_y = np.round(within(down, (-self.translate[1] * shape[0], self.translate[1] * shape[0])))
        # The rows of A / scale, whose determinant is 1, so that the inverse is made of them.
        a, c = np.cos(turn - y) / np.cos(y), np.sin(turn - y) / np.cos(y)
        b, d = -a * np.tan(x) - np.sin(turn), -c * np.tan(x) + np.cos(turn)
        xx, xy, yx, yy = d / scale, -b / scale, -c / scale, a / scale
        middle_x, middle_y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
        from_x, from_y = middle_x + shift_x, middle_y + shift_y
        x0, y0 = middle_x - xx * from_x - xy * from_y, middle_y - yx * from_x - yy * from_y
        return {"resampled": 1, "yy": yy, "yx": yx, "y0": y0, "xy": xy, "xx": xx, "x0": x0}

    def _shears(self) -> tuple[Any, Any]:
        shear = self.shear
        if isinstance(shear, tuple | list) and len(shear) == 4:
            return (shear[0], shear[1]), (shear[2], shear[3])
        return shear, 0.0


class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue, in an order drawn anew for each image.

    As torchvision's ColorJitter; `Backend.transform_images` has the formulas. Images have 1 or 3 channels; saturation
    and hue leave those of one as they are.

    Parameters
    ----------
    brightness, contrast, saturation : float, or pair
        Range of the factor; v stands for ``(max(0, 1 - v), 1 + v)``, and 0 for no change.
    hue : float, or pair
        Range of the turn, as a share of a full one, from -1/2 to 1/2; h stands for (-h, h).

    Examples
    --------
    >>> data = fc.data.shapes10("train", size=4)
    >>> x, y = next(iter(fc.data.DataLoader(data, 4, augmentation=fc.data.ColorJitter(brightness=0.4, hue=0.1))))
    >>> x.shape
    (4, 32, 32, 3)
    """

    brightness: Range
    contrast: Range
    saturation: Range
    hue: Range
    stage = 3

    def __init__(
        self, brightness: Range = 0.0, contrast: Range = 0.0, saturation: Range = 0.0, hue: Range = 0.0
    ) -> None:
        super().__init__(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
        for name in _FACTORS:
            self._factors(name)
        ends_of(self.hue, "hue", -0.5, 0.5)

    def columns(self, draws: Draws, shape: ImageShape) -> Columns:
        uniform = draws.uniform(8)
        changes: dict[str, Any] = {"coloured": 1}
        for draw, name in zip(uniform[:3], _FACTORS, strict=True):
            changes[name] = within(draw, self._factors(name))
        changes["hue"] = within(uniform[3], ends_of(self.hue, "hue"))
        changes["order"] = (np.argsort(uniform[4:], 0, kind="stable") << [[0], [2], [4], [6]]).sum(0)
        return changes

    def misfit(self, shape: ImageShape) -> str:
        return "" if shape[2] in (1, 3) else "images of 1 or 3 channels"

    def _factors(self, name: str) -> tuple[float, float]:
        value = getattr(self, name)
        if isinstance(value, tuple | list):
            return ends_of(value, name, 0.0)
        value = validate.number(value, name, low=0)
        return max(0.0, 1 - value), 1 + value
