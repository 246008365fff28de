"""Data sets that fit in memory, and the loader that makes batches of them."""

from fastconv.data.augmentations import FlipCrop
from fastconv.data.cifar import cifar10, default_directory
from fastconv.data.dataset import Dataset
from fastconv.data.loader import DataLoader
from fastconv.data.shapes import shapes10

__all__ = ["DataLoader", "Dataset", "FlipCrop", "cifar10", "default_directory", "shapes10"]
