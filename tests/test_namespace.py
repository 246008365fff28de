"""The public names, and that importing them is light."""

import operator
import subprocess
import sys

import pytest

import fastconv as fc
from fastconv.kernels.pointwise import POINTWISE

NAMES = {
    "": [
        *(
            "History",
            "Trainer",
            "__version__",
            "algorithm",
            "asarray",
            "available_backends",
            "data",
            "errors",
            "explain",
            "functional",
        ),
        *(
            "get_algorithm",
            "get_backend",
            "get_precision",
            "losses",
            "metrics",
            "models",
            "nn",
            "optim",
            "parallel",
            "plot",
            "precision",
            "random",
            "report",
            "seed",
        ),
        *(
            "set_algorithm",
            "set_backend",
            "set_num_threads",
            "set_precision",
            "testing",
            "to_numpy",
            "training",
            "use_backend",
        ),
        "free_memory",
    ],
    "nn": [
        *("AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm2d", "Buffer", "Conv2d", "ConvTranspose2d", "Dense"),
        *("DepthwiseConv2d", "Dropout", "Flatten", "GlobalAvgPool2d", "GlobalMaxPool2d", "Graph", "GroupNorm"),
        *("Identity", "Layer", "LocalResponseNorm", "MaxPool2d", "Maxout", "PReLU", "Parallel", "Parameter"),
        *(
            "Parameters",
            "Residual",
            "Scale",
            "Scope",
            "Sequential",
            "Softmax",
            "SubsamplePad",
            "SyncBatchNorm",
            "Upsample",
        ),
    ],
    "losses": [
        *("BinaryCrossEntropy", "DeclaredLoss", "Huber", "Loss", "MeanAbsoluteError", "MeanSquaredError"),
        *("MulticlassHinge", "SoftmaxCrossEntropy", "SquaredHinge", "loss_and_grad"),
    ],
    "metrics": [
        *("Accuracy", "ConfusionMatrix", "F1", "MeanAbsoluteError", "MeanBiasError", "Metric", "Precision", "R2Score"),
        *("Recall", "Sums", "TopKAccuracy"),
    ],
    "optim": [
        *("EMA", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Combined", "Group", "Lookahead", "Muon", "NAdam"),
        *("Optimizer", "Pruning", "RMSProp", "layer_groups", "no_decay_groups", "schedules", "split_groups"),
    ],
    "models": [
        *(
            "PrunedExport",
            "airbench",
            "alexnet",
            "export_pruned",
            "fine_tune",
            "googlenet",
            "keras_cnn",
            "lenet5",
            "load",
        ),
        *("mlp", "mnist_cnn", "mobilenet"),
        *("resnet9", "resnet18", "resnet20", "resnet32", "resnet34", "resnet44", "resnet50", "resnet56", "resnet110"),
        *("tf_cifar10", "vgg11", "vgg13", "vgg16", "vgg19"),
    ],
    "parallel": [
        *(
            "Communicator",
            "DataParallel",
            "MPICommunicator",
            "NCCLCommunicator",
            "SingleProcess",
            "Timeline",
            "connect",
            "launch",
        ),
    ],
    "plot": [
        *(
            "COLOURS",
            "activations",
            "animate_kernel",
            "animate_surface",
            "attributions",
            "confusion",
            "costs",
            "curves",
        ),
        *(
            "dead_units",
            "descend",
            "feature_maps",
            "filters",
            "histograms",
            "kernel_at_work",
            "learning_rate_finder",
            "matrix",
        ),
        *("mistakes", "roofline", "schedules", "sparsity", "sparsity_accuracy", "surface", "update_ratios", "volumes"),
    ],
    "random": ["get_seed", "next_key", "seed", "stream"],
    "report": ["Report", "follow", "make_report"],
    "training": [
        *("CSVLogger", "Callback", "ClipGlobalNorm", "ClipNorm", "ClipValue", "EarlyStopping", "History"),
        *("JSONLinesLogger", "MLflowLogger", "ModelCheckpoint"),
        *("ProgressDisplay", "RangeTest", "StepInfo", "StopOnSignal", "TensorBoardLogger", "TimeLimit"),
        *("Trainer", "Training"),
        *("diagnostics", "find_learning_rate"),
    ],
    "training.diagnostics": [
        *("ChromeTrace", "DeadUnitMonitor", "DeadUnitReport", "DeadUnits", "LayerStatistics", "LayerTime", "Machine"),
        *(
            "ModelStatistics",
            "NonFinite",
            "Profile",
            "Statistics",
            "TerminateOnNaN",
            "UpdateRatio",
            "UpdateRatios",
            "Verdict",
        ),
        *("dead_units", "find_non_finite", "grad_cam", "gradient_times_input", "layer_statistics", "measure_machine"),
        *("occlusion", "profile_layers", "saliency", "statistics_of", "trace_step", "update_ratios", "verdict"),
    ],
    "testing": [
        "AdjointReport",
        "CheckError",
        "Comparison",
        "Element",
        "Report",
        "adjoint_check",
        "compare",
        "gradcheck",
    ],
}


@pytest.mark.parametrize("module", NAMES)
def test_public_names(module):
    namespace = operator.attrgetter(module)(fc) if module else fc
    listed = [function.layer for function in POINTWISE.values()] if module == "nn" else []
    assert sorted(namespace.__all__) == sorted(NAMES[module] + listed)
    for name in namespace.__all__:
        assert hasattr(namespace, name)


def test_known_activations_are_there():
    """What the list calls its functions is public."""
    assert {"ELU", "GELU", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Tanh"} <= set(fc.nn.__all__)
    assert {"elu", "gelu", "leaky_relu", "relu", "silu", "sigmoid", "tanh"} <= set(fc.functional.__all__)


def test_modules_do_not_hide_functions():
    import fastconv.algorithm
    import fastconv.precision  # the import system would put the module in the place of the function

    assert callable(fc.algorithm)
    assert callable(fc.precision)
    assert callable(fastconv.precision)
    with fc.precision("strict"):
        assert fc.get_precision() == "strict"


def test_import_is_light():
    heavy = {"matplotlib", "numba", "llvmlite", "cupy", "rich", "safetensors", "torch"}
    code = f"import sys, fastconv; print(*sorted({heavy} & set(sys.modules)))"
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout.strip() == ""


def test_seed_and_threads_refuse_nonsense():
    with fc.use_backend("numpy"):
        for bad in (0, -1, 1.5, "two"):
            with pytest.raises(fc.errors.ArgumentError, match="count"):
                fc.set_num_threads(bad)
