"""What the command `fastconv` takes. Commands are imported when they run, so that ``fastconv --help`` is quick."""

from __future__ import annotations

import argparse

from fastconv import __version__
from fastconv.cli.choices import MODELS, WARMED
from fastconv.cli.options import Parser, Subparsers, add_recipe, add_saving, add_weights, command
from fastconv.cli.words import above_zero, model, not_negative, path, positive, side

_ONE_OF = f"one of {', '.join(MODELS)}"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the namespace that it makes has the command's function as `run`."""
    parser = Parser(
        prog="fastconv",
        description="Train and look at convolutional networks whose kernels are written in Python.",
        epilog="'fastconv COMMAND --help' lists the options of a command. FASTCONV_BACKEND chooses the kernels.",
    )
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_train(commands)
    _add_resume(commands)
    _add_launch(commands)
    _add_lr_find(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_report(commands)
    _add_data_command(commands)
    _add_summary(commands)
    _add_explain(commands)
    _add_profile(commands)
    _add_warmup(commands)
    command(commands, "info", "print versions, backends, threads, CPU features and directories", "", "--backend cupy")
    _add_gradcheck(commands)
    return parser


def _add_train(commands: Subparsers) -> None:
    parser = command(
        commands,
        "train",
        "train a network and write its weights and what it was made of",
        "",
        "--model resnet20 --dataset cifar10 --save-every-steps 100",
        "--images DIR --image-size 64 64 --augmentation FlipCrop pad=8",
        "--optimizer SGD momentum=0.5 --lr 0.05 --schedule Cosine",
        "run.toml --set optimizer.lr=0.01 --output runs/slower",
    )
    add_recipe(parser)
    parser.add_argument(
        "--output",
        type=path,
        metavar="DIR",
        help="the folder of the run; by default runs/DATASET-MODEL, with a number after it if that is taken",
    )


def _add_launch(commands: Subparsers) -> None:
    parser = command(
        commands,
        "launch",
        "run a script, or a training, on several processes",
        "-n 2 train --model resnet20 --output runs/two",
        "-n 2 --max-restarts 3 resume runs/two",
        "-n 4 --threads 1 my_training.py --epochs 3",
        computes=False,
    )
    parser.add_argument("-n", type=positive, required=True, metavar="N", help="how many processes, or ranks")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="of each rank; by default the cores are shared out among them"
    )
    parser.add_argument(
        "--max-restarts",
        type=not_negative,
        default=0,
        metavar="N",
        help="start a job that failed again, N times at most",
    )
    parser.add_argument(
        "--timeout",
        type=above_zero,
        default=600.0,
        metavar="SECONDS",
        help="how long a rank waits for the others in one call before it ends the job",
    )
    parser.add_argument("--mpiexec", type=path, metavar="PATH", help="by default that beside Python, else of the PATH")
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="PROGRAM",
        help="'train', 'resume', or a script, and its words; -- -m MODULE for a module",
    )


def _add_lr_find(commands: Subparsers) -> None:
    parser = command(
        commands,
        "lr-find",
        "raise the learning rate from step to step, and tell which ones are of use",
        "",
        "--model resnet20 --optimizer SGD momentum=0.9",
        "runs/first/run.toml --steps 200",
    )
    add_recipe(parser)
    group = parser.add_argument_group("rates")
    group.add_argument("--low", type=above_zero, default=1e-7, metavar="RATE", help="the first one")
    group.add_argument("--high", type=above_zero, default=10.0, metavar="RATE", help="the last one")
    group.add_argument("--steps", type=positive, default=100, metavar="N", help="how many")


def _add_resume(commands: Subparsers) -> None:
    parser = command(
        commands,
        "resume",
        "go on with a training that was interrupted or killed, to the same bits",
        "runs/shapes10-keras_cnn",
        "runs/shapes10-keras_cnn --epochs 20",
        chooses=False,
    )
    parser.add_argument("folder", type=path, metavar="RUN", help="the folder of the run, which tells all else")
    parser.add_argument("--epochs", type=positive, metavar="N", help="how many in all, if it is to be another number")
    add_saving(parser)
    group = parser.add_argument_group("data; only if they lie elsewhere by now")
    group.add_argument("--data-dir", type=path, metavar="DIR", help="where the files of data sets are")
    group.add_argument("--images", type=path, metavar="DIR", help="the own folder of images")


def _add_evaluate(commands: Subparsers) -> None:
    parser = command(
        commands,
        "evaluate",
        "measure a trained network on the test images",
        "runs/shapes10-keras_cnn",
        "runs/images-keras_cnn --images OTHER_DIR",
        "weights.safetensors --dataset cifar10 --limit 1000",
    )
    add_weights(parser)


