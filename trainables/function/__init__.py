"""A training function of one's own as a trainable: `def train(config)` with `ray.tune.report`.

Ray's `wrap_function` runs it in a thread of the trial's process, where it waits in each report
until the next step is asked for; here a step, a checkpoint and a reset become those of a class, and
so do the names beside the function by which its model is exported. How a function is found by its
name is in `trainables`. For example:

    from trainables.function.trainable import as_class

    as_class(train)  # a subclass of ray.tune.Trainable, whose trials call train(config)
"""
