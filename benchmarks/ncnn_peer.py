"""ncnn as the peer of single convolutions: its Winograd is the fastest on CPUs that anyone ships.

It takes one image at a time, so a batch is a loop over images; the weight is transformed beforehand and, unlike ours,
not in its time. float32 throughout.
"""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

_GRAPH = """7767517
2 2
Input x 0 1 x
Convolution conv 1 1 x y 0={outputs} 1={kernel} 4={padding} 5=0 6={size}
"""


def convolution(ncnn: Any, x: np.ndarray, weight: np.ndarray, padding: int, threads: int) -> Callable[[], np.ndarray]:
    """Return a function that convolves all images of `x`, (N, H, W, C), with `weight`, HWIO.

    A batch is shared by as many Python threads, each with a network of one thread: with all threads on one image it
    takes three to four times as long. The result is the last image's, (K, P, Q); the others stay in the library.
    """
    if len(x) < threads:
        return _images(ncnn, x, weight, padding, threads)
    shares = [_images(ncnn, part, weight, padding, 1) for part in np.array_split(x, threads)]
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(lambda share: share(), shares))[-1]


def _images(ncnn: Any, x: np.ndarray, weight: np.ndarray, padding: int, threads: int) -> Callable[[], np.ndarray]:
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_winograd_convolution = True
    for half in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, half, False)
    planar = np.ascontiguousarray(weight.transpose(3, 2, 0, 1))
    with tempfile.TemporaryDirectory() as folder:
        graph, data = Path(folder, "conv.param"), Path(folder, "conv.bin")
        graph.write_text(
            _GRAPH.format(outputs=weight.shape[3], kernel=weight.shape[0], padding=padding, size=weight.size)
        )
        data.write_bytes(bytes(4) + planar.tobytes())  # 0: float32 follows
        if net.load_param(str(graph)) or net.load_model(str(data)):
            raise RuntimeError("ncnn did not load the convolution")
    images = [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in x]

    def run() -> np.ndarray:
        for image in images:
            extractor = net.create_extractor()
            extractor.input("x", ncnn.Mat(image))
            _, result = extractor.extract("y")
        return np.array(result)

    return run
