"""Exports of small networks such as users write, compared with what is right for each.

Run as `python -m tests.benchmarks.networks`. It prints the outcome of each network and how many
are right; the exit status is 1 if one is wrong. It starts no Ray.
"""

import logging
import sys
import tempfile
from pathlib import Path

from tests.support.networks import CASES, Wrong, outcome


def main() -> None:
    """Print a line for each case, and the count; status 1 where one comes out wrong."""
    logging.disable(logging.WARNING)
    right = 0
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                came = outcome(case, Path(folder))
                right += 1
            except Wrong as wrong:
                came = f"WRONG ({case.right}): {wrong}"
        print(f"{name}: {came}", flush=True)
    print(f"{right} of {len(CASES)} networks come out as is right for them")
    sys.exit(right < len(CASES))


if __name__ == "__main__":
    main()
