"""
Learning rates that change
==========================

Far from the goal long steps are good, near it short ones. A schedule says how long the steps are when; it is a function
of the number of the step, or of the epoch, and shows which.
"""

import textwrap

import matplotlib.pyplot as plt

import fastconv as fc
from fastconv.optim.schedules import Cosine, CosineWarmRestarts, Cyclic, InverseTime, OneCycle, Step

steps = 1000
schedules = {
    "1/t": InverseTime(0.1, 0.01),
    "steps": Step(0.1, milestones=(400, 800), factor=0.1),
    "cosine, warmed up": Cosine(0.1, steps, warmup_steps=100),
    "warm restarts": CosineWarmRestarts(0.1, 250),
    "triangles": Cyclic(0.01, 0.1, 150),
    "one cycle": OneCycle(0.1, steps),
}
figure, ax = plt.subplots(figsize=(8.5, 3.6), layout="constrained")
fc.plot.schedules(schedules, steps, ax=ax).legend(
    loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small"
)

# %%
# Each with its settings, those that nobody gave among them:

for name, schedule in schedules.items():
    print(textwrap.fill(f"{name:18} {schedule}", 100, subsequent_indent=19 * " "))

assert abs(schedules["1/t"](100) - 0.1 / 2) < 1e-12
assert [round(schedules["warm restarts"](step), 6) for step in (0, 250)] == [0.1, 0.1]
assert schedules["warm restarts"](249) < 1e-4
assert [round(schedules["triangles"](step), 6) for step in (0, 150, 300)] == [0.01, 0.1, 0.01]
assert schedules["steps"](399) == 0.1
assert abs(schedules["steps"](400) - 0.01) < 1e-12
assert schedules["one cycle"](0) < schedules["one cycle"](300) > schedules["one cycle"](999)
assert max(schedules["cosine, warmed up"](step) for step in range(steps)) <= 0.1
