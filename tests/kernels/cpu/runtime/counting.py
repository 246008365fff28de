"""Kernels that count the tasks that they do."""

import numpy as np

from fastconv.kernels.cpu.runtime.launch import kernel


@kernel
def count_tasks(begin, end, scratch, counts):
    for task in range(begin, end):
        scratch[0] += 1
        counts[task] += 1


@kernel
def wait_and_count(begin, end, steps, counts):
    for task in range(begin, end):
        total = 0.0
        for i in range(steps):
            total += np.sqrt(float(i + task))
        counts[task] += 1 + 0 * total


@kernel
def add_one(begin, end, counts):
    for task in range(begin, end):
        counts[task] += 1
