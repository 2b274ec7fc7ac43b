"""A training script in a second: flags and log lines as many have them, and no library at all.

The loss is (lr - 0.02)^2 plus a part that every epoch halves.
"""

import argparse
import json
import os
from pathlib import Path


def train(arguments: argparse.Namespace) -> None:
    for epoch in range(1, arguments.epochs + 1):
        print(f"Train Epoch: {epoch} [64/128 (50%)]\tLoss: {1 / epoch:.6f}")
        loss = (arguments.lr - 0.02) ** 2 + 0.5**epoch
        print(f"Test set: Average loss: {loss:.4f}, Accuracy: {100 - epoch}/100 ({100 - epoch}%)\n")
    state = {"lr": arguments.lr, "batch_size": arguments.batch_size}
    Path(arguments.model_dir, "state.json").write_text(json.dumps(state))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
    train(parser.parse_args())
