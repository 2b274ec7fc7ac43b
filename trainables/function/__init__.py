"""A training function of one's own as a trainable: `def train(config)` with `ray.tune.report`.

The function runs in a thread of the trial's process and waits in each report until the next step is
asked for, so that early stopping, checkpoints and reused processes are as with a class. How a
function is found by its name is in `trainables`. For example:

    from trainables.function.trainable import as_class

    as_class(train)  # a subclass of ray.tune.Trainable, whose trials call train(config)
"""
