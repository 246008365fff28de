"""Numba kernels.

TABLE names the kernels that carry out each operation of the contract; the backend, the tests, the benchmarks and
kernels/README.md use the same names.
"""

_WINOGRAD = (
    "winograd.conv2d_winograd",
    "winograd.conv2d_winograd_narrow",
    "winograd.winograd_transform_input",
    "winograd.conv2d_winograd_shared",
    "winograd.conv2d_winograd_wide",
    "winograd.conv2d_winograd_5x5",
    "winograd.conv2d_winograd_5x5_narrow",
    "winograd.conv2d_winograd_5x5_shared",
)
_BF16 = ("conv2d_bf16.conv2d_bf16_tiles", "conv2d_bf16.conv2d_bf16_dot")
_PACK_BF16 = ("pack_bf16.pack_bf16", "pack_bf16.pack_bf16_turned")
_WEIGHT_BF16 = (
    "conv2d_weight_bf16.conv2d_backward_weight_bf16_tiles",
    "conv2d_weight_bf16.conv2d_backward_weight_bf16_dot",
)
_DENSE_CONVOLUTION = ("conv2d_direct.conv2d_direct", *_WINOGRAD, *_BF16)
_DEPTHWISE = ("conv2d_depthwise.conv2d_depthwise", "conv2d_depthwise.conv2d_depthwise_3x3")
_CONVOLUTION = (*_DENSE_CONVOLUTION, *_DEPTHWISE)
_FINITE = ("finite.times_zero", "finite.refuse_not_finite")
_CONVERT = "stored.convert_stored"  # where a kernel does not load or store bfloat16 itself
_FEW = tuple(f"conv2d_few.conv2d_few_{channels}" for channels in range(1, 5))
_POOL = (
    "winograd_pool.conv2d_winograd_pool",
    "winograd_pool.conv2d_winograd_pool_narrow",
    "winograd_pool.conv2d_winograd_pool_wide",
)
_MASKED = (
    "winograd_mask.conv2d_winograd_masked",
    "winograd_mask.conv2d_winograd_masked_narrow",
    "winograd_mask.conv2d_winograd_masked_wide",
)
_UNPOOL = (
    "winograd_unpool.conv2d_winograd_unpool",
    "winograd_unpool.conv2d_winograd_unpool_narrow",
    "winograd_unpool.conv2d_backward_weight_winograd_unpool",
    "winograd_unpool.conv2d_backward_weight_winograd_unpool_32",
    "winograd_unpool.conv2d_backward_weight_winograd_unpool_16",
    "winograd_weight.transform_sums",
    "sums.add_parts",
)
_NORM = (
    "winograd_norm.conv2d_winograd_norm",
    "winograd_norm.conv2d_winograd_norm_narrow",
    "winograd_norm.conv2d_winograd_norm_wide",
)
_STATISTICS = ("batch_norm.batch_norm_statistics", "batch_norm.combine_statistics")
_NORM_SUMS = ("batch_norm_gradient.batch_norm_gradient_sums", "batch_norm_gradient.combine_gradients")
_NORM_APPLY = ("batch_norm_gradient.gradient_constants", "batch_norm_gradient.batch_norm_gradient_apply")
_NORM_GRADIENT = (*_NORM_SUMS, *_NORM_APPLY)

