"""What classes and functions of other libraries are called here; read only when a name is not found.

Names that differ by spelling alone need no line: the nearest one is found by itself, and case and underscores do not
count for those that have one (`categorical_crossentropy`).
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from fastconv.errors import UnknownAttributeError

_SOFTMAX = "fc.losses.SoftmaxCrossEntropy(), of logits and class numbers, or rows that sum to 1"
_BINARY = "fc.losses.BinaryCrossEntropy(), of logits"
_LAYERS = "fc.nn.Graph(nodes, outputs), fc.nn.Residual(body), fc.nn.Parallel"
_MODE = "nothing: only what is asked for is computed"
NAMES = {
    # layers
    "Module": "fc.nn.Layer, or fc.nn.Sequential(layers)",
    "Model": "fc.nn.Sequential(layers), fc.nn.Graph(nodes, outputs)",
    "ModuleList": "a list",
    "Linear": "fc.nn.Dense(out_features)",
    "LazyLinear": "fc.nn.Dense(out_features)",
    "LazyConv2d": "fc.nn.Conv2d(out_channels, kernel_size)",
    "SeparableConv2D": "fc.nn.DepthwiseConv2d(kernel_size) and fc.nn.Conv2d(out_channels, 1)",
    "Conv2DTranspose": "fc.nn.ConvTranspose2d(out_channels, kernel_size)",
    "BatchNormalization": "fc.nn.BatchNorm2d()",
    "BatchNorm1d": "fc.nn.BatchNorm2d(), which takes (N, C) too",
    "GroupNormalization": "fc.nn.GroupNorm(num_groups)",
    **dict.fromkeys(("LayerNorm", "LayerNormalization"), "fc.nn.GroupNorm(num_groups), 1: all of an image together"),
    "InstanceNorm2d": "fc.nn.GroupNorm(num_groups), a group for each channel",
    **dict.fromkeys(("Dropout2d", "SpatialDropout2D"), "fc.nn.Dropout(p), of single elements, not of whole channels"),
    "ReLU6": "a layer of your own: docs/own_kernel.md has it",
    "Swish": "fc.nn.SiLU()",
    "init": "an argument of layers, as in fc.nn.Conv2d(out_channels, kernel_size, init=...)",
    "AveragePooling2D": "fc.nn.AvgPool2d(kernel_size)",
    "GlobalAveragePooling2D": "fc.nn.GlobalAvgPool2d()",
    "GlobalMaxPooling2D": "fc.nn.GlobalMaxPool2d()",
    "UpSampling2D": "fc.nn.Upsample",
    "Activation": "a layer for each, such as fc.nn.ReLU()",
    **dict.fromkeys(("Add", "Concatenate", "Input", "add", "concatenate"), _LAYERS),
    # losses
    **dict.fromkeys(("CrossEntropyLoss", "NLLLoss", "CategoricalCrossentropy", "cross_entropy"), _SOFTMAX),
    **dict.fromkeys(("SparseCategoricalCrossentropy", "CategoricalCrossEntropy"), _SOFTMAX),
    **dict.fromkeys(("BCEWithLogitsLoss", "BCELoss", "BinaryCrossentropy"), _BINARY),
    **dict.fromkeys(("MSELoss", "MSE", "mse_loss"), "fc.losses.MeanSquaredError()"),
    **dict.fromkeys(("L1Loss", "MAE", "l1_loss"), "fc.losses.MeanAbsoluteError()"),
    "HuberLoss": "fc.losses.Huber(delta)",
    "SmoothL1Loss": "fc.losses.Huber(delta), which is delta times SmoothL1Loss(beta=delta)",
    "KLDivLoss": "fc.losses.SoftmaxCrossEntropy(), of logits and rows that sum to 1, which has the same gradient",
    "MultiMarginLoss": "fc.losses.MulticlassHinge(), which is not divided by the number of classes",
    "CategoricalHinge": "fc.losses.MulticlassHinge(), which adds the margins of all other classes",
    "Hinge": "fc.losses.MulticlassHinge(), of class numbers and a score for each class",
    # optimizers and schedules
    "lr_scheduler": "fc.optim.schedules",
    "StepLR": "fc.optim.schedules.Step(lr, step_size=n)",
    "MultiStepLR": "fc.optim.schedules.Step(lr, milestones)",
    "ExponentialLR": "fc.optim.schedules.Exponential(lr, factor)",
    "CosineAnnealingLR": "fc.optim.schedules.Cosine(lr, total_steps)",
    "CosineDecay": "fc.optim.schedules.Cosine(lr, total_steps, final_lr=alpha * lr)",
    "ExponentialDecay": "fc.optim.schedules.Exponential(lr, factor, decay_steps)",
    "CosineAnnealingWarmRestarts": "fc.optim.schedules.CosineWarmRestarts(lr, T_0)",
    "CosineDecayRestarts": "fc.optim.schedules.CosineWarmRestarts(lr, T_0, final_lr=alpha * lr)",
    "OneCycleLR": "fc.optim.schedules.OneCycle(max_lr, total_steps)",
    "PolynomialLR": "fc.optim.schedules.Polynomial(lr, total_steps)",
    "PolynomialDecay": "fc.optim.schedules.Polynomial(lr, total_steps)",
    "PiecewiseConstantDecay": "fc.optim.schedules.Step(lr, milestones, factor), or for any rates"
    " fc.optim.schedules.Function(function)",
    "LambdaLR": "fc.optim.schedules.Function(function), which gives the rate itself",
    "LearningRateScheduler": 'fc.optim.schedules.Function(function, by="epoch")',
    **dict.fromkeys(("LinearLR", "SequentialLR"), "fc.optim.schedules.Warmup, fc.optim.schedules.PiecewiseLinear"),
    "ReduceLROnPlateau": "fc.optim.schedules.ReduceOnPlateau(lr, factor, patience)",
    "ExponentialMovingAverage": "fc.optim.EMA(optimizer)",
    "AveragedModel": "fc.optim.EMA(optimizer)",
    # metrics
    **dict.fromkeys(
        ("CategoricalAccuracy", "SparseCategoricalAccuracy", "MulticlassAccuracy"),
        "fc.metrics.Accuracy()",
    ),
    "BinaryAccuracy": "fc.metrics.Accuracy(), of two scores for each row",
    "TopKCategoricalAccuracy": "fc.metrics.TopKAccuracy(k)",
    "F1Score": "fc.metrics.F1()",
    # data
    "FashionMNIST": "fc.data.fashion_mnist()",
    "ImageFolder": "fc.data.image_folder(directory)",
    "TensorDataset": "fc.data.arrays, or a pair of arrays (x, y)",
    "random_split": "dataset.split(count)",
    "Subset": "dataset.take(indices)",
    "WeightedRandomSampler": "fc.data.DataLoader(dataset, sampling=...)",
    "RandomCrop": "fc.data.Crop()",
    **dict.fromkeys(("RandomRotation", "RandomAffine", "RandomZoom"), "fc.data.Affine(degrees, scale=...)"),
    "RandomTranslation": "fc.data.Translate()",
    **dict.fromkeys(("Normalize", "Normalization", "Rescaling"), "fc.data.DataLoader(dataset, mean=..., std=...)"),
    "Compose": "a list, fc.data.DataLoader(dataset, augmentation=[...])",
    "ToTensor": "nothing: fc.data.DataLoader makes batches of images of bytes",
    "Resize": "fc.data.image_folder(directory, size=(height, width))",
    **dict.fromkeys(("RandomHorizontalFlip", "RandomFlip"), "fc.data.Flip(), which mirrors left and right"),
    "RandomVerticalFlip": "fc.data.Flip() mirrors left and right only",
    "RandomResizedCrop": "fc.data.Affine(scale=...), fc.data.Crop()",
    **dict.fromkeys(("RandomContrast", "RandomBrightness"), "fc.data.ColorJitter(brightness, contrast)"),
    "image_dataset_from_directory": "fc.data.image_folder(directory, size=(height, width))",
    # functions
    "linear": "fc.functional.dense(x, weight, bias)",
    **dict.fromkeys(("softmax", "log_softmax"), "fc.nn.Softmax(), or fc.losses.SoftmaxCrossEntropy(), of logits"),
    **dict.fromkeys(("zeros", "ones", "cat", "stack", "rand", "randn"), "NumPy's, and fc.asarray(array) of it"),
    # training
    "clip_grad_norm_": "fc.training.ClipGlobalNorm(limit), given to fc.Trainer",
    "clip_grad_value_": "fc.training.ClipValue(limit), given to fc.Trainer",
    "TensorBoard": "fc.training.TensorBoardLogger",
    "TerminateOnNaN": "fc.training.diagnostics.TerminateOnNaN()",
    **dict.fromkeys(
        ("DataParallel", "DistributedDataParallel"), "fc.parallel.DataParallel(), given to fc.Trainer as parallel"
    ),
    "MirroredStrategy": "fc.parallel.DataParallel(), given to fc.Trainer as parallel",
    "prune": "fc.optim.Pruning(optimizer, end)",
    # rooms, and what stands in none
    "layers": "fc.nn",
    "optimizers": "fc.optim",
    "callbacks": "fc.training",
    "datasets": "fc.data",
    "utils": "fc.data, fc.training",
    "tensor": "fc.asarray(array)",
    "from_numpy": "fc.asarray(array)",
    "no_grad": _MODE,
    "inference_mode": _MODE,
    **dict.fromkeys(("autocast", "GradScaler", "mixed_precision"), 'fc.precision("fast")'),
    "manual_seed": "fc.seed(value)",
    "set_random_seed": "fc.seed(value)",
    "device": "fc.set_backend(name)",
    "cuda": 'fc.set_backend("cupy")',
    "save": "model.save_weights(path), or trainer.save(path)",
    "load_model": "fc.models.load(name, weights=path)",
}
"""By the names that they have elsewhere, whatever the module: that of a room here, or one above or beside it."""

_ROOMS = ("", "nn", "losses", "metrics", "optim", "optim.schedules", "data", "training", "functional", "models")


def unknown_name(room: str, name: str) -> AttributeError:
    """Return the error for a name that the module `room` has not."""
    meant = name if name in NAMES else next((known for known in NAMES if _bare(known) == _bare(name)), None)
    advice = f" ({NAMES[meant]})" if meant else ""
    message = f"{name}: got a name that {room} has not; allowed: its own{advice}"
    error = UnknownAttributeError(message, name=name, obj=sys.modules[room])
    error.elsewhere = _home
    return error


def _bare(name: str) -> str:
    return name.replace("_", "").lower()


def _home(name: str) -> str:
    """Return where a name of fastconv is, or nothing."""
    for room in _ROOMS:
        module: Any = importlib.import_module(f"fastconv.{room}".removesuffix("."))
        if name in module.__all__:
            return f"fc.{room}.{name}".replace("..", ".")
    return ""
