"""Local response normalisation across channels and its gradient, a pass each.

x, grad and out are (pixels, channels). For each pixel the squares go into scratch with zeros on both sides, so that a
window over channels is a few shifted loads from the L1 cache, without a bound. A power that is a multiple of a quarter
takes square roots of vectors; any other one the power function, an element at a time. (Krizhevsky et al. 2012)

    |error| <= (2 * size + 16) u * |y|,    u = 2^-24 (float32) or 2^-53

Bound by memory: a read and a write (backward two reads); by arithmetic for other powers.
"""

from ..runtime.launch import device, kernel, launch, thread_rows
from ..vector.memory import clear_elements, load, store
from ..vector.simd import address, itemsize, lanes, vfma, vsplat, vsqrt

_ROWS = 64  # pixels a task
_QUARTERS = 8  # powers up to -2 are products of roots
_LIFT = 2.0**32  # of scale**(-beta - 1) * x, else below what float32 has from x = 1e13 on; 1e18 with it


@device
def _sum_of_taps(source, taps, count, dt):
    total = vsplat(0, dt)
    for i in range(taps):
        total = total + load(source + i * itemsize(dt), count, dt)
    return total


@device
def _write_scales(source, squares, scales, channels, setting, dt):
    """Write ``k + factor * sum of squares`` for each channel of a pixel; `setting` is (low, high, factor, k)."""
    low, high, factor, k = setting
    size = itemsize(dt)
    clear_elements(squares, low, dt)
    clear_elements(squares + (low + channels) * size, high, dt)
    for c in range(0, channels, lanes(dt)):
        count = min(lanes(dt), channels - c)
        value = load(source + c * size, count, dt)
        store(squares + (low + c) * size, value * value, count, dt)
    for c in range(0, channels, lanes(dt)):
        count = min(lanes(dt), channels - c)
        total = _sum_of_taps(squares + c * size, low + high + 1, count, dt)
        store(scales + c * size, vfma(total, vsplat(factor, dt), vsplat(k, dt)), count, dt)


@device
def _write_powers(scales, powers, beta, dt):
    """Write ``scale**-beta``; both are parts of the scratch, and may be the same."""
    channels, size, one = scales.size, itemsize(dt), vsplat(1, dt)
    quarters = int(4 * beta)
    if quarters != 4 * beta or quarters > _QUARTERS:
        for c in range(channels):
            powers[c] = scales[c] ** -beta
        return
    for c in range(0, channels, lanes(dt)):
        count = min(lanes(dt), channels - c)
        root, power = one / vsqrt(load(address(scales) + c * size, count, dt)), one
        for _ in range(quarters // 2):
            power = power * root
        if quarters % 2:
            power = power * vsqrt(root)
        store(address(powers) + c * size, power, count, dt)


@kernel
def local_response_norm_rows(begin, end, scratch, x, out, setting, beta):
    """Some pixels a task; `setting` is (channels before, channels after, alpha / size, k)."""
    dt = x.dtype
    size = itemsize(dt)
    rows, channels = x.shape
    scales, squares = scratch[:channels], address(scratch) + channels * size
    for row in range(begin * _ROWS, min(end * _ROWS, rows)):
        source, target = address(x) + row * channels * size, address(out) + row * channels * size
        _write_scales(source, squares, address(scales), channels, setting, dt)
        _write_powers(scales, scales, beta, dt)
        for c in range(0, channels, lanes(dt)):
            count = min(lanes(dt), channels - c)
            power = load(address(scales) + c * size, count, dt)
            store(target + c * size, load(source + c * size, count, dt) * power, count, dt)


@kernel
def local_response_norm_gradient(begin, end, scratch, grad, x, out, setting, beta):
    """Some pixels a task: the scales again, then the sums over the windows that a channel is in."""
    dt = x.dtype
    size = itemsize(dt)
    rows, channels = x.shape
    low, high, factor, _ = setting
    scales, powers = scratch[:channels], scratch[channels : 2 * channels]
    products = address(scratch) + 2 * channels * size
    share = vsplat(-2 * beta * factor / _LIFT, dt)
    for row in range(begin * _ROWS, min(end * _ROWS, rows)):
        place = row * channels * size
        _write_scales(address(x) + place, products, address(scales), channels, setting, dt)
        _write_powers(scales, powers, beta, dt)
        clear_elements(products, high, dt)
        clear_elements(products + (high + channels) * size, low, dt)
        for c in range(0, channels, lanes(dt)):
            count = min(lanes(dt), channels - c)
            scale, power = load(address(scales) + c * size, count, dt), load(address(powers) + c * size, count, dt)
            g, value = load(address(grad) + place + c * size, count, dt), load(address(x) + place + c * size, count, dt)
            store(products + (high + c) * size, g * power * (value / scale * vsplat(_LIFT, dt)), count, dt)
        for c in range(0, channels, lanes(dt)):
            count = min(lanes(dt), channels - c)
            g, value = load(address(grad) + place + c * size, count, dt), load(address(x) + place + c * size, count, dt)
            total = _sum_of_taps(products + c * size, low + high + 1, count, dt)
            own = g * load(address(powers) + c * size, count, dt)
            store(address(out) + place + c * size, vfma(total * value, share, own), count, dt)


def _launch(function, arrays, size, alpha, beta, k):
    """Launch over the pixels of `arrays`; a window goes no further than the channels do."""
    channels = arrays[0].shape[-1]
    rows = tuple(array.reshape(-1, channels) for array in arrays)
    low, high = min(size // 2, channels - 1), min((size - 1) // 2, channels - 1)
    # Three rows, one of them with zeros around, and a vector more.
    scratch = thread_rows((3 * channels + low + high) * arrays[0].itemsize, arrays[0].dtype)
    setting = low, high, alpha / size, float(k)
    launch(function, -(-len(rows[0]) // _ROWS), *rows, setting, float(beta), scratch=scratch)


def local_response_norm(x, *, size, alpha, beta, k, out):
    """Divide each element by a power of the squares around it."""
    _launch(local_response_norm_rows, (x, out), size, alpha, beta, k)


def local_response_norm_backward(grad_output, x, *, size, alpha, beta, k, out):
    """Gradient of `local_response_norm`."""
    _launch(local_response_norm_gradient, (grad_output, x, out), size, alpha, beta, k)
