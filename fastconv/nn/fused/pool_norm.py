"""A convolution with a max pooling and then a normalisation after it: `ConvPoolNorm`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastconv.backends.contract.types import Array
from fastconv.nn.core.layer import AbstractLayer, Context, FrozenForward
from fastconv.nn.fused.convolution import ConvNorm
from fastconv.nn.fused.endings import Gradient, NormEnding, Wanted
from fastconv.nn.fused.pooled import Pooled
from fastconv.nn.fused.tail import Tail
from fastconv.nn.layers.pooling import MaxPool2d


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvPoolNorm(ConvNorm):
    """Convolution, max pooling and the statistics of what is pooled in one pass; all that follows in one pass more.

    What is kept is the pooled map. Backward the normalisation's two passes are over that, too, and the pooling's
    gradient is spread in those of the convolution: no array of the convolution's size is needed.
    """

    takes_activations = True  # the operation back through a pooling does
    pool: MaxPool2d

    @cached_property
    def layers(self) -> tuple[AbstractLayer, ...]:
        """The convolution, the pooling, the normalisation, and what follows it."""
        return (self.conv, self.pool, self.norm, *self.tail.layers)

    @property
    def forward_operations(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        first, last = super().forward_operations
        return (Tail(pool=self.pool).after(first), last)

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        own = () if self.norm.is_frozen else (self._norm_backward,)
        return (*own, *Pooled.operations(self))

    @property
    def stored(self) -> tuple[str, ...]:
        """See `FusedStep`; what is pooled is not."""
        return ("output",) if self.after.stored and not self.norm.is_frozen else ()

    def ending(self, context: Context) -> NormEnding | None:
        """Return the normalisation with what it had in this step."""
        return super().ending(self.pool.check_context(context, 2)[0])

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run them; the context is that of `ConvNorm` for the pooled map, and what the pooling leaves."""
        conv, norm, pool = self.conv, self.norm, self.pool
        x = conv.checked_input(x, stored=self.before.stored)
        shape = conv.output_shape(x.shape)
        z, argmax, windows = pool.prepare(shape, conv.dtype)
        epilogue = Tail(pool=pool).epilogue(shape)
        if not training or norm.is_frozen:
            conv.convolve(x, epilogue, out=z, argmax=argmax)
            mean, var = norm.running_mean.array, norm.running_var.array
        else:
            mean, var = self.batch_statistics(x, epilogue, out=z, argmax=argmax)
        y, kept = self.normalise(z, mean, var, training=training)
        return y, (((x, z, mean, var, kept), Pooled(windows, argmax, shape)) if training else None)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Gradient:
        """Run them backward."""
        normalised, pooled = self.pool.check_context(context, 2)
        grad, _ = self.normalise_backward(grad_output, normalised, wanted)
        gradient: Gradient = pooled.convolution_backward(self.conv, grad, normalised[0], wanted)
        return gradient

    def frozen(self) -> FrozenForward:
        """Return what computes them with running statistics: the second pass is over the pooled map alone.

        A normalisation folded into the convolution would turn those of its channels round that it scales by less than
        zero, and the largest would be the smallest.
        """
        return lambda x: self.forward(x, training=False)[0]
