"""A training script whose loss becomes too small for plain digits, or not a number."""

import argparse

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    lr = parser.parse_args().lr
    print(f"Average loss: {lr}, done")
    print(f"Average loss: {lr / 1000 if lr < 0.5 else float('nan')}, done")
