"""What a max pooling after a convolution leaves, and backward through both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastconv.backends.contract.types import Array, PoolWindows, Shape
from fastconv.nn.fused.endings import Gradient, NormEnding, Wanted, convolution_backward
from fastconv.nn.fused.steps import FusedStep
from fastconv.nn.layers.conv import Conv2d

_BACKWARD = "conv2d_max_pool2d_backward"


@dataclass(frozen=True, eq=False)
class Pooled:
    """What is needed to go back; `shape` is that of the convolution's result."""

    windows: PoolWindows
    argmax: Array
    shape: Shape

    def backward(self, conv: Conv2d, grad_output: Array) -> Array:
        """Return the gradient of the convolution's result."""
        grad = conv.backend.empty(self.shape, grad_output.dtype)
        conv.backend.max_pool2d_backward(grad_output, self.argmax, windows=self.windows, out=grad)
        return grad

    def convolution_backward(self, conv: Conv2d, grad_output: Array, x: Array, wanted: Wanted) -> Gradient:
        """Gradients of weight and input from that of what is pooled, without that of the convolution's result.

        There is no operation for that which also adds the gradient of a shortcut, or leaves out the weight's.
        """
        ending = wanted.ending
        if wanted.addend is not None or conv.weight.is_frozen:
            return convolution_backward(conv, self.backward(conv, grad_output), x, wanted)
        pooled: Any = {"argmax": self.argmax, "windows": self.windows}
        if isinstance(ending, NormEnding):
            conv.backward_max_pool(grad_output, x, **pooled, needs_input_grad=False)
            return ending.input_gradient(conv, grad_output, x, None, **pooled)
        through = {} if ending is None else ending.through
        return conv.backward_max_pool(grad_output, x, **pooled, needs_input_grad=wanted.input_grad, **through), None

    @staticmethod
    def operations(step: FusedStep) -> tuple[str, ...]:
        """Return those that `convolution_backward` calls in a step, where the gradient of its input is wanted."""
        conv, taken = step.convolution, step.taken
        if step.meets_shortcut or conv is None or conv.weight.is_frozen:
            return taken
        if step.before.takes is NormEnding:
            return (_BACKWARD, *(f"{operation} + max_pool2d" for operation in taken))
        return (" + ".join((_BACKWARD, *(operation.partition(" + ")[2] for operation in taken))),)
