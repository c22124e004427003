"""An HTTP server on loopback that fails as servers do, when and where it is told to, and notes what it was asked.

with Faults({"/a.tar": data}, fault=lambda request: Fault(cut=1000) if request.number == 0 else None) as server:
    ...
assert [request.range for request in server.requests] == [None, 1000]
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

import attrs

__all__ = ["Fault", "Faults", "Request"]

PIECE = 1 << 16
MODIFIED = "Tue, 01 Jul 2025 10:00:00 GMT"


@attrs.frozen
class Request:
    """What was asked: `number` counts all requests, `range` is the first byte of a Range."""

    number: int
    method: str
    path: str
    range: int | None
    headers: Mapping[str, str]
    body: bytes = b""


@attrs.frozen
class Fault:
    """What goes wrong with an answer.

    status, headers: of an answer without a body, such as 503 or a redirect.
    cut: the connection ends after so many bytes of the body; with `reset`, by a RST.
    stall: after so many bytes nothing comes any more.
    longer: the Content-Length (and size) is said to be so many bytes more than there are.
    chunked: the body comes in chunks, without a Content-Length.
    wrong_range: it is said to be another range than was asked for.
    """

    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    cut: int | None = None
    reset: bool = False
    stall: int | None = None
    longer: int = 0
    chunked: bool = False
    wrong_range: bool = False


class Faults:
    """The server, started by `with`. `files` may be changed while it runs.

    ranges: whether it knows ranges. validators: what it says its objects are known by.
    delay: seconds before each answer. rate: bytes a second, of all answers together.
    port: where it listens; 0: where nothing else does.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        fault: Callable[[Request], Fault | None] = lambda request: None,
        *,
        ranges: bool = True,
        validators: Literal["etag", "weak", "modified", "none"] = "etag",
        delay: float = 0.0,
        rate: float | None = None,
        port: int = 0,
    ) -> None:
        self.files = dict(files)
        self.fault = fault
        self.ranges = ranges
        self.validators = validators
        self.delay = delay
        self.rate = rate
        self.requests: list[Request] = []
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.due = 0.0  # when what was sent so far has gone through, at this rate
        handler = type("Handler", (_Handler,), {"app": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Faults:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def ranges_asked(self, path: str | None = None) -> list[int | None]:
        """The first byte of each request's Range."""
        return [request.range for request in self.requests if path is None or request.path == path]


class _Handler(BaseHTTPRequestHandler):
    app: Faults
    protocol_version = "HTTP/1.1"
    timeout = 20  # (a kept connection doesn't keep a thread for ever)

    def handle(self) -> None:
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        app = self.app
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        request = self._note(int(asked[1]) if asked else None)
        if app.stopped.wait(app.delay):
            return
        fault = app.fault(request) or Fault()
        data = app.files.get(request.path.partition("?")[0])
        if fault.status is not None or data is None:
            self._short(fault.status or 404, fault.headers)
            return
        validators = self._validators(data)
        start = request.range if app.ranges else None
        if start is not None and self.headers.get("If-Range", *validators.values()) not in validators.values():
            start = None
        size = len(data) + fault.longer
        if start is not None and start >= size:
            self._short(416, {"Content-Range": f"bytes */{size}"})
            return
        self.send_response(200 if start is None else 206)
        for name, value in validators.items():
            self.send_header(name, value)
        if start is not None:
            first = start + 1 if fault.wrong_range else start
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        if fault.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(size - (start or 0)))
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(memoryview(data)[start or 0 :], fault)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = self._note(None, body)
        fault = self.app.fault(request)
        if fault is not None and fault.status is not None:
            self._short(fault.status, fault.headers)
            return
        self.app.files[request.path] = body
        self._short(201, {})

    def _note(self, start: int | None, body: bytes = b"") -> Request:
        with self.app.lock:
            number = len(self.app.requests)
            request = Request(number, self.command, self.path, start, dict(self.headers), body)
            self.app.requests.append(request)
        return request

    def _short(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _validators(self, data: bytes) -> dict[str, str]:
        digest = hashlib.md5(data).hexdigest()
        day = int(digest[:2], 16) % 28 + 1  # (another object is of another day)
        return {
            "etag": {"ETag": f'"{digest}"'},
            "weak": {"ETag": f'W/"{digest}"'},
            "modified": {"Last-Modified": MODIFIED.replace("01", f"{day:02}")},
            "none": {},
        }[self.app.validators]

    def _send(self, data: memoryview, fault: Fault) -> None:
        app, sent = self.app, 0
        stop = min(found for found in (fault.cut, fault.stall, len(data)) if found is not None)
        while sent < stop and not app.stopped.is_set():
            piece = data[sent : min(sent + PIECE, stop)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if fault.chunked else piece)
            sent += len(piece)
            if app.rate is not None:
                with app.lock:
                    app.due = max(app.due, time.perf_counter()) + len(piece) / app.rate
                    wait = app.due - time.perf_counter()
                time.sleep(max(0.0, wait))
        if fault.stall is not None:
            app.stopped.wait(30)
        if stop < len(data) or fault.longer or fault.stall is not None:
            self.close_connection = True
            if fault.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
        elif fault.chunked:
            self.wfile.write(b"0\r\n\r\n")
