"""What the direct convolutions share: an input's strip padded with zeros, the tables of its pixels, scratch."""

from typing import NamedTuple

import numpy as np

from ..runtime.launch import device, get_num_threads
from ..vector.memory import clear_elements, copy_elements
from ..vector.simd import itemsize, store_word
from ..vector.tile import ROWS

_PAGE_BYTES = 4096


def page_rows(bytes_each, workspace):
    """Return scratch for `launch`: a row of at least so many bytes for each thread, on pages of its own."""
    return workspace.empty((get_num_threads(), -(-bytes_each // _PAGE_BYTES) * _PAGE_BYTES), np.uint8)


class Images(NamedTuple):
    """The input, (batch, h, w, c): its address and sizes."""

    address: int
    h: int
    w: int
    c: int


class ImageRegion(NamedTuple):
    """Part of an image: its first row and column, which may lie outside, and how many of them."""

    row: int
    col: int
    rows: int
    cols: int


@device
def copy_strip(strip, cell, images, image, region, part, dt):
    """Copy a region of one image into a strip, (rows, cols, cell); cells outside the image become zero.

    `part` is (the first channel, how many); cells of the strip are `cell` elements apart.
    """
    x, image_h, image_w, image_c = images
    h0, w0, strip_h, strip_w = region
    channel, channels = part
    size = itemsize(dt)
    left = min(max(-w0, 0), strip_w)
    right = max(min(image_w - w0, strip_w), left)
    for i in range(strip_h):
        target = strip + i * strip_w * cell * size
        h = h0 + i
        if h < 0 or h >= image_h:
            clear_elements(target, strip_w * cell, dt)
            continue
        clear_elements(target, left * cell, dt)
        source = x + (((image * image_h + h) * image_w + w0 + left) * image_c + channel) * size
        if channels == image_c and channels == cell:
            copy_elements(target + left * cell * size, source, (right - left) * channels, dt)
        else:
            for j in range(right - left):
                copy_elements(target + (left + j) * cell * size, source + j * image_c * size, channels, dt)
        clear_elements(target + right * cell * size, (strip_w - right) * cell, dt)


@device
def next_rows(x, plan, block, size):
    """Where the rows of the input begin that the block of output pixels after `block` adds, and their bytes.

    Nothing with groups: they read a part of each pixel.
    """
    row_bytes = plan.in_w * plan.in_channels * size
    image, band = (block + 1) // plan.bands * plan.block_images, (block + 1) % plan.bands
    rows = plan.block_images * plan.in_h if plan.bands == 1 else plan.block_rows * plan.stride_h
    start = x + (image * plan.in_h + band * plan.block_rows * plan.stride_h) * row_bytes
    return start, rows * row_bytes if plan.groups == 1 else 0


@device
def fill_tables(table_in, table_out, plan, image0, images, row0, rows):
    """Write, for each pixel of a block, where it is read (pixel of the strip or of x) and written (pixel of out)."""
    strip_h = (rows - 1) * plan.stride_h + plan.span_h
    strip_w = (plan.grid_w - 1) * plan.stride_w + plan.span_w
    pixel = 0
    for n in range(images):
        for i in range(rows):
            if plan.in_place:
                start = (
                    (image0 + n) * plan.in_h + (row0 + i) * plan.stride_h + plan.first_dh
                ) * plan.in_w + plan.first_dw
            else:
                start = (n * strip_h + i * plan.stride_h) * strip_w
            out_h = plan.row + (row0 + i) * plan.row_step
            target = ((image0 + n) * plan.out_h + out_h) * plan.out_w + plan.col
            for j in range(plan.grid_w):
                store_word(table_in + 8 * pixel, start + j * plan.stride_w)
                store_word(table_out + 8 * pixel, target + j * plan.col_step)
                pixel += 1
    for extra in range(pixel, pixel + ROWS):
        store_word(table_in + 8 * extra, start + (plan.grid_w - 1) * plan.stride_w)
        store_word(table_out + 8 * extra, target + (plan.grid_w - 1) * plan.col_step)
    return pixel
