"""What may happen to an image on its way into a batch."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv import _validate as validate


@dataclass(frozen=True)
class FlipCrop:
    """Mirror half of the images, and shift each by up to `pad` pixels in both directions, with black coming in.

    The usual augmentation for CIFAR-10 (He et al. 2016, section 4.2, https://arxiv.org/abs/1512.03385). The operation
    `Backend.augment` does it, together with the normalisation.

    Attributes
    ----------
    flip : bool
        Mirror left and right with probability 1/2.
    pad : int
        Largest shift, in pixels.
    """

    flip: bool = True
    pad: int = 4

    def __post_init__(self) -> None:
        validate.at_least(self.pad, 0, "pad")
