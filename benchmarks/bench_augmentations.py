"""A batch of 512 images of CIFAR's size, augmented and normalised: numbers drawn, and one launch.

PyTorch's side is how one writes it for a whole batch, with the same numbers; it gets them drawn already.
"""

import numpy as np
import pytest

import fastconv as fc
from benchmarks.measure import Peer, compare, largest_error
from fastconv.backends.contract.types import RandomKey
from fastconv.data import Affine, ColorJitter, Crop, CutMix, Cutout, Flip, FlipCrop, Mixup, RandomErasing, Translate
from fastconv.data.changes import Changes
from fastconv.data.draws import Draws
from fastconv.kernels.transforms import COLUMNS

BATCH, SHAPE = 512, (32, 32, 3)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CASES = {
    "flip": (Flip(),),
    "flip-alternating": (Flip("alternating"),),
    "flip-crop": (Flip(), Crop(4)),
    "flip-crop-reflect": (Flip("alternating"), Crop(2, "reflect")),
    "translate": (Translate(),),
    "affine": (Affine(15, (0.1, 0.1), (0.8, 1.2), 10),),
    "brightness-contrast": (ColorJitter(0.2, 0.2),),
    "color-jitter": (ColorJitter(0.2, 0.2, 0.2, 0.05),),
    "cutout": (Cutout(8),),
    "random-erasing": (RandomErasing(),),
    "mixup": (Mixup(),),
    "cutmix": (CutMix(),),
}
NO_PEER = ("color-jitter",)  # hues in an order of their own for each image are nothing that PyTorch has for a batch


def _moved(torch, x, of):
    """Return images mirrored and shifted, by gathering."""
    place = torch.arange(32)
    rows, columns = (place + torch.from_numpy(of[name]).long()[:, None] for name in ("shift_y", "shift_x"))
    mirrored = torch.from_numpy(of["mirrored"] != 0)[:, None]
    columns = torch.where(mirrored, columns.flip(1), columns)
    if of["reflected"].any():
        rows, columns = (31 - (31 - at.abs()).abs() for at in (rows, columns))
    inside = ((rows >= 0) & (rows < 32))[:, :, None] & ((columns >= 0) & (columns < 32))[:, None]
    flat = (rows.clamp(0, 31) * 32)[:, :, None] + columns.clamp(0, 31)[:, None]
    gathered = x.reshape(len(x), 3, -1).gather(2, flat.reshape(len(x), 1, -1).expand(-1, 3, -1))
    return gathered.reshape(x.shape) * inside[:, None]


def _sampled(torch, x, of):
    """Return bilinear samples; the matrix is that of coordinates from -1 to 1."""
    x0 = (of["x0"] + (of["xx"] + of["xy"] - 1) * 15.5) / 16
    y0 = (of["y0"] + (of["yx"] + of["yy"] - 1) * 15.5) / 16
    rows = [[of["xx"], of["xy"], x0], [of["yx"], of["yy"], y0]]
    theta = torch.from_numpy(np.array(rows).transpose(2, 0, 1).astype(np.float32))
    grid = torch.nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, align_corners=False)


def _coloured(torch, x, of):
    """Return images after brightness and contrast, in either order."""
    bright, contrast = (
        torch.from_numpy(of[name].astype(np.float32))[:, None, None, None] for name in ("brightness", "contrast")
    )
    order = of["order"].astype(int)
    first = torch.from_numpy(
        np.array([next(k >> 2 * s & 3 for s in range(4) if k >> 2 * s & 3 < 2) for k in order]) == 0
    )
    first = first[:, None, None, None]
    gray = torch.tensor([0.2989, 0.587, 0.114])[:, None, None]
    x = torch.where(first, (x * bright).clamp(0, 1), x)
    x = (contrast * x + (1 - contrast) * (x * gray).sum(1).mean((1, 2))[:, None, None, None]).clamp(0, 1)
    return torch.where(first, x, (x * bright).clamp(0, 1))


