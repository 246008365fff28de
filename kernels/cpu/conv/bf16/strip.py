"""The input of a block of output pixels in bfloat16, padded with zeros, and the table of its pixels.

A strip is [phase of the stride][image][row][column][channel]; see plan.py.
"""

from ...runtime.launch import device
from ...vector.bf16 import store_bf16, store_bf16_half, store_bf16_part
from ...vector.bf16_storage import load_either
from ...vector.simd import VECTOR_BYTES, address, store_word, vload, vsplat, vstore
from .plan import TILE_PIXELS


@device
def _round_elements(target, source, count, is_bf16, dt):
    """Write `count` numbers as bfloat16, copied if they are that already."""
    size = 2 if is_bf16 else 4
    whole = count - count % 32
    if is_bf16:
        for i in range(0, 2 * whole, VECTOR_BYTES):
            vstore(target + i, vload(source + i, dt))
    else:
        for i in range(0, whole, 32):
            place = source + size * i
            store_bf16(target + 2 * i, vload(place, dt), vload(place + VECTOR_BYTES, dt))
    rest = count - whole
    place = source + size * whole
    if rest == 16:
        store_bf16_half(target + 2 * whole, load_either(place, 16, is_bf16, dt))
    elif rest:
        low = load_either(place, min(rest, 16), is_bf16, dt)
        high = load_either(place + 16 * size, max(rest - 16, 0), is_bf16, dt)
        store_bf16_part(target + 2 * whole, low, high, rest)


@device
def clear_bytes(target, count, dt):
    """Zero `count` bytes, a multiple of 2."""
    zero = vsplat(0, dt)
    whole = count - count % 64
    for i in range(0, whole, 64):
        vstore(target + i, zero)
    if whole < count:
        store_bf16_part(target + whole, zero, zero, (count - whole) // 2)


@device
def _round_row(target, x, plan, row, first_w, channel, is_bf16, dt):
    """Fill one row of one phase of a strip with every stride_w-th pixel, from column `first_w`, of a row of `x`."""
    cell = 2 * plan.pixel
    step = plan.stride_w
    left = min(max((step - 1 - first_w) // step, 0), plan.pitch)
    right = max(min((plan.in_w - 1 - first_w) // step + 1, plan.pitch), left)
    clear_bytes(target, left * cell, dt)
    size = 2 if is_bf16 else 4
    pixel_bytes = plan.in_channels * size
    source = x + (row * plan.in_w + first_w + left * step) * pixel_bytes + channel * size
    if step == 1 and plan.pixel == plan.in_channels:
        _round_elements(target + left * cell, source, (right - left) * plan.pixel, is_bf16, dt)
    else:
        for j in range(right - left):
            _round_elements(target + (left + j) * cell, source + j * step * pixel_bytes, plan.group_in, is_bf16, dt)
    clear_bytes(target + right * cell, (plan.pitch - right) * cell, dt)


@device
def round_strip(strip, source, place, channel, plan, dt):
    """Fill the strip of a block of output pixels; `place` is its first image, their number, and its first row."""
    (x, is_bf16), (image0, images, row0) = source, place
    row_bytes = 2 * plan.pixel * plan.pitch
    target = strip
    for phase_h in range(plan.stride_h):
        for phase_w in range(plan.stride_w):
            for n in range(plan.block_images):
                for i in range(plan.image_rows):
                    h = (row0 + i) * plan.stride_h + plan.first_dh + phase_h
                    if n >= images or h < 0 or h >= plan.in_h:
                        clear_bytes(target, row_bytes, dt)
                    else:
                        row = (image0 + n) * plan.in_h + h
                        first_w = plan.first_dw + phase_w
                        _round_row(target, address(x), plan, row, first_w, channel, is_bf16, dt)
                    target += row_bytes
    clear_bytes(target, plan.tail * 2 * plan.pixel + 64, dt)


@device
def fill_table(table, image0, images, row0, rows, plan):
    """Write, for each cell of the grid's part of a strip, the pixel of the output, -1 for none; return the count."""
    place = table
    for n in range(images):
        for i in range(plan.image_rows):
            pixel = ((image0 + n) * plan.out_h + plan.row + (row0 + i) * plan.row_step) * plan.out_w + plan.col
            for j in range(plan.pitch):
                inside = i < rows and j < plan.grid_w
                store_word(place, pixel + j * plan.col_step if inside else -1)
                place += 8
    used = ((images - 1) * plan.image_rows + rows) * plan.pitch
    for _ in range(used, (used + TILE_PIXELS - 1) // TILE_PIXELS * TILE_PIXELS):
        store_word(table + 8 * used, -1)
        used += 1
    return used
