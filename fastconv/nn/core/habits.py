"""Names that models, and arguments of layers, have elsewhere, and what to write here; errors about them tell it."""

from fastconv.nn.core.parameter import FREEZING

_TRAINER = "fc.Trainer(model, loss, optimizer)"
_LAYERS = "give all layers at once: nn.Sequential(a, b, c) or nn.Sequential([a, b, c])"

HABITS = {
    "frozen": FREEZING,
    "is_frozen": FREEZING,
    "trainable": FREEZING,
    "requires_grad": FREEZING,
    "requires_grad_": FREEZING,
    "add": _LAYERS,
    "append": _LAYERS,
    "extend": _LAYERS,
    "pop": _LAYERS,
    "fit": f"{_TRAINER}.fit(train, epochs)",
    "evaluate": f"{_TRAINER}.evaluate(data)",
    "train_on_batch": f"{_TRAINER}.train_step(x, y)",
    "train": "model.forward(x, training=True)",
    "eval": "model(x) and model.predict(x) are not in training",
    "training": "model.forward(x, training=True), and model(x), which is not in training",
    "state_dict": "model.save_weights(path), or copy.deepcopy(model)",
    "load_state_dict": "model.load_weights(path)",
    "get_weights": "[p.data for p in model.tensors()]",
    "set_weights": "p.data = values, for each p of model.tensors()",
    "weights": "model.parameters()",
    "trainable_weights": "model.parameters()",
    "trainable_variables": "model.parameters()",
    "named_modules": "model.walk()",
    "count_params": "model.summary()",
    "named_parameters": "p.name, for each p of model.parameters()",
    "save": "model.save_weights(path)",
    "load": "model.load_weights(path)",
    "modules": "model.walk()",
    "explain": "fc.explain(model, input_shape)",
    "profile": "fc.training.diagnostics.profile_layers(model, x)",
    "cuda": 'model.to("cupy")',
    "cpu": 'model.to("numba")',
    "device": "model.backend",
    "half": 'with fc.precision("fast")',
    "float": "model.build(input_shape, dtype=np.float32)",
    "double": "model.build(input_shape, dtype=np.float64)",
}

ARGUMENT_HABITS = {
    "filters": "out_channels",
    "units": "out_features",
    "strides": "stride",
    "dilation_rate": "dilation",
    "depth_multiplier": "multiplier",
    "use_bias": "bias",
    "kernel_initializer": "init",
    "pool_size": "kernel_size",
    "rate": "p",
    "epsilon": "eps",
    "negative_slope": "slope",
}

_PENALTY = (
    "penalties are the optimizer's, for all or by groups of parameters: SGD(..., weight_decay=2 * b, l1=a) has that of"
    " L1L2(l1=a, l2=b)"
)
INFERRED = "how many channels come in is not said: build(input_shape) infers it"
_BUILD = "model.build(input_shape, dtype), on the active backend"
ABSENT = {
    **dict.fromkeys(("kernel_regularizer", "bias_regularizer", "activity_regularizer"), _PENALTY),
    **dict.fromkeys(("num_features", "num_channels", "num_parameters", "normalized_shape"), INFERRED),
    **dict.fromkeys(("input_shape", "input_dim", "batch_input_shape", "device", "dtype"), _BUILD),
    "activation": "a layer of its own after it, such as nn.ReLU()",
    "inplace": "nothing: memory is used again wherever it can be",
    "data_format": "nothing: images are (N, H, W, C)",
    **dict.fromkeys(("dim", "axis"), "nothing: channels are the last axis"),
    "padding_mode": "nothing: what is around is zeros",
}

METHOD_HABITS = {  # of a model's methods
    **dict.fromkeys(("optimizer", "loss", "metrics"), "fc.Trainer(model, loss, optimizer, metrics=...)"),
    "training": "model.forward(x, training=True)",
    "verbose": "nothing: it shows nothing",
    "input_dim": "build((features,))",
    "batch_input_shape": "build(input_shape) of one image; any batch goes",
    "dtype": "build(input_shape, dtype), which decides it",
    "device": 'to(backend), such as to("cupy")',
    **dict.fromkeys(
        ("strict", "by_name", "skip_mismatch"), "nothing: names and shapes must fit; see fc.models.fine_tune"
    ),
    "overwrite": "nothing: a file of that name is replaced",
    "save_format": "nothing: it is safetensors",
    "weights_only": "nothing: the file holds arrays and no code",
    "map_location": "nothing: they go where the model is; see to(backend)",
    "input_size": "summary(input_shape), of one image",
}
