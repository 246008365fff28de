"""What may happen to an image on its way into a batch, as numbers: a row of `COLUMNS` for each image.

One list for the kernels, the reference and those who write the rows; common/transforms.cuh has the same order, which a
test compares. `AT` tells where each lies; a row of `UNCHANGED` changes nothing.
"""

from collections import namedtuple

COLUMNS = (
    "mirrored",  # 1: left and right change places
    "shift_y",  # whole pixels: the shifted image has at row i what was at row i + shift_y
    "shift_x",
    "reflected",  # 1: what comes in is the image reflected at its border, which is not repeated; else black
    "resampled",  # 1: bilinear samples at row yy * y + yx * x + y0 and column xy * y + xx * x + x0, black outside
    "yy",
    "yx",
    "y0",
    "xy",
    "xx",
    "x0",
    "coloured",  # 1: the four functions of colour below
    "brightness",
    "contrast",
    "saturation",
    "hue",  # shares of a turn
    "order",  # of the four, that of step k in bits 2 k and 2 k + 1
    "erase_top",
    "erase_bottom",  # the first row after the window, which is empty at 0
    "erase_left",
    "erase_right",
    "erase_value",
    "partner",  # place in the batch of the image that is mixed in
    "mix_top",
    "mix_bottom",
    "mix_left",
    "mix_right",
    "mix_share",  # of the image itself in that window
)

AT = namedtuple("ColumnPlaces", COLUMNS)(*range(len(COLUMNS)))
"""The place of each column, by its name."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # in `order`
GRAY = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision rounds it

UNCHANGED = tuple(
    {"yy": 1.0, "xx": 1.0, "brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "order": 0b11_10_01_00}.get(name, 0.0)
    for name in COLUMNS
)
