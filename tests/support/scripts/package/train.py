"""Run by its name: what is beside it can be imported."""

import sys

import losses  # type: ignore[import-not-found]

if __name__ == "__main__":
    assert __spec__.name == "train"
    print(f"loss={losses.loss(float(sys.argv[2]))}")
