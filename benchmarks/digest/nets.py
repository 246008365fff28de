"""Digests of training steps and inference of models."""

import hashlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks.digest.hashing import SEED, Digests, digest
from fastconv import models, nn

MODELS = ("keras_cnn", "lenet5", "mlp", "resnet20", "resnet9")
LARGE_MODELS = {"airbench": (32, 32, 3), "googlenet": (8, 8, 3), "mobilenet": (16, 16, 3), "tf_cifar10": (24, 24, 3)}
"""Models, with the images that they are asked for, that take a short training only: each in its own way of layers."""

STEPS = 10
BATCH = 8
FEW_STEPS = 2  # of LARGE_MODELS
LARGE_BATCH, LARGE_STEPS = 64, 3  # large enough for the algorithms that take many tiles
INFERENCE_BATCHES = (1, 8, 33)


def every_layer() -> nn.Layer:
    """Return a net with every kind of layer, and of what may stand behind a convolution."""
    return nn.Sequential(
        *(nn.Conv2d(8, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)),
        *(nn.Conv2d(16, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(16, 3, padding=1, groups=16), nn.BatchNorm2d()),
        *(nn.SiLU(), nn.Residual(nn.Sequential(nn.Conv2d(16, 3, padding=1), nn.BatchNorm2d(), nn.ELU()))),
        *(nn.LeakyReLU(0.1), nn.Conv2d(24, 1), nn.Sigmoid(), nn.Conv2d(16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Residual(nn.Sequential(nn.Conv2d(16, 3, padding=1, bias=False), nn.BatchNorm2d())), nn.ReLU()),
        nn.Residual(nn.Sequential(nn.Conv2d(32, 3, stride=2, padding=1), nn.Tanh()), nn.SubsamplePad(32, stride=2)),
        nn.Parallel(nn.Conv2d(16, 1), nn.Sequential(nn.Conv2d(8, 5, padding=2), nn.Sigmoid()), mode="concatenate"),
        *(nn.AvgPool2d(2, ceil_mode=True), nn.GlobalMaxPool2d(), nn.Dense(40), nn.ReLU(), nn.Dense(10), nn.Scale(0.5)),
    ).build((36, 33, 3), seed=SEED)


def layers_of_few() -> nn.Layer:
    """Return a net with the layers that few networks have."""
    graph = nn.Graph(
        {
            "left": (nn.Conv2d(6, 1), "input"),
            "right": (nn.AvgPool2d(2), "input"),
            "up": (nn.Upsample(2), "right"),
            "both": ("concatenate", "left", "up"),
        },
        outputs="both",
    )
    return nn.Sequential(
        *(nn.DepthwiseConv2d(3, 2, padding=1), nn.LocalResponseNorm(3), nn.PReLU(), nn.Conv2d(8, 3, padding=1)),
        *(nn.GroupNorm(4), nn.ConvTranspose2d(6, 3, stride=2, padding=1, output_padding=1), graph, nn.Maxout(2)),
        *(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Dense(10), nn.Softmax()),
    ).build((9, 10, 3), seed=SEED)


def all_models() -> dict[str, Callable[[], nn.Layer]]:
    """Return what makes each kind of model, built with one seed."""
    made = {name: (lambda name=name: getattr(models, name)(seed=SEED)) for name in MODELS}
    large = {
        name: (lambda name=name, shape=shape: getattr(models, name)(input_shape=shape, seed=SEED))
        for name, shape in LARGE_MODELS.items()
    }
    return {"every_layer": every_layer, "layers_of_few": layers_of_few, **made, **large}


def _optimizers() -> dict[str, Callable[[Any], Any]]:
    return {
        "sgd": lambda p: fc.optim.SGD(p, 0.02, momentum=0.9, nesterov=True, weight_decay=1e-3),
        "adam": lambda p: fc.optim.Adam(p, 1e-3),
    }


def train(make: Callable[[], nn.Layer], optimizer: str, steps: int, batch: int, *, capture: bool) -> Digests:
    """Train, and take the digest of losses and of weights, then of what the trained model puts out."""
    rng, model = np.random.default_rng(SEED), make()
    shape = tuple(model.input_shape)
    loss = fc.losses.SoftmaxCrossEntropy(label_smoothing=0.1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loss: .* whose last layer is Softmax")  # any numbers do here
        trainer = fc.Trainer(model, loss, _optimizers()[optimizer](model.parameters()), seed=SEED, capture=capture)
    losses = []
    for _ in range(steps):
        x = fc.asarray(rng.standard_normal((batch, *shape)).astype(np.float32))
        y = fc.asarray(rng.integers(0, 10, batch).astype(np.int32))
        losses.append(np.array(fc.to_numpy(trainer.train_step(x, y))))
    tensors = {name: fc.to_numpy(tensor.data) for name, tensor in model.named_tensors().items()}
    named = "".join(f"{name}{digest([a])}" for name, a in sorted(tensors.items()))
    found = {
        "losses": digest([np.array(losses)]),
        "weights": digest(tensors.values()),
        "weights by name": hashlib.sha256(named.encode()).hexdigest()[:32],
    }
    if not capture:
        found |= _infer(model, shape, rng)
    return {key: f":{value}" for key, value in found.items()}


def _infer(model: nn.Layer, shape: tuple[int, ...], rng: np.random.Generator) -> Digests:
    found: Digests = {}
    for batch in INFERENCE_BATCHES:
        x = fc.asarray(rng.standard_normal((batch, *shape)).astype(np.float32))
        found[f"predict {batch}"] = digest([fc.to_numpy(model.predict(x, batch_size=8))])
        plan = model.compile(x.shape)
        found[f"compiled {batch}"] = digest([fc.to_numpy(plan(x)) for _ in range(2)])
    return found


def _runs(model: str) -> list[tuple[str, int, int]]:
    """Return optimizer, steps and batch of the trainings of a model."""
    if model in LARGE_MODELS:
        return [("sgd", FEW_STEPS, BATCH)]
    return [("sgd", STEPS, BATCH), ("adam", LARGE_STEPS, LARGE_BATCH)]


def training(name: str, precisions: Iterable[str], small: dict[str, int] | None = None) -> Digests:
    """Train every model, plain and captured, or those in `small` for as many steps."""
    found: Digests = {}
    makers = all_models()
    with fc.use_backend(name) as backend:
        for precision in precisions:
            with fc.precision(precision):
                for model in small or makers:
                    for optimizer, steps, batch in [("sgd", small[model], 4)] if small else _runs(model):
                        for capture in (False, True) if backend.captures else (False,):
                            key = f"{name} {precision} {model} {optimizer} {'captured' if capture else 'plain'} "
                            more = train(makers[model], optimizer, steps, batch, capture=capture)
                            found |= {key + what: value for what, value in more.items()}
    return found
