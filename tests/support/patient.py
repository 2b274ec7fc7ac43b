"""Program that waits for Ctrl-C and says so: `python -m tests.support.patient`."""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write("waiting\n")
        signal.pause()
    except KeyboardInterrupt:
        sys.stderr.write("saved\n")
        sys.exit(130)
