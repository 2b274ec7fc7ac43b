"""A training script that keeps its epoch in the checkpoints folder, and is killed in the middle."""

import argparse
import os
import signal
from pathlib import Path

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    args = parser.parse_args()
    state = Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints/epoch")
    done = int(state.read_text()) if state.exists() else 0
    print(f"goes on after epoch {done}")
    for epoch in range(done + 1, args.epochs + 1):
        if epoch == 3 and done == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        print(f"loss={args.lr / epoch}")
        state.write_text(str(epoch))
    Path(os.environ["SM_MODEL_DIR"], "epoch").write_text(str(args.epochs))
