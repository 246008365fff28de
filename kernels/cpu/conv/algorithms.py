"""The algorithms of convolutions and dense layers on the CPU: all that `choice` returns. Needs no Numba."""

from ...algorithm import Algorithm

SQUARE, SMALL, WIDE = (4, 4), (2, 2), (4, 8)  # outputs of a tile of Winograd's: rows, columns
TILES = {(3, 3): SQUARE, (5, 5): SMALL}  # by kernel size
DIRECTIONS = ("forward", "backward_input", "backward_weight")

_BOTH = DIRECTIONS[:2]
_WEIGHT = "backward_weight"
_RUN = {
    **{
        (form, d): f"cpu.conv.{form}.convolve"
        for form in ("direct", "depthwise", "taps", "few_channels")
        for d in _BOTH
    },
    **{(form, d): f"cpu.conv.{form}.convolve.convolve" for form in ("bf16", "winograd") for d in _BOTH},
    ("direct", _WEIGHT): "cpu.conv.weight_gradient.backward_weight",
    ("depthwise", _WEIGHT): "cpu.conv.depthwise.backward_weight",
    ("bf16", _WEIGHT): "cpu.conv.bf16.weight_gradient.backward_weight",
    ("winograd", _WEIGHT): "cpu.conv.winograd.weight_gradient.gradient.backward_weight",
}
_DIRECT = {
    **dict.fromkeys(_BOTH, ("conv.direct.conv2d_direct",)),
    _WEIGHT: ("conv.weight_gradient.conv2d_backward_weight_direct", "vector.sums.sum_parts"),
}
_BF16 = {
    **dict.fromkeys(_BOTH, ("conv.bf16.convolve.conv2d_bf16_tiles", "conv.bf16.convolve.conv2d_bf16_dot")),
    _WEIGHT: (
        "conv.bf16.weight_gradient.conv2d_backward_weight_bf16_tiles",
        "conv.bf16.weight_gradient.conv2d_backward_weight_bf16_dot",
    ),
}
_DEPTHWISE = {
    **dict.fromkeys(_BOTH, ("conv.depthwise.conv2d_depthwise",)),
    _WEIGHT: ("conv.depthwise.conv2d_depthwise_backward_weight",),
}
_SHARED = "conv.winograd.convolve.winograd_transform_input"
_CONVOLVE, _GRADIENT = "conv.winograd.convolve.conv2d_winograd", "conv.winograd.weight_gradient.gradient"
_WINOGRAD = {
    (False, SQUARE): (_CONVOLVE, f"{_CONVOLVE}_narrow", _SHARED, f"{_CONVOLVE}_shared"),
    (False, SMALL): (f"{_CONVOLVE}_5x5", f"{_CONVOLVE}_5x5_narrow", _SHARED, f"{_CONVOLVE}_5x5_shared"),
    (False, WIDE): (f"{_CONVOLVE}_wide",),
    (True, SQUARE): (
        *(f"{_GRADIENT}.conv2d_backward_weight_winograd{size}" for size in ("", "_32", "_16")),
        f"{_GRADIENT}.transform_sums",
    ),
    (True, SMALL): (
        *(f"{_GRADIENT}.conv2d_backward_weight_winograd_5x5{size}" for size in ("", "_32", "_16")),
        f"{_GRADIENT}.transform_sums_5x5",
    ),
}


def _conv2d(direction, key, form, kernels, **more):
    name, run = f"conv2d_{direction}_{key}", _RUN[form, direction]
    return Algorithm(name=name, form=form, key=key, direction=direction, run=run, kernels=kernels, **more)


def _winograd(direction, tile, multiplies="float"):
    suffix = "_wide" if tile == WIDE else "_fixed" if multiplies == "fixed point" else ""
    kernels = _WINOGRAD[direction == _WEIGHT, tile]
    more = {"tile": tile, "multiplies": multiplies, "bf16_storage": True, "fuses": True}
    return _conv2d(direction, f"winograd{suffix}", "winograd", kernels, **more)


def _dense(name, form, direction, kernels, multiplies="float"):
    run = f"cpu.conv.{'bf16.convolve' if form == 'bf16' else 'direct'}.convolve_gathers"
    run = _RUN[form, direction] if direction == _WEIGHT else run
    return Algorithm(name, form, form, direction, run, kernels, multiplies=multiplies)


# By direction; those of Winograd by direction and tile.
DIRECT = {d: _conv2d(d, "direct", "direct", _DIRECT[d], fuses=True) for d in DIRECTIONS}
BF16 = {d: _conv2d(d, "bf16", "bf16", _BF16[d], multiplies="bf16", bf16_storage=True, fuses=True) for d in DIRECTIONS}
TAPS = {d: _conv2d(d, "taps", "taps", _DIRECT[d]) for d in _BOTH}
DEPTHWISE = {d: _conv2d(d, "depthwise", "depthwise", _DEPTHWISE[d]) for d in DIRECTIONS}
DEPTHWISE_3X3 = {d: _conv2d(d, "depthwise_3x3", "depthwise", ("conv.depthwise.conv2d_depthwise_3x3",)) for d in _BOTH}
WINOGRAD = {(d, tile): _winograd(d, tile) for d in DIRECTIONS for tile in (SQUARE, SMALL)}
WINOGRAD |= {(d, WIDE): _winograd(d, WIDE) for d in _BOTH}
WINOGRAD_FIXED = {(d, tile): _winograd(d, tile, "fixed point") for d in DIRECTIONS for tile in (SQUARE, SMALL)}
_FEW = tuple(f"conv.few_channels.conv2d_few_{channels}" for channels in range(1, 5))
FEW = _conv2d("backward_input", "few", "few_channels", _FEW, fuses=True)
DENSE_DIRECT = {d: _dense("conv2d_direct", "direct", d, _DIRECT[d]) for d in DIRECTIONS}
DENSE_BF16 = {d: _dense(f"dense_{d}_bf16", "bf16", d, _BF16[d], "bf16") for d in DIRECTIONS}

CONVOLUTIONS = (
    *(*DIRECT.values(), *WINOGRAD.values(), *WINOGRAD_FIXED.values(), *BF16.values()),
    *(*TAPS.values(), FEW, *DEPTHWISE.values(), *DEPTHWISE_3X3.values()),
)
DENSE = (*DENSE_DIRECT.values(), *DENSE_BF16.values())
MEASURED = tuple(dict.fromkeys(a.key for a in CONVOLUTIONS if a.form in ("winograd", "direct", "bf16")))
"""Keys of what the autotuner measures."""


def kernels_of(algorithms, direction, *, form=None, fused=False):
    """Return the kernels that algorithms of one direction launch, each once; with `fused` of those that fuse only."""
    taken = [a for a in algorithms if a.direction == direction and (a.fuses or not fused) and form in (None, a.form)]
    return tuple(dict.fromkeys(kernel for a in taken for kernel in a.kernels))