def _add_predict(commands: Subparsers) -> None:
    parser = command(
        commands,
        "predict",
        "name what images show",
        "runs/shapes10-keras_cnn photo.png other.jpg",
        "runs/shapes10-keras_cnn --index 0 1 2 --top 1",
    )
    add_weights(parser)
    parser.add_argument(
        "files",
        type=path,
        nargs="*",
        metavar="IMAGE",
        help="PNG and JPEG files, or a .npy file of uint8 images, (H, W, C) or (N, H, W, C), RGB",
    )
    parser.add_argument(
        "--index", type=not_negative, nargs="+", metavar="I", help="images of the test part; default the first ten"
    )
    parser.add_argument("--top", type=positive, default=3, metavar="K", help="how many classes to print for each image")


def _add_report(commands: Subparsers) -> None:
    parser = command(
        commands,
        "report",
        "write the page of one run or several, one file of HTML without network",
        "runs/shapes10-keras_cnn",
        "--follow runs/shapes10-keras_cnn",
        "runs/first runs/second --output both.html",
    )
    parser.add_argument("runs", type=path, nargs="+", metavar="RUN", help="the folders of the runs")
    parser.add_argument(
        "--output",
        type=path,
        metavar="FILE",
        help="by default report.html: of one run in its folder, of several in the current one",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="write it anew after each epoch until the training is over; the open page loads itself again",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="look at N test images only")
    parser.add_argument("--quick", action="store_true", help="compute nothing: no test images, no times of layers")


def _add_data_command(commands: Subparsers) -> None:
    parser = command(
        commands,
        "data",
        "list the data sets, or download one",
        "list",
        "download cifar10 --data-dir DIR",
        computes=False,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="which data sets there are, and whether they can be read here")
    getting = actions.add_parser("download", help="get the files of a data set, or what is missing of them")
    getting.add_argument("name", metavar="NAME", help="of a data set, as 'fastconv data list' has it")
    for action in (listing, getting):
        action.add_argument("--data-dir", type=path, metavar="DIR", help="where; else FASTCONV_DATA_DIR")


def _add_summary(commands: Subparsers) -> None:
    parser = command(commands, "summary", "print the layers of a model", "resnet20", computes=False)
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help=_ONE_OF)
    parser.add_argument(
        "--input-shape", type=side, nargs=3, default=(32, 32, 3), metavar=("H", "W", "C"), help="of one image"
    )


def _add_explain(commands: Subparsers) -> None:
    parser = command(
        commands,
        "explain",
        "print which kernels and fusions the layers of a model get, and why",
        "resnet20",
        "keras_cnn --batch-size 1 --backend numpy",
    )
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help=_ONE_OF)
    parser.add_argument("--batch-size", type=positive, default=128, metavar="N", help="choices depend on it")


def _add_profile(commands: Subparsers) -> None:
    parser = command(
        commands,
        "profile",
        "time the layers of a model in training, with their shares of the roofline",
        "resnet20",
        "keras_cnn --batch-size 32 --trace step.json",
    )
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help=_ONE_OF)
    parser.add_argument("--batch-size", type=positive, default=128, metavar="N", help="times depend on it")
    parser.add_argument("--repeats", type=positive, default=5, metavar="N", help="medians are of so many")
    parser.add_argument("--trace", type=path, metavar="FILE", help="write a Chrome trace of a step, for Perfetto")


def _add_warmup(commands: Subparsers) -> None:
    text = "compile the kernels that models need and keep them on disk"
    parser = command(commands, "warmup", text, "", "resnet20 --target sm_90")
    # Not `choices`: argparse would hold the default, a list, against them.
    parser.add_argument("models", nargs="*", type=model, default=list(WARMED), metavar="MODEL", help=_ONE_OF)
    parser.add_argument("--batch-size", type=positive, default=128, metavar="N", help="choices depend on it")
    group = parser.add_argument_group("CUDA kernels ahead, on a machine with or without a GPU")
    group.add_argument(
        "--target", metavar="NAME", help="sm_80, sm_90, ...: compile for these GPUs, for one precision or all"
    )
    group.add_argument("--jobs", type=positive, metavar="N", help="compile N at a time; default one for each CPU")


def _add_gradcheck(commands: Subparsers) -> None:
    parser = command(
        commands,
        "gradcheck",
        "compare the gradients of layers with finite differences, in float64",
        "",
        "--backend numpy --seed 1",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the inputs")
