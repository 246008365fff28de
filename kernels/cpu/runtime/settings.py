"""What environment variables decide of the kernels: checked before anything is compiled, one error for each mistake.

This module imports no Numba, so that who imports kernels can tell its error from others.
"""

import os
import re

MOST_THREADS = 1024


class SettingError(ValueError):
    """An environment variable has a value that is not allowed, or that the kernels cannot do with."""


def _refuse(name, value, allowed):
    raise SettingError(f"{name}: got {value!r}; allowed: {allowed}")


def threads_asked_for():
    """Return FASTCONV_NUM_THREADS; None where it is not set."""
    text = os.environ.get("FASTCONV_NUM_THREADS")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        _refuse("FASTCONV_NUM_THREADS", text, f"a whole number from 1 to {MOST_THREADS}")
    return int(text)


def default_num_threads():
    """Return FASTCONV_NUM_THREADS, else the number of cores that this process may use."""
    asked_for = threads_asked_for()
    if asked_for is not None:
        return asked_for
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:  # a container's share of the machine (cgroup v2)
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


def bounds_checked():
    """Tell whether kernels are compiled with a check of each index: FASTCONV_BOUNDSCHECK."""
    value = os.environ.get("FASTCONV_BOUNDSCHECK") or "0"
    if value not in ("0", "1"):
        _refuse("FASTCONV_BOUNDSCHECK", value, "0 or 1")
    return value == "1"


def check_numba(config):
    """Refuse settings of Numba with which no kernel can be compiled; `config` is ``numba.config``."""
    if config.DISABLE_JIT:
        allowed = "0, or not set, for kernels exist compiled only; FASTCONV_BACKEND=numpy needs no compiler"
        _refuse("NUMBA_DISABLE_JIT", config.DISABLE_JIT, allowed)
    features = config.CPU_FEATURES or ""  # LLVM ends the process over one that it cannot read
    if features and not re.fullmatch(r"[+-][^,]+(,[+-][^,]+)*", features):
        _refuse("NUMBA_CPU_FEATURES", features, "names with + or - before each, commas between: +avx2,-avx512f")
    if bounds_checked() and config.BOUNDSCHECK == 0:
        _refuse("NUMBA_BOUNDSCHECK", 0, "1, or not set, where FASTCONV_BOUNDSCHECK is 1: it decides over that")