def _window(torch, of, kind):
    place = torch.arange(32)
    top, bottom, left, right = (
        torch.from_numpy(of[f"{kind}_{side}"])[:, None] for side in ("top", "bottom", "left", "right")
    )
    rows, columns = (place >= top) & (place < bottom), (place >= left) & (place < right)
    return (rows[:, :, None] & columns[:, None])[:, None]


def _torch_batch(torch, images, rows):
    """Return what makes the batch with PyTorch, as (B, C, H, W)."""
    of = dict(zip(COLUMNS, rows.T.copy(), strict=True))
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    moves = any(of[name].any() for name in ("mirrored", "shift_y", "shift_x"))

    def run():
        y = x.float().div_(255)
        y = _moved(torch, y, of) if moves else y
        y = _sampled(torch, y, of) if of["resampled"].any() else y
        y = _coloured(torch, y, of) if of["coloured"].any() else y
        y = y.sub_(mean).div_(std)
        if of["erase_bottom"].any():
            y = y.masked_fill(_window(torch, of, "erase"), 0)
        if of["mix_bottom"].any():
            share = float(of["mix_share"][0])
            y = torch.where(_window(torch, of, "mix"), share * y + (1 - share) * y.roll(1, 0), y)
        return y

    return run


@pytest.mark.parametrize("name", CASES)
def bench_augmentation(benchmark, torch, rng, name):
    images = rng.integers(0, 256, (5000, *SHAPE), dtype=np.uint8)
    indices = rng.integers(0, len(images), BATCH)
    changes, draws = Changes(CASES[name]), Draws(1, 0, 0, indices)
    out = np.empty((BATCH, *SHAPE), np.float32)
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)

    def run(out=out, mean=mean, std=std):
        rows = changes.rows(draws, SHAPE)
        fc.get_backend().transform_images(images, indices, rows, mean=mean, std=std, out=out)
        return out

    def reference(*wide):
        with fc.use_backend("numpy"):
            return run(*wide)

    wide = (np.empty(out.shape), mean.astype(np.float64), std.astype(np.float64))
    error = largest_error(run(), reference(*wide))
    assert error < 1e-5
    peers = [Peer("numpy", lambda: reference(np.empty_like(out)), rounds=2)]
    if torch is not None and name not in NO_PEER:
        theirs = _torch_batch(torch, images[indices], changes.rows(draws, SHAPE))
        assert largest_error(theirs().permute(0, 2, 3, 1).numpy(), out) < 1e-4
        peers.append(Peer("torch", theirs))
    compare(benchmark, run, peers, error=error, bytes=out.nbytes + BATCH * 32 * 32 * 3)


def bench_flip_crop(benchmark, torch, rng):
    """`FlipCrop` alone, whose numbers the kernel draws; PyTorch gets some that were drawn."""
    images = rng.integers(0, 256, (5000, *SHAPE), dtype=np.uint8)
    indices = rng.integers(0, len(images), BATCH)
    key, change = RandomKey(seed=1, stream=0, step=0), FlipCrop()

    def run(dtype=np.float32):
        mean, std, out = np.array(MEAN, dtype), np.array(STD, dtype), np.empty((BATCH, *SHAPE), dtype)
        how = {"mean": mean, "std": std, "flip": change.flip, "pad": change.pad, "key": key}
        fc.get_backend().augment(images, indices, **how, out=out)
        return out

    def reference(dtype=np.float32):
        with fc.use_backend("numpy"):
            return run(dtype)

    error = largest_error(run(), reference(np.float64))
    assert error < 1e-5
    peers = [Peer("numpy", reference, rounds=2)]
    if torch is not None:
        rows = Changes(CASES["flip-crop"]).rows(Draws(1, 0, 0, indices), SHAPE)
        peers.append(Peer("torch", _torch_batch(torch, images[indices], rows)))
    compare(benchmark, run, peers, error=error, bytes=BATCH * 32 * 32 * 3 * 5)
