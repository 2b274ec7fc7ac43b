"""Trials that several workers train together, each in a process of its own.

The first worker is the trial's own process; it starts the others in its placement group and calls
them by handles. Hosts of a script are in `trainables.script`, and how many workers a trial has is
decided in `app`. A trainable shares its batches out like this:

    from trainables.data_parallel.process_group import process_group

    workers = process_group()
    loss = functional.nll_loss(net(workers.shard(images)), workers.shard(labels), reduction="sum")
    (loss / len(images)).backward()
    workers.all_reduce_gradients(net.parameters())
"""
