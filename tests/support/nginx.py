"""Debian's nginx with the configurations of docs/proxies.md."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.commands import free_port
from tests.support.waiting import until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs `nginx`, as in Debian's nginx-light")
RECIPES = re.findall(
    r"```nginx\n(.*?)```\n\n```sh\npython -m serve MODEL (.*?)\n```",
    (ROOT / "docs/proxies.md").read_text(),
    re.DOTALL,
)
"""Each recipe of the page: nginx's configuration, and the flags of the endpoint behind it."""
MAIN = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""


@contextmanager
def nginx(folder: Path, servers: str, upstream_port: int) -> Iterator[int]:
    """Run nginx with these servers in front of a port of this machine, and give nginx's port."""
    assert NGINX is not None
    port = free_port()
    servers = servers.replace("127.0.0.1:8080", f"127.0.0.1:{upstream_port}")
    servers = servers.replace("listen 80;", f"listen 127.0.0.1:{port};")
    file = folder / "nginx.conf"
    file.write_text(MAIN.format(folder=folder, servers=servers))
    command = [NGINX, "-e", "stderr", "-p", str(folder), "-c", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            until(lambda: _accepts(port), process)
            yield port
        finally:
            process.terminate()


def _accepts(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0
