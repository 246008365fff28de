"""Winograd's convolutions: 3x3 and 5x5 kernels with stride 1, in a quarter of the multiplications and less.

A tile of 4x4 outputs of a 3x3 kernel, F(4x4, 3x3), comes from a patch of 6x6 inputs, 2x2 outputs of a 5x5 kernel,
F(2x2, 5x5), from one of 6x6 too, and 4x8 outputs of a 3x3 kernel, F(4x8, 3x3), from one of 6x10. A patch d and a kernel
g are transformed to as many points as the patch has elements; there the convolution is one product for each point:

    Y = A^T [ sum over input channels of (G g G^T) * (B^T d B) ] A

A *plane* is one point of many tiles, and its sum over channels a matrix product: tiles by input channels by output
channels. A *block* is as many tiles as have their planes in the L2 cache, a task of a kernel:

    weights = G g G^T                                       prepare.py, once for a weight
        [group][plane][input channel][vector of the group]  a group is 2 vectors of output channels (narrow: 1)
    for each block of tiles:                                blocks.py; 4x8 outputs, plane by plane: wide.py
        fill: for each tile, for each vector of channels    walk.py, transforms.py, wide_transforms.py
            values[plane][tile][input channel] = B^T d B    and rounded to 16 bits: fixed_point.py
        for each group of output channels:
            multiply: for each plane                        register tiles of ROWS tiles by the group's vectors
                products[plane][tile][vector] = values[plane] @ weights[group][plane]
            untransform: for each tile, for each vector
                y = A^T products A
                epilogue: y goes on in registers            output.py: bias, addend, activation, statistics
                                                            pool.py: activation and 2x2 max pooling
                                                            mask.py: gradients of an activation and the bias before it
                                                            norm.py: gradient of an activated normalisation, its sums

While it multiplies, a block asks for what the next one reads (prefetch.py). Where the weight outgrows the L3 cache, or
there are few tiles and more than one group, the planes of all tiles come first, in a launch of their own, and a task is
a part of the groups over many tiles, so that the weight is read once ("shared", convolve.py). The gradient of the input
is the same sum with the kernel rotated and channels exchanged; after a max pooling it reads windows (unpool.py). The
gradient of the weight sums over tiles instead of channels: weight_gradient/. Sizes of all are in plan.py; results that
leave the range of float32 on the way are computed again by the direct kernel (overflow.py).
"""
