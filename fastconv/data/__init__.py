"""Data sets, and the loader that makes batches of them."""

from typing import TYPE_CHECKING

from fastconv._attributes import tells_names
from fastconv._calls import tells_habits
from fastconv.data._directory import default_directory
from fastconv.data.arrays import arrays, generated, npz
from fastconv.data.augmentations import Affine, Augmentation, ColorJitter, Crop, Flip, FlipCrop, Translate
from fastconv.data.cifar import cifar10, cifar100
from fastconv.data.dataset import Dataset
from fastconv.data.downloads import download
from fastconv.data.idx import read_idx
from fastconv.data.images import image_folder, read_image
from fastconv.data.loader import DataLoader
from fastconv.data.mnist import fashion_mnist, mnist
from fastconv.data.patches import Whitening, whitening
from fastconv.data.shapes import shapes10
from fastconv.data.shard_files import ShardFiles
from fastconv.data.sources import SOURCES
from fastconv.data.windows import CutMix, Cutout, Mixup, RandomErasing

__all__ = [
    "SOURCES",
    "Affine",
    "Augmentation",
    "ColorJitter",
    "Crop",
    "CutMix",
    "Cutout",
    "DataLoader",
    "Dataset",
    "Flip",
    "FlipCrop",
    "Mixup",
    "RandomErasing",
    "ShardFiles",
    "Translate",
    "Whitening",
    "arrays",
    "cifar10",
    "cifar100",
    "default_directory",
    "download",
    "fashion_mnist",
    "generated",
    "image_folder",
    "mnist",
    "npz",
    "read_idx",
    "read_image",
    "shapes10",
    "whitening",
]

_ABSENT = {
    "train": "split='train' or split='test'",
    "root": "directory",
    "download": "fastconv.data.download(name), once",
    "transform": "DataLoader(dataset, augmentation=...)",
}
if not TYPE_CHECKING:  # else every name would pass for one that is there, and functions for any
    __getattr__ = tells_names(__name__)
    for _name in (
        *("cifar10", "cifar100", "mnist", "fashion_mnist", "shapes10"),
        *("arrays", "generated", "image_folder", "npz", "read_image"),
    ):
        globals()[_name] = tells_habits(_ABSENT)(globals()[_name])
        globals()[_name].__module__ = __name__  # where pickle finds it
