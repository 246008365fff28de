"""
Convolutions at work
====================

A convolution slides a small kernel over a picture and writes down, at each place, how well they match. What it finds
depends on nine numbers.
"""

import numpy as np

import fastconv as fc

data = fc.data.shapes10("test", size=20)
image = data.images[4].mean(-1)
kernels = {
    "edges": np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]),
    "left to right": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    "blur": np.full((3, 3), 1 / 9),
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
}
figure = fc.plot.kernel_at_work(image, kernels)

# %%
# The kernel for edges on its way, row by row:

animation = fc.plot.animate_kernel(image, kernels["edges"], frames=40)

# %%
# A kernel whose numbers add up to nothing is blind to plain areas; if they add up to one, it keeps the brightness.

assert all(kernels[name].sum() == 0 for name in ("edges", "left to right"))
assert all(np.isclose(kernels[name].sum(), 1) for name in ("blur", "sharpen"))
plain = np.full((1, 8, 8, 1), 100.0)
for name, kernel in kernels.items():
    y = fc.functional.conv2d(plain, kernel.astype(float)[:, :, None, None])
    grey = float(y[0, 3, 3, 0])
    print(f"{name:14} sum of the kernel {kernel.sum():5.2f}, answer to a grey of 100: {grey:6.1f}")
    assert np.isclose(grey, 100 * kernel.sum())

# %%
# On the picture itself: what is blurred differs less from pixel to pixel than the picture does, and what is sharpened more.

answers = {
    name: fc.functional.conv2d(image[None, :, :, None], kernel.astype(float)[:, :, None, None])
    for name, kernel in kernels.items()
}
differs = {
    name: float(np.abs(np.diff(fc.to_numpy(answer), axis=2)).mean())
    for name, answer in ({"picture": image[None, 1:-1, 1:-1, None]} | answers).items()
}
print({name: round(value, 1) for name, value in differs.items()})
assert differs["blur"] < differs["picture"] < differs["sharpen"]
