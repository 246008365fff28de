"""Data sets, and the loader that makes batches of them."""

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
