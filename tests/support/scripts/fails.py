"""A training script that fails in the way that it is asked for."""

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    parser.add_argument("--how", default="file")
    parser.add_argument("--switch", action="store_true")
    how = parser.parse_args().how
    if how == "import":
        importlib.import_module("absent")
    if how == "silent":
        print("nothing to see here")
        sys.exit(0)
    if how == "file":
        Path(os.environ["SM_OUTPUT_DIR"], "failure").write_text("the data\nis of last year")
        sys.exit(3)
    if how == "crash":
        print("calls what crashes", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    raise RuntimeError("no such\nluck")
