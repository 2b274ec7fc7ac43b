"""Recording of learning curves of the built-in experiment, for searches without training.

Run as `python -m tests.benchmarks.curves`. It trains 13 learning rates at each of 5 batch sizes for
6 epochs, and writes `curves.json`, which `replay` reads. Curves that the file has are kept, so an
interrupted recording goes on; remove the file to record anew.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from trainables.mnist import MnistTrainable

CURVES = Path(__file__).with_name("curves.json")
BATCH_SIZES = (32, 64, 128, 256, 512)
LEARNING_RATES = tuple(float(f"{lr:.6g}") for lr in np.geomspace(0.001, 0.1, 13))
METRICS = ("average_test_loss", "test_accuracy", "train_loss")
EPOCHS = 6
FIXED = {"momentum": 0.5, "seed": 0}

Curve = dict[str, Any]
"""`lr`, `batch_size` and, by metric and for `seconds` (of one core's time), a list over epochs."""


def record(lr: float, batch_size: int) -> Curve:
    """Train one configuration on one thread."""
    digits = MnistTrainable.shared(None, False)
    trainable = tune.with_parameters(MnistTrainable, **digits)
    trial = trainable({**FIXED, "lr": lr, "batch_size": batch_size})
    epochs = [_epoch(trial) for _ in range(EPOCHS)]
    return {
        "lr": lr,
        "batch_size": batch_size,
        **{name: [epoch[name] for epoch in epochs] for name in (*METRICS, "seconds")},
    }


def _epoch(trial: MnistTrainable) -> dict[str, float]:
    start = time.process_time()
    metrics = trial.step()
    seconds = time.process_time() - start
    return {**{name: round(metrics[name], 6) for name in METRICS}, "seconds": round(seconds, 2)}


def _missing(curves: Sequence[Curve]) -> Iterator[tuple[float, int]]:
    done = {(curve["lr"], curve["batch_size"]) for curve in curves}
    grid = ((lr, batch_size) for lr in LEARNING_RATES for batch_size in BATCH_SIZES)
    return (point for point in grid if point not in done)


def _write(curves: list[Curve]) -> None:
    recorded = {
        "epochs": EPOCHS,
        "fixed": FIXED,
        "versions": {"ray": ray.__version__, "torch": torch.__version__},
    }
    curves.sort(key=lambda curve: (curve["batch_size"], curve["lr"]))
    # One curve a line, so that a difference between two recordings can be read.
    lines = ",\n".join(json.dumps(curve) for curve in curves)
    partial = CURVES.with_suffix(".partial")
    partial.write_text(json.dumps(recorded)[:-1] + f', "curves": [\n{lines}\n]}}\n')
    partial.replace(CURVES)


def main() -> None:
    """Record what is missing and write the file after every curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="curves at once (2)")
    processes = parser.parse_args().processes
    curves: list[Curve] = json.loads(CURVES.read_text())["curves"] if CURVES.exists() else []
    # The cores belong to whatever else runs.
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=os.nice, initargs=(19,)
    )
    with pool:
        running = [pool.submit(record, lr, batch_size) for lr, batch_size in _missing(curves)]
        for finished in as_completed(running):
            curve = finished.result()
            curves.append(curve)
            _write(curves)
            print(f"{curve['batch_size']:4} {curve['lr']:.6f} {curve['average_test_loss']}")


if __name__ == "__main__":
    main()
