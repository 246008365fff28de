"""What the commands of the parser have in common: how they are added, and options that several take."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Any, NoReturn, get_args

from fastconv._validate import FLOATS
from fastconv.backends.contract.types import AlgorithmChoice, PrecisionChoice
from fastconv.cli.choices import DATASETS, MODELS
from fastconv.cli.words import above_zero, name_or_setting, not_negative, path, place, positive, setting, side
from fastconv.data.images import Fit
from fastconv.training import named

Subparsers = Any  # argparse keeps the type of its subparsers to itself
_ELSEWHERE = {
    "--resume": " ('fastconv resume RUN' goes on with a run)",
    "--device": " (--backend)",
    "--gpu": " (--backend cupy)",
}
"""Options that others have, and what to write here."""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the words."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Read the words; those of a command that it does not know are said by the command itself."""
        options, unknown = super().parse_known_args(args, namespace)
        several = next((each for each in self._get_positional_actions() if each.nargs in ("*", "+")), None)
        if several is not None and unknown and not any(word.startswith("-") for word in unknown):
            # argparse ends them at the first option: predict RUN --top 1 x.png
            given = getattr(options, several.dest)
            try:
                more = [self._get_value(several, word) for word in unknown]
            except argparse.ArgumentError as error:
                self.error(str(error))
            setattr(options, several.dest, [*(given if given is not several.default else ()), *more])
            unknown = []
        elif unknown:
            word = unknown[0].partition("=")[0]
            near = _ELSEWHERE.get(word) or named.meant(word, list(self._option_string_actions))
            self.error(f"arguments: got {' '.join(unknown)}; allowed: those of the command{near}")
        return options, unknown

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and "--" in arg_strings:  # as in --model=--, which argparse may drop
            raise argparse.ArgumentError(action, "got '--'; allowed: a value")
        return super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            words = [str(each) for each in action.choices]
            near = named.meant(value, words)
            raise argparse.ArgumentError(action, f"got {value!r}; allowed: {', '.join(words)}{near}")

    def error(self, message: str) -> NoReturn:
        """Leave with 2."""
        self.exit(2, f"error: {' '.join(message.split())} ('{self.prog} --help' lists what there is)\n")


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Names the defaults that say something, and leaves the lines of examples as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        kind = getattr(action, "kind", None)
        if kind is not None:  # imported when it is asked for
            return (action.help or "").format(", ".join(named.choices(kind)))
        silent = action.default is None or action.default is False
        return action.help if silent else super()._get_help_string(action)


def command(
    commands: Subparsers, name: str, text: str, *examples: str, computes: bool = True, chooses: bool = True
) -> argparse.ArgumentParser:
    """Add a command, with the options for what computes, and for what is free to choose how."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="\n".join(["examples:", *(f"  fastconv {name}{' ' * bool(words)}{words}" for words in examples)]),
        formatter_class=Help,
    )
    parser.set_defaults(run=_lazy(name))
    if computes:
        group = parser.add_argument_group("how to compute")
        group.add_argument(
            "--backend", metavar="NAME", help="numba, numpy, cupy, cuda-emulator or auto; overrides FASTCONV_BACKEND"
        )
        group.add_argument("--threads", type=positive, metavar="N", help="use at most N threads")
    if computes and chooses:
        group.add_argument("--precision", choices=get_args(PrecisionChoice), help="of the kernels")
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


def add_own_images(group: Subparsers) -> None:
    """Add the options for an own folder of images."""
    group.add_argument(
        "--images", type=path, metavar="DIR", help="an own folder of PNG and JPEG files, with a folder for each class"
    )
    group.add_argument("--skip-broken", action="store_true", help="pass over images that cannot be read, and name them")


def add_data(parser: argparse.ArgumentParser) -> Subparsers:
    """Add the options for which images, and return their group."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--dataset",
        choices=DATASETS,
        metavar="NAME",
        help="of 'fastconv data list'; training takes shapes10 by default, which is drawn on the spot",
    )
    group.add_argument(
        "--data-dir", type=path, metavar="DIR", help="where the files of data sets are; else FASTCONV_DATA_DIR"
    )
    group.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="use N images of each part only: the first, and of an own folder each class its share",
    )
    return group


def add_named(group: Subparsers, kind: str, *, several: bool = False) -> None:
    """Add an option for what has a name and settings."""
    action = group.add_argument(
        f"--{kind}",
        type=name_or_setting(kind),
        nargs="+",
        action="append" if several else "store",
        metavar=("NAME", "SETTING=VALUE"),
        help="{}; may be given again" if several else "one of {}",
    )
    action.kind = kind


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add all that a recipe is made from."""
    parser.add_argument(
        "recipe", nargs="?", type=path, metavar="RUN.toml", help="a recipe, as the folder of a run holds one"
    )
    group = add_data(parser)
    add_own_images(group)
    group.add_argument("--image-size", type=side, nargs=2, metavar=("H", "W"), help="of own images; 32 32 by default")
    group.add_argument("--image-fit", choices=get_args(Fit), help="how they get it: cropped (the default) or stretched")
    group.add_argument("--augment", action=argparse.BooleanOptionalAction, help="mirror and shift images at random")
    add_named(group, "augmentation", several=True)
    group = parser.add_argument_group("recipe; what is not given comes from the file, or is usual for the model")
    for kind in ("model", "optimizer", "schedule", "loss"):
        add_named(group, kind)
    for kind in ("metric", "callback"):
        add_named(group, kind, several=True)
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
    group.add_argument("--dtype", choices=[dtype.name for dtype in FLOATS], help="float32 by default")
    group.add_argument(
        "--set", type=place, action="append", metavar="TABLE.SETTING=VALUE", help="anything else of a recipe"
    )
    add_saving(parser)


def add_saving(parser: argparse.ArgumentParser) -> None:
    """Add the option for how often the state is written."""
    parser.add_argument(
        "--save-every-steps",
        type=not_negative,
        metavar="N",
        help="write the state after every N steps, too, and not after epochs only",
    )


def add_weights(parser: argparse.ArgumentParser) -> Subparsers:
    """Add what commands on a run take, and return the group of its data."""
    parser.add_argument(
        "weights", type=path, metavar="RUN", help="the folder of a run, or the weights.safetensors in it"
    )
    parser.add_argument("--model", choices=MODELS, metavar="MODEL", help="only if the file does not name its model")
    parser.add_argument("--batch-size", type=positive, default=256, metavar="N")
    group = add_data(parser)
    add_own_images(group)
    return group
