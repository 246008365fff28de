"""The data sets that have a name: the one list that the download, the command and the pages read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from fastconv.data._directory import PathLike, Split
from fastconv.data.cifar import cifar10, cifar100
from fastconv.data.dataset import Dataset
from fastconv.data.mnist import fashion_mnist, mnist
from fastconv.data.shapes import shapes10
from fastconv.errors import ArgumentError


@dataclass(frozen=True)
class RemoteFile:
    """A file in the net, and what it becomes below the folder of data sets.

    Attributes
    ----------
    url : str
    size : int
        In bytes.
    sha256 : str
    places : tuple of str
        The path it gets; of a tar archive those of the members that are taken from it, which have the same names there.
    """

    url: str
    size: int
    sha256: str
    places: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self.url).name

    @property
    def is_archive(self) -> bool:
        """Whether `places` are members of it."""
        return self.name.endswith(".tar.gz")


@dataclass(frozen=True)
class Source:
    """A data set with a name.

    Attributes
    ----------
    name, about : str
    read : function
        It takes the directory (None for the default one), the split, and how many images of it at most (None for all).
    files : tuple of RemoteFile
        Where it comes from; none for a set that is drawn.
    epochs : int
        For how long a network is trained on it unless the user says otherwise.
    augmented : bool
        Whether that is done with mirrored and shifted images.
    """

    name: str
    about: str
    read: Callable[[PathLike | None, Split, int | None], Dataset]
    files: tuple[RemoteFile, ...] = ()
    epochs: int = 10
    augmented: bool = False

    @property
    def is_drawn(self) -> bool:
        """Whether it needs no files."""
        return not self.files


def _cifar(name: str, size: int, sha256: str, *members: str) -> tuple[RemoteFile, ...]:
    return (RemoteFile(f"https://www.cs.toronto.edu/~kriz/{name}", size, sha256, members),)


def _idx(folder: str, base: str, **files: tuple[int, str]) -> tuple[RemoteFile, ...]:
    """Return the four files of a set in MNIST's form."""
    names = {key: f"{key.replace('_', '-')}-idx{3 if key.endswith('images') else 1}-ubyte.gz" for key in files}
    return tuple(RemoteFile(f"{base}/{names[key]}", *files[key], (f"{folder}/{names[key]}",)) for key in files)


def _draw(directory: PathLike | None, split: Split, limit: int | None) -> Dataset:
    if directory is not None:
        others = ", ".join(name for name, source in SOURCES.items() if not source.is_drawn)
        raise ArgumentError(f"--data-dir: got a folder for shapes10, which is drawn; allowed: for {others}")
    return shapes10(split, size=limit)


def _of_files(read: Callable[[PathLike | None, Split], Dataset]) -> Callable[..., Dataset]:
    def read_first(directory: PathLike | None, split: Split, limit: int | None) -> Dataset:
        return read(directory, split).take(slice(limit))

    return read_first


# The checksums are those that Keras, TensorFlow Datasets and torchvision hold these files to.
_SOURCES = (
    Source("shapes10", "10 shapes on coloured ground, drawn on the spot; 32x32 RGB, 10,000 + 2,000", _draw, epochs=5),
    Source(
        "cifar10",
        "photos of 10 classes; 32x32 RGB, 50,000 + 10,000",
        _of_files(cifar10),
        _cifar(
            "cifar-10-python.tar.gz",
            170_498_071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            *(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
            "cifar-10-batches-py/test_batch",
        ),
        augmented=True,
    ),
    Source(
        "cifar100",
        "photos of 100 classes; 32x32 RGB, 50,000 + 10,000",
        _of_files(cifar100),
        _cifar(
            "cifar-100-python.tar.gz",
            169_001_437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            *("cifar-100-python/train", "cifar-100-python/test"),
        ),
        augmented=True,
    ),
    Source(
        "mnist",
        "handwritten digits; 28x28 grey, 60,000 + 10,000",
        _of_files(mnist),
        _idx(
            "mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
            train_images=(9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            train_labels=(28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            t10k_images=(1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            t10k_labels=(4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    Source(
        "fashion-mnist",
        "clothes of 10 kinds; 28x28 grey, 60,000 + 10,000",
        _of_files(fashion_mnist),
        _idx(
            "fashion-mnist",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            train_images=(26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            train_labels=(29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            t10k_images=(4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            t10k_labels=(5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    ),
)

SOURCES = {source.name: source for source in _SOURCES}
