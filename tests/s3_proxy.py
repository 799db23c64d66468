"""A proxy on loopback before a real S3 server, which does to requests what networks and busy servers do."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal

Kind = Literal["slow down", "internal error", "cut", "reset", "slow", "error in a success"]

_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{words}</Message></Error>'
_SLOW_DOWN = _ERROR.format(code="SlowDown", words="Please reduce your request rate.").encode()
_INTERNAL = _ERROR.format(code="InternalError", words="We encountered an internal error.").encode()
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Fault:
    """What to do to the next ``times`` requests of ``method`` whose path and query hold ``having``.

    ``every`` spares all but each n-th of them.
    """

    kind: Kind
    method: str
    having: str = ""
    times: float = float("inf")
    every: int = 1
    done: int = 0
    seen: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is one of them; counts it."""
        if method != self.method or self.having not in path or self.done >= self.times:
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        self.done += 1
        return True


@dataclass
class S3Proxy:
    """Use as a context manager. ``faults`` may change at any time."""

    upstream: str  # http://host:port
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)  # method, path with query

    def __enter__(self) -> S3Proxy:
        proxy = self
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def _any(self) -> None:
                with lock:
                    proxy.requests.append((self.command, self.path))
                    fault = next((f.kind for f in proxy.faults if f.takes(self.command, self.path)), None)
                _answer(self, proxy.upstream, fault)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    @property
    def endpoint(self) -> str:
        """To be given as ``AWS_ENDPOINT_URL``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _answer(request: BaseHTTPRequestHandler, upstream: str, fault: Kind | None) -> None:
    length = int(request.headers.get("Content-Length") or 0)
    if fault == "reset" and request.command in ("PUT", "POST"):
        request.rfile.read(length // 2)
        _reset(request)
        return
    body = request.rfile.read(length)
    if fault in ("slow down", "internal error"):
        status, content = (503, _SLOW_DOWN) if fault == "slow down" else (500, _INTERNAL)
        _send(request, status, {"Content-Type": "application/xml"}, content)
        return
    if fault == "error in a success":
        _send(request, 200, {"Content-Type": "application/xml"}, _INTERNAL)
        return
    connection = http.client.HTTPConnection(upstream.removeprefix("http://"), timeout=60)
    try:
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():  # Host as the client signed it
            if name.lower() not in ("connection", "expect"):
                connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        content = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        declared = answer.getheader("Content-Length")
    finally:
        connection.close()
    if fault == "reset":
        _reset(request)
    elif request.command == "HEAD":
        _send(request, answer.status, headers, b"", declared)
    else:
        _send(request, answer.status, headers, content, fault=fault)


def _send(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str],
    content: bytes,
    declared: str | None = None,
    fault: Kind | None = None,
) -> None:
    request.send_response_only(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", declared or str(len(content)))
    request.end_headers()
    if request.command == "HEAD":
        return
    if fault == "cut":
        request.wfile.write(content[: len(content) // 2])
        request.wfile.flush()
        _reset(request)
    elif fault == "slow":
        pause = threading.Event()
        for start in range(0, len(content), max(1, len(content) // 8)):
            request.wfile.write(content[start : start + max(1, len(content) // 8)])
            request.wfile.flush()
            pause.wait(0.05)
    else:
        request.wfile.write(content)


def _reset(request: BaseHTTPRequestHandler) -> None:
    """End the connection at once, as a machine that is gone."""
    request.close_connection = True
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
