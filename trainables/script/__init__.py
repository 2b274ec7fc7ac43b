"""A SageMaker training script as a trial: it is run, and its metrics are read from its output.

A script finds the folders, files, variables and arguments of a SageMaker container, by itself or on
several hosts. The table `[script]` of an experiment is in `app.experiment`, and the stubs of
SageMaker's modules are in `serve.handlers.stubs`. A line of output gives its metric like this:

    from trainables.script.metric_parser import Definition

    Definition("loss", "loss: ([0-9.]+)").find("epoch 1, loss: 0.25")  # Found(value=0.25, ...)
"""
