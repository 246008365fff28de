"""A digest of everything that is computed: two commits that print the same one compute the same bits.

    python -m benchmarks.digest --out NEW.json                     # what the CPU computes: contract, functions, models
    python -m benchmarks.digest --out FAST.json --stages fast      # in "fast" precision; --imitate-bf16 without the CPU
    python -m benchmarks.digest --out GPU.json --stages emulator   # the CUDA kernels, on the emulator
    python -m benchmarks.digest compare OLD.json NEW.json          # exit status 0 if all of OLD is in NEW

For a change that moves code and must not change results: take it before the first move and after the last one, on the
same machine with the same Numba, for instructions and libraries may round differently. It knows only what is public,
and the cases of the contract, so the same file runs on both commits.

Nets are `every_layer` and `layers_of_few`, which together have what layers there are, the models in `nets.MODELS`, and
for two steps those in `nets.LARGE_MODELS`. AlexNet, VGG and the other ResNets, of the same layers, are left out.

A case of the contract is named by its operation and its own name. Its inputs are drawn from one seed whatever its name,
and are part of the digest, so that `compare` finds a case again that was renamed.
"""

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.digest.comparison import compare
from benchmarks.digest.contract import contract
from benchmarks.digest.functions import functions
from benchmarks.digest.hashing import Digests
from benchmarks.digest.imitation import imitate
from benchmarks.digest.nets import training

_BOTH = ("float32", "float64")
_EXACT = ("strict", "default")
_FEW = {"every_layer": 2, "lenet5": 2}
STAGES: dict[str, Callable[[], Digests]] = {
    "contract-numpy": lambda: contract("numpy", ["default"], [1], _BOTH),
    "contract": lambda: contract("numba", _EXACT, [1, 2], _BOTH),
    "functions": lambda: functions("numpy", ["default"], [1]) | functions("numba", _EXACT, [1, 2]),
    "models": lambda: training("numpy", ["default"], {**_FEW, "mlp": 2}) | training("numba", _EXACT),
    "contract-fast": lambda: contract("numba", ["fast"], [1, 2], ["float32"]),
    "functions-fast": lambda: functions("numba", ["fast"], [1, 2]),
    "models-fast": lambda: training("numba", ["fast"]),
    "contract-emulator": lambda: contract("cuda-emulator", [*_EXACT, "fast"], [1], ["float32"]),
    "models-emulator": lambda: training("cuda-emulator", ["default"], _FEW),
}
GROUPS: dict[str, list[str]] = {"cpu": [], "fast": [], "emulator": []}
for _name in STAGES:
    _ending = _name.rpartition("-")[2]
    GROUPS[_ending if _ending in GROUPS else "cpu"].append(_name)


def write(out: Path, stages: Iterable[str], *, imitated: bool = False) -> None:
    """Take the stages' digests and write them after each, so that a long run that is cut off is not lost."""
    found: Digests = {}
    for stage in dict.fromkeys(name for given in stages for name in GROUPS.get(given, [given])):
        begin = time.perf_counter()
        prefix = f"{stage} (imitated): " if imitated else f"{stage}: "
        made = {prefix + key: value for key, value in STAGES[stage]().items()}
        results = (value.partition(":")[2] for value in made.values())
        errors = Counter(result for result in results if result.endswith("Error"))
        seconds = time.perf_counter() - begin
        print(f"{stage}: {len(made)} digests, {seconds:.0f} s", *map(str, errors.items()), flush=True)
        found |= made
        out.write_text(json.dumps(found, indent=0, sort_keys=True))
    print(f"of all: {hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:32]}")


def show(old: Path, new: Path, limit: int) -> int:
    """Print what became of each name; return the exit status."""
    found = compare(*(json.loads(path.read_text()) for path in (old, new)))
    for kind, names in found.items():
        print(f"{kind}: {len(names)}")
        for name in names[: 0 if kind == "equal" else limit]:
            print(f"    {name}")
    return int(any(found[kind] for kind in ("different", "other inputs", "only old")))


def main(arguments: list[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="benchmarks.digest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if words[:1] == ["compare"]:
        parser.add_argument("old", type=Path)
        parser.add_argument("new", type=Path)
        parser.add_argument("--limit", type=int, default=40, help="names printed of each kind (40)")
        given = parser.parse_args(words[1:])
        return show(given.old, given.new, given.limit)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stages", nargs="+", default=["cpu"], choices=[*GROUPS, *STAGES])
    parser.add_argument("--imitate-bf16", action="store_true", help="compute bfloat16 without its instructions")
    given = parser.parse_args(words)
    if given.imitate_bf16:
        imitate()
    write(given.out, given.stages, imitated=given.imitate_bf16)
    return 0


if __name__ == "__main__":
    sys.exit(main())
