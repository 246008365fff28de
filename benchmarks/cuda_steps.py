"""A whole training step, predicted: the sum of its launches, by kernel, and where the largest loss is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cuda_model import Work

STEPS = (("resnet9", 512), ("resnet20", 512), ("resnet20", 128), ("keras_cnn", 128))


@dataclass(frozen=True)
class Group:
    """The launches of one kernel in a step; seconds and bytes of all of them.

    Attributes
    ----------
    lost : beyond the roofline of the convolutions; of a kernel that computes none, all of it
    binds : what most of the seconds wait for
    """

    kernel: str
    launches: int
    nbytes: int
    seconds: float
    lost: float
    binds: str


@dataclass(frozen=True)
class Step:
    """A training step of a model."""

    model: str
    batch: int
    precision: str
    groups: tuple[Group, ...]

    @property
    def seconds(self) -> float:
        """Seconds of all launches."""
        return sum(group.seconds for group in self.groups)

    @property
    def launches(self) -> int:
        """How many there are."""
        return sum(group.launches for group in self.groups)

    @property
    def nbytes(self) -> int:
        """Bytes that they move."""
        return sum(group.nbytes for group in self.groups)

    @property
    def largest_loss(self) -> Group:
        """Return the kernel that loses most."""
        return max(self.groups, key=lambda group: group.lost)


def grouped(works: Sequence[Work]) -> tuple[Group, ...]:
    """Return the launches by kernel, the longest first."""
    groups = []
    for kernel in dict.fromkeys(work.kernel for work in works):
        mine = [work for work in works if work.kernel == kernel]
        reasons: dict[str, float] = {}
        for work in mine:
            reasons[work.binds] = reasons.get(work.binds, 0.0) + work.total
        seconds, lost = sum(w.total for w in mine), sum(w.total - w.roofline for w in mine)
        binds = max(reasons, key=lambda name: reasons[name])
        groups.append(Group(kernel, len(mine), sum(w.nbytes for w in mine), seconds, lost, binds))
    return tuple(sorted(groups, key=lambda group: -group.seconds))


def step_of(model: str, batch: int, precision: str, works: Sequence[Work]) -> Step:
    """Return the prediction of a step from its launches."""
    return Step(model, batch, precision, grouped(works))
