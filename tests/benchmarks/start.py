"""Time that the commands take to start, and the endpoint to its first reply.

Run as `python -m tests.benchmarks.start [MODEL] [--repeats N]`; without a model the endpoint is
left out.
"""

import argparse
import http.client
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.meter import conditions, spread, table

COMMANDS = {
    "app.tune --help": ["app.tune", "--help"],
    "app.runs --help": ["app.runs", "--help"],
    "app.runs list": ["app.runs", "list"],
    "serve --help": ["serve", "--help"],
}


def main() -> None:
    """Measure each several times, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    times = {
        name: [seconds(words) for _ in range(arguments.repeats)] for name, words in COMMANDS.items()
    }
    bare = [seconds(["this"]) for _ in range(arguments.repeats)]
    times = {"python by itself": bare, **times}
    rows = [{"command": name, "s": spread(values)} for name, values in times.items()]
    if arguments.model:
        ready = [until_ready(arguments.model) for _ in range(arguments.repeats)]
        rows.append({"command": "serve to its first answer", "s": spread([s for s, _ in ready])})
        memory = statistics.median([megabytes for _, megabytes in ready])
        print(f"memory of the serving process when ready: {memory:.0f} MB")
    print(conditions("fastapi", "uvicorn", "onnxruntime"))
    print(table(rows))


def seconds(words: list[str]) -> float:
    """How long a command takes from its start to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def until_ready(model: Path) -> tuple[float, float]:
    """Seconds from the start of the endpoint to its first 200, and its megabytes then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.perf_counter()
    command = [sys.executable, "-m", "serve", str(model), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not answers(port):
            time.sleep(0.005)
        took = time.perf_counter() - began
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        rss = next(line for line in status if line.startswith("VmRSS:"))
        return took, int(rss.split()[1]) / 1024
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    """Whether /ping is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
