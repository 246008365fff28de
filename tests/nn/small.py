"""A small model with every kind of container, and the gradients of its parameters."""

import numpy as np

import fastconv as fc
from fastconv import nn


def small(dtype=np.float32, seed=0):
    return nn.Sequential(
        *(nn.Conv2d(5, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU()),
        nn.Residual(nn.Sequential(nn.Conv2d(7, 3, padding=1, stride=2), nn.Tanh()), nn.SubsamplePad(7, stride=2)),
        nn.Parallel(nn.Conv2d(3, 1), nn.MaxPool2d(3, stride=1, padding=1), mode="concatenate"),
        *(nn.GlobalAvgPool2d(), nn.Dense(4)),
    ).build((6, 6, 3), dtype, seed)


def grads_of(model, x, grad=None):
    y, context = model.forward(x, training=True)
    model.zero_grad()
    model.backward(fc.asarray(np.ones(y.shape, y.dtype)) if grad is None else grad, context)
    return [fc.to_numpy(p.grad).copy() for p in model.parameters()]
