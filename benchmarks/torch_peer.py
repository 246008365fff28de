"""PyTorch as the peer, as fast as it gets: two threads like ours, both layouts, glibc kept from returning memory.

glibc hands every block above 32 MB back to the system when PyTorch frees an activation, and mapping it again costs up
to a third of a training step; a fair peer is timed without that (`keep_memory`).
"""

import ctypes
import os
from typing import Any

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when PyTorch loads; its idle threads must not take our cores

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>


def keep_memory() -> None:
    """Keep glibc from mapping large blocks anew and from trimming its heap."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def load(threads: int) -> Any:
    """Return the module torch set up for `threads` threads, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    keep_memory()
    torch.set_num_threads(threads)
    return torch


LAYOUTS = ("channels_last", "contiguous_format")


def image(torch: Any, array: np.ndarray, layout: str) -> Any:
    """Return NHWC `array` as a torch tensor, logically NCHW, stored in `layout`."""
    tensor = torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2)
    return tensor.contiguous(memory_format=getattr(torch, layout)).clone(memory_format=torch.preserve_format)


def weight(torch: Any, array: np.ndarray, layout: str) -> Any:
    """Return an HWIO weight as a torch tensor, logically OIHW, stored in `layout`."""
    tensor = torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1)))
    return tensor.contiguous(memory_format=getattr(torch, layout))
