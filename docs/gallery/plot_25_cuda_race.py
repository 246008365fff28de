"""
Watching a CUDA kernel race on a laptop
=======================================

Threads of a GPU that meet at one place without waiting for each other: the fault that shows once in a thousand runs, on
somebody else's machine. The emulator runs the same CUDA source on the CPU, with the threads in whatever order it is
asked for, and knows which accesses nothing orders.
"""

import contextlib
import textwrap

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv.backends.emulator import settings
from fastconv.kernels.cuda.runtime import build

rows = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
ORDERS = [
    settings.Settings(),
    settings.Settings("reverse"),
    *(settings.Settings("skewed", seed) for seed in (1, 2, 3, 4)),
]


def sums():
    """Return the gradient of a bias, the sum of all rows, once in each order of threads."""
    with fc.use_backend("cuda-emulator"):
        found = []
        for order in ORDERS:
            with settings.using(order):
                found.append(
                    fc.to_numpy(fc.functional.dense_backward_bias(fc.asarray(rows))).copy()
                )
    return np.array(found)


right = sums()
assert (right == right[0]).all()
np.testing.assert_allclose(right[0], rows.astype(float).sum(0), rtol=1e-5)

# %%
# Threads add up their own rows, and then halve the number of sums, again and again; a barrier between two halvings
# makes all wait. Take it away.

BARRIER = "own[half * blockDim.x].lane[k];\n        }\n        __syncthreads();"


@contextlib.contextmanager
def without_barrier():
    """Compile the kernel without the barrier."""
    original = build.source_text
    build.source_text = lambda kernel: original(kernel).replace(
        BARRIER, BARRIER.replace("__syncthreads();", "")
    )
    try:
        yield
    finally:
        build.source_text = original


with without_barrier():
    wrong = sums()
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.axhline(0, color="0.8")
ax.plot(wrong[:, 0] - right[0, 0], "o", color=fc.plot.COLOURS[1], label="without the barrier")
ax.plot(right[:, 0] - right[0, 0], "+", color=fc.plot.COLOURS[0], label="with it", markersize=12)
ax.set_xticks(
    range(len(ORDERS)), ["forward", "reverse", *(f"skewed {seed}" for seed in (1, 2, 3, 4))]
)
ax.set(ylabel="error of the first sum", xlabel="order of threads")
ax.legend(fontsize="small")
assert (wrong != right).any()
assert (wrong == right).all(1).any()  # one order happens to be right

# %%
# One order may happen to be right, so a test that passes proves nothing. With `checks` the emulator looks at the
# accesses themselves, and names the line of the source.

with (
    without_barrier(),
    fc.use_backend("cuda-emulator"),
    settings.using(settings.Settings(checks=True)),
):
    try:
        fc.functional.dense_backward_bias(fc.asarray(rows))
    except RuntimeError as error:
        message = str(error)
print(textwrap.fill(message[:300], 90))
assert "race" in message
assert ".cuh:" in message
