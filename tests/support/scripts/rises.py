"""A training script whose loss rises."""

import argparse

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    lr = parser.parse_args().lr
    print(f"loss={lr}")
    print(f"loss={lr * 2}")
