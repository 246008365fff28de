"""Sizes of the host's data caches, read once from what Linux says of them, and of a line."""

import re
from pathlib import Path
from typing import NamedTuple

LINE_BYTES = 64  # of a cache
_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}


class Caches(NamedTuple):
    """Bytes of the data caches that one core sees."""

    level1: int = 32 * 1024
    level2: int = 512 * 1024
    level3: int = 16 * 1024**2


def read_caches(directory=Path("/sys/devices/system/cpu/cpu0/cache")):
    """Return the sizes; where the system does not tell one, that of a small common CPU."""
    found = {}
    for index in sorted(directory.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        parts = re.fullmatch(r"(\d+)([KMG]?)", size)
        if kind != "Instruction" and parts and int(parts[1]) > 0:
            found[f"level{level}"] = int(parts[1]) * _UNITS.get(parts[2], 1)
    return Caches(**{name: size for name, size in found.items() if name in Caches._fields})


CACHES = read_caches()
