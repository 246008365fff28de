"""Arguments that the methods of a trainer have elsewhere, and what to write here; errors about them tell it."""

FIT = {
    "callbacks": "Trainer(..., callbacks=...)",
    "verbose": "Trainer(..., callbacks=fc.training.ProgressDisplay())",
    "x": "fit((x, y), epochs)",
    "y": "fit((x, y), epochs)",
    "validation_freq": "Trainer.evaluate, between calls of fit",
    "initial_epoch": "trainer.epoch goes on from call to call",
    "steps_per_epoch": "an iterable of so many batches",
}
TRAIN_STEP = {"reset_metrics": "nothing: it returns the loss of this very step", "return_dict": "float(loss)"}
EVALUATE = {"x": "evaluate((x, y))", "y": "evaluate((x, y))", "verbose": "print what it returns"}
