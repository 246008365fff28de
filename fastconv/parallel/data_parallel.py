"""How the steps of a training are shared among ranks: what ``Trainer(parallel=...)`` takes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Self, get_args

from fastconv import _validate as validate
from fastconv._attributes import Declared
from fastconv.errors import ArgumentError, ParallelError
from fastconv.parallel.communicator import Communicator
from fastconv.parallel.connecting import connect
from fastconv.parallel.exchange import Exchange
from fastconv.parallel.timeline import Timeline

_Sent = Literal["float32", "bfloat16"]
_MEGABYTE = 2**20


class DataParallel(Declared):
    """Training by several ranks, each of which computes its share of every batch.

    A batch is cut into `shards`, equal but for one row, whose number does not depend on how many ranks there are; a
    rank computes several of them, one after the other. Gradients, losses and statistics of shards are joined in one
    binary tree, and random numbers depend on step, shard and row. So weights have the same bits after training by 1, 2,
    4, ... ranks, on the same kind of machine.

    `BatchNorm2d` normalises by the statistics of a shard (ghost batch normalisation, Hoffer et al. 2017,
    https://arxiv.org/abs/1705.08741), and its running ones move by the mean over them; `SyncBatchNorm` by those of the
    batch.

    Parameters
    ----------
    communicator : Communicator or None
        `connect` finds one by default: MPI where the program was started by mpiexec.
    shards : int
        A power of two, and of the ranks a multiple. Each takes a pass of its own, so more of them take longer, for more
        ranks later.
    deterministic : bool
        False: a rank computes its share in one piece, and sums are in the order that the communicator likes best. That
        costs less, and bits depend on how many ranks there are; `shards` does not count.
    bucket_mb : float
        With `overlap` gradients are sent in pieces of so many megabytes, the first a quarter of that; what fits into
        one goes in one.
    overlap : bool
        Send them while the backward pass goes on; False: in one call after it.
    gradients : "float32" or "bfloat16"
        As what they are sent. With bfloat16 half the bytes; ranks still agree, but bits depend on how many there are.
    compare_every : int
        All ranks compare the SHA-256 of parameters, state and statistics after so many steps; 0: at the start only.
    timeline : Timeline or None
        Where to note when this rank computes and when it communicates.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(2)).build((3,), seed=0)
    >>> optimizer = fc.optim.SGD(model.parameters(), 0.1)
    >>> parallel = fc.parallel.DataParallel(shards=4)
    >>> trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, parallel=parallel)
    >>> loss = trainer.train_step(np.ones((8, 3), np.float32), np.arange(8) % 2)
    >>> parallel, trainer.images_computed
    (DataParallel(rank 0 of 1, 4 shards), 8)
    """

    def __init__(
        self,
        communicator: Communicator | None = None,
        *,
        shards: int = 8,
        deterministic: bool = True,
        bucket_mb: float = 2.0,
        overlap: bool = True,
        gradients: _Sent = "float32",
        compare_every: int = 1000,
        timeline: Timeline | None = None,
    ) -> None:
        if isinstance(communicator, type) or not isinstance(communicator, Communicator | None):
            raise ArgumentError(
                f"communicator: got {communicator!r:.100}; allowed: None, or a Communicator, such as"
                " fastconv.parallel.connect()"
            )
        self.communicator: Communicator = connect() if communicator is None else communicator
        self.deterministic = validate.truth(deterministic, "deterministic")
        self.overlap = validate.truth(overlap, "overlap")
        self.shards = _checked_shards(shards, self.communicator.size) if deterministic else self.communicator.size
        self.bucket_bytes = int(validate.number(bucket_mb, "bucket_mb", low=0, open_low=True) * _MEGABYTE)
        self.gradients = validate.one_of(gradients, "gradients", get_args(_Sent))
        self.compare_every = validate.at_least(compare_every, 0, "compare_every")
        if timeline is not None and not isinstance(timeline, Timeline):
            raise ArgumentError(f"timeline: got {timeline!r:.100}; allowed: None, or fastconv.parallel.Timeline()")
        self.timeline = timeline
        self.exchange = Exchange(getattr(self.communicator, "use_device", None))

    def __repr__(self) -> str:
        how = f"{self.shards} shards" if self.deterministic else "deterministic=False"
        return f"DataParallel(rank {self.rank} of {self.size}, {how})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: a copied Trainer talks to the same ranks."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        raise ArgumentError("parallel: got it to pickle; allowed: a DataParallel that each process makes for itself")

    @property
    def rank(self) -> int:
        """The number of this process."""
        return self.communicator.rank

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.communicator.size

    @property
    def own(self) -> range:
        """The numbers of the shards that this rank computes."""
        count = self.shards // self.size
        return range(self.rank * count, (self.rank + 1) * count)

    @property
    def saved_shards(self) -> int | None:
        """What a checkpoint says of it: the number of shards, None where there are no logical ones."""
        return self.shards if self.deterministic else None

    def span(self, name: str) -> AbstractContextManager[None]:
        """Note in the timeline, if there is one, how long what is done within takes.

        Parameters
        ----------
        name : str
            Of the span.

        Returns
        -------
        context manager
            Whose body is what is timed.
        """
        return nullcontext() if self.timeline is None else self.timeline.span(name)

    def facts(self) -> dict[str, str]:
        """Return what has to be the same on all ranks.

        Returns
        -------
        dict of str to str
            Its settings, as "parallel".
        """
        names = ("shards", "deterministic", "bucket_bytes", "overlap", "gradients", "compare_every")
        return {"parallel": str({name: getattr(self, name) for name in names})}


def _checked_shards(shards: int, size: int) -> int:
    shards = validate.at_least_one(shards, "shards")
    if shards & (shards - 1):
        raise ArgumentError(f"shards: got {shards}; allowed: a power of two, 1, 2, 4, 8, ...")
    if shards % size:
        fitting = ", ".join(str(2**i) for i in range(shards.bit_length()))
        raise ParallelError(
            f"communicator: got {size} ranks for {shards} shards; allowed: as many ranks as divide the shards,"
            f" {fitting}, or more shards"
        )
    return shards
