"""Real servers on loopback, started by the tests that want them: nginx, and an S3 store (moto's)."""

from __future__ import annotations

import contextlib
import getpass
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Nginx", "free_port", "nginx", "s3"]

CONF = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    log_format plain '$request_method $uri $http_range $status $body_bytes_sent';
    access_log {folder}/access.log plain;
    client_body_temp_path {folder}/temp;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp;
    scgi_temp_path {folder}/temp;
    types {{ application/x-tar tar; }}
    sendfile on;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location /whole/ {{ alias {root}/; max_ranges 0; }}
        location /slow/ {{ alias {root}/; limit_rate 400k; }}
        location /packed/ {{ alias {root}/; gzip on; gzip_types *; gzip_min_length 0; }}
        location ~ ^/moved/(.*) {{ return 302 /$1; }}
    }}
}}
"""


@attrs.define
class Nginx:
    """A running nginx: its URL, and what it wrote down."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(["nginx", "-c", str(self.folder / "nginx.conf"), "-p", str(self.folder)])
        _wait_for(int(self.url.rpartition(":")[2]), self.process)

    def stop(self) -> None:
        """At once, in the middle of what it sends."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            self.process = None

    def asked(self) -> list[str]:
        """The lines of its log: method, path, range, status, bytes sent."""
        return (self.folder / "access.log").read_text().splitlines()


@contextlib.contextmanager
def nginx(root: Path, folder: Path) -> Generator[Nginx]:
    """nginx serves a folder, with ranges; without them below /whole/, slowly below /slow/, gzipped below /packed/."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "temp").mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(CONF.format(folder=folder, port=port, root=root, user=getpass.getuser()))
    server = Nginx(f"http://127.0.0.1:{port}", folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def s3(bucket: str) -> Generator[Mapping[str, Any]]:
    """An S3 store that has one empty bucket: the storage_options by which fsspec reaches it."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            request = urllib.request.Request(f"http://127.0.0.1:{port}/{bucket}", method="PUT")
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request):
                pass
            yield {
                "key": "someone",
                "secret": "hush-hush",
                "endpoint_url": f"http://127.0.0.1:{port}",
                "client_kwargs": {"region_name": "us-east-1"},
            }
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen at port {port}")
