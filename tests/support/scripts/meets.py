"""Hosts that meet where they are told to; what one of them does then is an argument.

The first listens, reports a loss once all have come, and waits for the others' end. A host that
sees another gone fails, as it does in PyTorch, and like that it takes its time.
"""

import argparse
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

hosts, host = json.loads(os.environ["SM_HOSTS"]), os.environ["SM_CURRENT_HOST"]
where = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
base = Path(os.environ["SAGEMAKER_BASE_DIR"])
met = base / "checkpoints/met"


def ends(how: str | None) -> None:
    if how == "dies" or (how == "dies once" and not met.exists()):
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "fails":
        (base / "output/failure").write_text("the data is of last year")
        sys.exit(3)


def fails_as_well(why: str) -> None:
    time.sleep(0.5)
    sys.exit(why)


def connected() -> socket.socket:
    while True:
        try:
            return socket.create_connection(where)
        except ConnectionRefusedError:
            time.sleep(0.01)  # the first host is not there yet


parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
for name in hosts:
    parser.add_argument(f"--{name}")
args = vars(parser.parse_args())
how = args[host.replace("-", "_")]

(base / "output/data/pid").write_text(str(os.getpid()))
print(f"met before: {met.exists()}")
Path(os.environ["SM_MODEL_DIR"], host).touch()
if host == hosts[0]:
    with socket.create_server(where) as server:
        others = [server.accept()[0] for _ in hosts[1:]]
    came = [other.recv(99).decode() for other in others]
    print(f"{where[0]}: {', '.join(sorted(came))} came; loss=0.5", flush=True)
    ends(how)
    met.touch()
    for other in others:
        other.sendall(b"go")
    if not all(other.recv(99) == b"done" for other in others):
        fails_as_well("somebody is gone")
    sys.exit()
with connected() as first:
    first.sendall(host.encode())
    if first.recv(99) != b"go":
        fails_as_well("the first is gone")
    ends(how)
    print("loss=0.25")
    first.sendall(b"done")
