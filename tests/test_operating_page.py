"""docs/operating.md: the packages that its image installs are all that a server needs."""

import importlib.metadata
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from serve.http.metrics import Metrics
from tests.support import ROOT
from tests.support.tiny_model import TinyModel

PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
ONLY = """
import importlib.metadata, runpy, sys
missing = set(sys.argv.pop(1).split(","))

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Without())
runpy.run_module("serve", run_name="__main__", alter_sys=True)
"""
"""Runs `python -m serve` without modules of some names."""


def installed_packages() -> list[str]:
    """Packages that the image names."""
    (command,) = re.findall(r"RUN pip install .*constraints\.txt ((?:.|\\\n)*?)\n(?! )", PAGE)
    return re.findall(r"[\w-]+", command)


def with_requirements(names: list[str]) -> set[str]:
    """These packages, and all that they need here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return found


def test_it_names_every_metric() -> None:
    lines = Metrics().encode(TinyModel.random().manifest()).decode()
    names = set(re.findall(r"^# HELP (tuneport_\w+) ", lines, re.MULTILINE))
    assert set(re.findall(r"^\| `(tuneport_\w+)", PAGE, re.MULTILINE)) == names


def test_its_image_has_the_packages_that_a_server_needs(tmp_path: Path) -> None:
    image = with_requirements(installed_packages())
    assert {"torch", "ray"} & image == set()
    missing = [
        module
        for module, packages in importlib.metadata.packages_distributions().items()
        if not {canonicalize_name(name) for name in packages} & {*image, "tuneport"}
    ]
    TinyModel.random().write(tmp_path / "model")
    command = [sys.executable, "-c", ONLY, ",".join(missing), str(tmp_path / "model")]
    with subprocess.Popen(
        [*command, "--port", "0"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+", line := process.stderr.readline())
            assert address, line
            digit = (ROOT / "docs/digit.png").read_bytes()
            headers = {"content-type": "image/png"}
            predict = urllib.request.Request(f"{address[0]}/predict", digit, headers)
            for route in ("", "docs", "metrics", "openapi.json", predict):
                request = f"{address[0]}/{route}" if isinstance(route, str) else route
                with urllib.request.urlopen(request, timeout=30) as reply:
                    assert reply.status == 200
        finally:
            process.kill()
