"""Trials of several workers: a function that uses `ray.train`, run by Ray Train's `TorchTrainer`.

The trial's own process, which takes no CPU, starts the trainer and hands its reports on; workers
are Ray Train's, in a placement group of their own. How many fit, and what becomes of a group whose
trial is lost, is in `app.cluster`; hosts of a script are in `trainables.script`. For example:

    def train(config):
        net = ray.train.torch.prepare_model(Net())
        ...
        ray.train.report({"loss": loss}, checkpoint=ray.train.Checkpoint.from_directory(folder))
"""
