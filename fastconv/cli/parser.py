"""What the command `fastconv` takes. Commands are imported when they run, so that ``fastconv --help`` is quick."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Any, NoReturn, get_args

from fastconv import __version__
from fastconv.backends.contract.types import AlgorithmChoice, Precision
from fastconv.cli.choices import DATASETS, MODELS, WARMED
from fastconv.cli.words import above_zero, model, name_or_setting, not_negative, path, place, positive, setting, side
from fastconv.training import named

_Group = Any  # argparse keeps the type of its subparsers to itself


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the words."""

    def error(self, message: str) -> NoReturn:
        """Leave with 2."""
        self.exit(2, f"error: {' '.join(message.split())} ('{self.prog} --help' lists what there is)\n")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Names the defaults that say something, and leaves the lines of examples as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        kind = getattr(action, "kind", None)
        if kind is not None:  # imported when it is asked for
            return f"{', '.join(named.choices(kind))}{action.help or ''}"
        silent = action.default is None or action.default is False
        return action.help if silent else super()._get_help_string(action)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the namespace that it makes has the command's function as `run`."""
    parser = _Parser(
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
    _command(commands, "info", "print versions, backends, threads, CPU features and directories", "", "--backend cupy")
    _add_gradcheck(commands)
    return parser


def _command(
    commands: _Group, name: str, text: str, *examples: str, computes: bool = True, chooses: bool = True
) -> argparse.ArgumentParser:
    """Add a command, with the options for what computes, and for what is free to choose how."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="\n".join(["examples:", *(f"  fastconv {name}{' ' * bool(words)}{words}" for words in examples)]),
        formatter_class=_Help,
    )
    parser.set_defaults(run=_lazy(name))
    if computes:
        group = parser.add_argument_group("how to compute")
        group.add_argument(
            "--backend", metavar="NAME", help="numba, numpy, cupy, cuda-emulator or auto; overrides FASTCONV_BACKEND"
        )
        group.add_argument("--threads", type=positive, metavar="N", help="use at most N threads")
    if computes and chooses:
        group.add_argument("--precision", choices=get_args(Precision), help="of the kernels")
        group.add_argument(
            "--algorithm",
            choices=get_args(AlgorithmChoice),
            help="of the convolutions on the CPU; overrides FASTCONV_ALGORITHM",
        )
    return parser


def _lazy(command: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        code: int = importlib.import_module(f"fastconv.cli.{command.replace('-', '_')}").run(options)
        return code

    return run


def _add_own_images(group: _Group) -> None:
    group.add_argument(
        "--images", type=path, metavar="DIR", help="an own folder of PNG and JPEG files, with a folder for each class"
    )
    group.add_argument("--skip-broken", action="store_true", help="pass over images that cannot be read, and name them")


def _add_data(parser: argparse.ArgumentParser) -> _Group:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--dataset",
        choices=DATASETS,
        metavar="NAME",
        help="of 'fastconv data list'; training takes shapes10 by default, which is drawn on the spot",
    )
    group.add_argument(
        "--data-dir",
        type=path,
        metavar="DIR",
        help="where the files of data sets are; else FASTCONV_DATA_DIR",
    )
    group.add_argument("--limit", type=positive, metavar="N", help="use the first N images of each part only")
    return group


def _add_train(commands: _Group) -> None:
    parser = _command(
        commands,
        "train",
        "train a network and write its weights and what it was made of",
        "",
        "--model resnet20 --dataset cifar10 --save-every-steps 100",
        "--images DIR --image-size 64 64 --augmentation FlipCrop pad=8",
        "--optimizer SGD momentum=0.5 --lr 0.05 --schedule Cosine",
        "run.toml --set optimizer.lr=0.01 --output runs/slower",
    )
    _add_recipe(parser)
    parser.add_argument(
        "--output",
        type=path,
        metavar="DIR",
        help="the folder of the run; by default runs/DATASET-MODEL, with a number behind it if that is taken",
    )


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add all that a recipe is made from."""
    parser.add_argument(
        "recipe", nargs="?", type=path, metavar="RUN.toml", help="a recipe, as the folder of a run holds one"
    )
    group = _add_data(parser)
    _add_own_images(group)
    group.add_argument("--image-size", type=side, nargs=2, metavar=("H", "W"), help="of own images; 32 32 by default")
    group.add_argument(
        "--image-fit", choices=("crop", "resize"), help="how they get it: cropped (the default) or stretched"
    )
    group.add_argument("--augment", action=argparse.BooleanOptionalAction, help="mirror and shift images at random")
    _add_named(group, "augmentation", several=True)
    group = parser.add_argument_group("recipe; what is not given comes from the file, or is usual for the model")
    for kind in ("model", "optimizer", "schedule", "loss"):
        _add_named(group, kind)
    for kind in ("metric", "callback"):
        _add_named(group, kind, several=True)
    group.add_argument(
        "--pruning",
        type=setting,
        nargs="*",
        metavar="SETTING=VALUE",
        help="prune weights while it trains: settings of fastconv.optim.Pruning, such as target=0.9",
    )
    group.add_argument("--epochs", type=positive, metavar="N")
    group.add_argument("--batch-size", type=positive, metavar="N", help="128 by default")
    group.add_argument("--lr", type=above_zero, metavar="RATE", help="learning rate, the highest one of the schedule")
    group.add_argument("--weight-decay", type=float, metavar="RATE")
    group.add_argument("--label-smoothing", type=float, metavar="SHARE")
    group.add_argument("--seed", type=int, metavar="N", help="of all that is random (default: 0)")
    group.add_argument("--dtype", choices=("float32", "float64"), help="float32 by default")
    group.add_argument(
        "--set", type=place, action="append", metavar="TABLE.SETTING=VALUE", help="anything else of a recipe"
    )
    _add_saving(parser)


def _add_launch(commands: _Group) -> None:
    parser = _command(
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


def _add_lr_find(commands: _Group) -> None:
    parser = _command(
        commands,
        "lr-find",
        "raise the learning rate from step to step, and tell which ones are of use",
        "",
        "--model resnet20 --optimizer SGD momentum=0.9",
        "runs/first/run.toml --steps 200",
    )
    _add_recipe(parser)
    group = parser.add_argument_group("rates")
    group.add_argument("--low", type=above_zero, default=1e-7, metavar="RATE", help="the first one")
    group.add_argument("--high", type=above_zero, default=10.0, metavar="RATE", help="the last one")
    group.add_argument("--steps", type=positive, default=100, metavar="N", help="how many")


def _add_named(group: _Group, kind: str, *, several: bool = False) -> None:
    """Add an option for what has a name and settings."""
    action = group.add_argument(
        f"--{kind}",
        type=name_or_setting(kind),
        nargs="+",
        action="append" if several else "store",
        metavar=("NAME", "SETTING=VALUE"),
        help="; may be given again" if several else "",
    )
    action.kind = kind


def _add_saving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--save-every-steps",
        type=not_negative,
        metavar="N",
        help="write the state after every N steps, too, and not after epochs only",
    )


def _add_resume(commands: _Group) -> None:
    parser = _command(
        commands,
        "resume",
        "go on with a training that was interrupted or killed, to the same bits",
        "runs/shapes10-keras_cnn",
        "runs/shapes10-keras_cnn --epochs 20",
        chooses=False,
    )
    parser.add_argument("folder", type=path, metavar="RUN", help="the folder of the run, which tells all else")
    parser.add_argument("--epochs", type=positive, metavar="N", help="how many in all, if it is to be another number")
    _add_saving(parser)
    group = parser.add_argument_group("data; only if they lie elsewhere by now")
    group.add_argument("--data-dir", type=path, metavar="DIR", help="where the files of data sets are")
    group.add_argument("--images", type=path, metavar="DIR", help="the own folder of images")


def _add_weights(parser: argparse.ArgumentParser) -> _Group:
    parser.add_argument(
        "weights", type=path, metavar="RUN", help="the folder of a run, or the weights.safetensors in it"
    )
    parser.add_argument("--model", choices=MODELS, metavar="MODEL", help="only if the file does not name its model")
    parser.add_argument("--batch-size", type=positive, default=256, metavar="N")
    group = _add_data(parser)
    _add_own_images(group)
    return group


def _add_evaluate(commands: _Group) -> None:
    parser = _command(
        commands,
        "evaluate",
        "measure a trained network on the test images",
        "runs/shapes10-keras_cnn",
        "runs/images-keras_cnn --images OTHER_DIR",
        "weights.safetensors --dataset cifar10 --limit 1000",
    )
    _add_weights(parser)


def _add_predict(commands: _Group) -> None:
    parser = _command(
        commands,
        "predict",
        "name what images show",
        "runs/shapes10-keras_cnn photo.png other.jpg",
        "runs/shapes10-keras_cnn --index 0 1 2 --top 1",
    )
    _add_weights(parser)
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


def _add_report(commands: _Group) -> None:
    parser = _command(
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
    parser.add_argument("--limit", type=positive, metavar="N", help="look at the first N test images only")
    parser.add_argument("--quick", action="store_true", help="compute nothing: no test images, no times of layers")


def _add_data_command(commands: _Group) -> None:
    parser = _command(
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


def _add_summary(commands: _Group) -> None:
    parser = _command(commands, "summary", "print the layers of a model", "resnet20", computes=False)
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help="see docs/models.md")
    parser.add_argument(
        "--input-shape", type=side, nargs=3, default=(32, 32, 3), metavar=("H", "W", "C"), help="of one image"
    )


def _add_explain(commands: _Group) -> None:
    parser = _command(
        commands,
        "explain",
        "print which kernels and fusions the layers of a model get, and why",
        "resnet20",
        "keras_cnn --batch-size 1 --backend numpy",
    )
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help="see docs/models.md")
    parser.add_argument("--batch-size", type=positive, default=128, metavar="N", help="choices depend on it")


def _add_profile(commands: _Group) -> None:
    parser = _command(
        commands,
        "profile",
        "time the layers of a model in training, with their shares of the roofline",
        "resnet20",
        "keras_cnn --batch-size 32 --trace step.json",
    )
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help="see docs/models.md")
    parser.add_argument("--batch-size", type=positive, default=128, metavar="N", help="times depend on it")
    parser.add_argument("--repeats", type=positive, default=5, metavar="N", help="medians are of so many")
    parser.add_argument("--trace", type=path, metavar="FILE", help="write a Chrome trace of a step, for Perfetto")


def _add_warmup(commands: _Group) -> None:
    text = "compile the kernels that models need and keep them on disk"
    parser = _command(commands, "warmup", text, "", "resnet20 --target sm_90")
    # Not `choices`: argparse would hold the default, a list, against them.
    parser.add_argument("models", nargs="*", type=model, default=list(WARMED), metavar="MODEL")
    parser.add_argument("--batch-size", type=positive, default=128, metavar="N", help="choices depend on it")
    group = parser.add_argument_group("CUDA kernels ahead, on a machine with or without a GPU")
    group.add_argument(
        "--target",
        metavar="NAME",
        help="sm_80, sm_90, ...: compile for these GPUs, for one precision or all",
    )
    group.add_argument("--jobs", type=positive, metavar="N", help="compile N at a time; default one for each CPU")


def _add_gradcheck(commands: _Group) -> None:
    parser = _command(
        commands,
        "gradcheck",
        "compare the gradients of layers with finite differences, in float64",
        "",
        "--backend numpy --seed 1",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the inputs")
