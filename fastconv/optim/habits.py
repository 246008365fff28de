"""Names that optimizers, and their arguments, have elsewhere, and what to write here; errors about them tell it."""

HABITS = {
    "learning_rate": "optimizer.lr",
    "param_groups": "optimizer.groups",
    "betas": "optimizer.beta1, optimizer.beta2",
    "weights": "optimizer.state_dict()",
}

ARGUMENT_HABITS = {
    "beta": "beta1, beta2",
    "betas": "beta1, beta2",
    "beta_1": "beta1",
    "beta_2": "beta2",
    "learning_rate": "lr",
    "epsilon": "eps",
    "params": "parameters",
    "wd": "weight_decay",
    "rho": "alpha",
}

ABSENT = {
    "clipnorm": "fc.Trainer(..., clip=fc.training.ClipNorm(limit))",
    "global_clipnorm": "fc.Trainer(..., clip=fc.training.ClipGlobalNorm(limit))",
    "clipvalue": "fc.Trainer(..., clip=fc.training.ClipValue(limit))",
    **dict.fromkeys(("use_ema", "ema_momentum"), "fc.optim.EMA(optimizer, decay=...)"),
    "gradient_accumulation_steps": "fc.Trainer(..., accumulate=n), which cuts each batch into n pieces",
    **dict.fromkeys(("foreach", "fused", "capturable"), "nothing: the parameters are updated in one pass"),
}