TABLE = {
    "prepare_conv2d_weight": (
        "pack.pack_weight",
        "winograd_prepare.transform_weight",
        "winograd_prepare.transform_weight_wide",
        "winograd_prepare.transform_weight_5x5",
        *_PACK_BF16,
        *_FINITE,
    ),
    "conv2d": (*_CONVOLUTION, _CONVERT),
    "conv2d_backward_input": (*_CONVOLUTION, *_FEW, _CONVERT),
    "conv2d_backward_weight": (
        "conv2d_weight.conv2d_backward_weight_direct",
        "sums.sum_parts",
        "winograd_weight.conv2d_backward_weight_winograd",
        "winograd_weight.conv2d_backward_weight_winograd_32",
        "winograd_weight.conv2d_backward_weight_winograd_16",
        "winograd_weight.conv2d_backward_weight_winograd_5x5",
        "winograd_weight.conv2d_backward_weight_winograd_5x5_32",
        "winograd_weight.conv2d_backward_weight_winograd_5x5_16",
        "winograd_weight.transform_sums",
        "winograd_weight.transform_sums_5x5",
        *_WEIGHT_BF16,
        "conv2d_depthwise.conv2d_depthwise_backward_weight",
        *_FINITE,
        _CONVERT,
    ),
    "conv2d_backward_bias": ("reduce.sum_rows", "sums.add_parts"),
    "prepare_dense_weight": ("pack.pack_weight", *_PACK_BF16),
    "dense": ("conv2d_direct.conv2d_direct", *_BF16),
    "dense_backward_input": ("conv2d_direct.conv2d_direct", *_BF16),
    "dense_backward_weight": (
        "conv2d_weight.conv2d_backward_weight_direct",
        *_WEIGHT_BF16,
        "sums.sum_parts",
    ),
    "max_pool2d": ("max_pool.max_pool2d_rows",),
    "max_pool2d_backward": ("max_pool.max_pool2d_backward_rows", "max_pool.max_pool2d_backward_squares"),
    "avg_pool2d": ("avg_pool.avg_pool2d_rows",),
    "avg_pool2d_backward": ("avg_pool.avg_pool2d_backward_rows", "avg_pool.avg_pool2d_backward_squares"),
    "batch_norm": (*_STATISTICS, "normalise.normalise"),
    "batch_norm_backward": _NORM_GRADIENT,
    "batch_norm_inference": ("normalise.normalise",),
    "update_running_stats": ("batch_norm.move_running_stats",),
    "relu": ("activation.relu_forward",),
    "relu_backward": ("activation.relu_gradient",),
    "leaky_relu": ("activation.leaky_relu_forward",),
    "leaky_relu_backward": ("activation.leaky_relu_gradient",),
    "elu": ("activation.elu_forward",),
    "elu_backward": ("activation.elu_gradient",),
    "gelu": ("activation.gelu_forward",),
    "gelu_backward": ("activation.gelu_gradient",),
    "silu": ("activation.silu_forward",),
    "silu_backward": ("activation.silu_gradient",),
    "sigmoid": ("activation.sigmoid_forward",),
    "sigmoid_backward": ("activation.sigmoid_gradient",),
    "tanh": ("activation.tanh_forward",),
    "tanh_backward": ("activation.tanh_gradient",),
    "add": ("elementwise.add_arrays",),
    "scale": ("elementwise.scale_array",),
    "copy": ("elementwise.copy_array",),
    "fill": ("elementwise.fill_array",),
    "concatenate": ("move.copy_channels",),
    "split": ("move.copy_channels",),
    "subsample_pad": ("move.subsample",),
    "subsample_pad_backward": ("move.spread",),
    "softmax_cross_entropy": ("softmax.softmax_cross_entropy_rows", "softmax.sum_losses"),
    "count_correct": ("softmax.count_correct_rows",),
    "dropout": ("dropout.dropout_elements",),
    "augment": ("augment.augment_images",),
    "sgd_step": ("optimizer.sgd_update",),
    "adam_step": ("optimizer.adam_update",),
    "conv2d_relu": (*_DENSE_CONVOLUTION, _CONVERT),
    "conv2d_add_relu": _DENSE_CONVOLUTION,
    "conv2d_statistics": (*_CONVOLUTION, "conv2d_statistics.combine_partial_statistics", *_STATISTICS, _CONVERT),
    "conv2d_backward_input_add": (*_DENSE_CONVOLUTION, *_FEW, _CONVERT),
    "conv2d_relu_max_pool2d": _POOL,
    "conv2d_backward_input_relu": (*_MASKED, "sums.add_parts", _CONVERT),
    "conv2d_max_pool2d_backward": _UNPOOL,
    "conv2d_backward_input_norm_relu": (*_CONVOLUTION, *_FEW, *_NORM, *_NORM_SUMS, _CONVERT),
    "batch_norm_backward_apply": _NORM_APPLY,
    "normalise_relu": ("normalise.normalise",),
    "normalise_add_relu": ("normalise.normalise",),
    "normalise_relu_max_pool2d": ("normalise.normalise_max_pool2d", _CONVERT),
    "relu_backward_bias": ("reduce.relu_gradient_bias", "sums.add_parts"),
    "batch_norm_relu_backward": _NORM_GRADIENT,
    "batch_norm_add_relu_backward": _NORM_GRADIENT,
    "batch_norm_relu_max_pool2d_backward": (
        "batch_norm_gradient.batch_norm_pool_gradient_sums",
        "batch_norm_gradient.combine_gradients",
        "batch_norm_gradient.gradient_constants",
        "batch_norm_gradient.batch_norm_pool_gradient_apply",
        _CONVERT,
    ),
}
"""Operation -> kernels, as module.function of this package."""
