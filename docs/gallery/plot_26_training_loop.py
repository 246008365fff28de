"""
Your own training loop in twelve lines
======================================

`Trainer` is a convenience. All that it does is made of calls that you can make yourself: there is no tape and no graph,
only forward, backward, and a step of the optimizer.
"""

import matplotlib.pyplot as plt

import fastconv as fc

train = fc.data.DataLoader(fc.data.shapes10("train", size=1000), 50)
model = fc.models.lenet5(seed=0)
loss, optimizer = fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 2e-3)
costs = []
for _ in range(4):
    for x, y in train:
        predictions, context = model.forward(x, training=True)
        cost, gradient = loss(predictions, y)
        optimizer.zero_grad()
        model.backward(gradient, context, needs_input_grad=False)
        optimizer.step()
        costs.append(float(cost))

figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(costs, color=fc.plot.COLOURS[0], linewidth=0.9)
ax.set(xlabel="step", ylabel="cost")

# %%
# `Trainer` gives the same numbers to the bit; that it replays a captured step makes it faster and not different.

again = fc.models.lenet5(seed=0)
trainer = fc.Trainer(again, loss, fc.optim.Adam(again.parameters(), 2e-3))
loader = fc.data.DataLoader(fc.data.shapes10("train", size=1000), 50)
same = [float(trainer.train_step(x, y)) for _ in range(4) for x, y in loader]

assert same == costs
assert costs[-1] < costs[0]
