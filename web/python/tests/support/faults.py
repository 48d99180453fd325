"""A server that answers as a test wants, or passes requests on to a real one and breaks them on the way."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

Intercept = Callable[["Request"], bool]


class Request(BaseHTTPRequestHandler):
    """A request, with answers for tests."""

    protocol_version = "HTTP/1.1"
    server: _Listener

    def reply(self, status: int, body: bytes | str, content_type: str = "application/json", **headers: str) -> bool:
        """Answers."""
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)
        return True

    def document(self, value: object, status: int = 200) -> bool:
        """Answers with JSON."""
        return self.reply(status, json.dumps(value))

    def problem(self, status: int, code: str, retry_after: str | None = None, **members: object) -> bool:
        """Answers with a problem document."""
        document = {"type": f"/problems/{code}", "title": code, "status": status, "detail": f"planted {code}"}
        document |= {"error": code, "message": code, "code": code, "retryable": retry_after is not None, **members}
        headers = {"x_request_id": "planted-1"} | ({} if retry_after is None else {"retry_after": retry_after})
        return self.reply(status, json.dumps(document), "application/problem+json", **headers)

    def hang_up(self) -> bool:
        """Closes the connection without an answer."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        return True

    def stream(self, *pieces: bytes, content_type: str = "text/event-stream") -> bool:
        """Answers with pieces, and ends by closing the connection."""
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
        return self.hang_up()

    def read_body(self) -> bytes:
        """The body, which must have a length."""
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def do_GET(self) -> None:
        """Handles a request."""
        faults = self.server.faults
        faults.requests.append(f"{self.command} {self.path}")
        faults.headers.append({name.lower(): value for name, value in self.headers.items()})
        with suppress(OSError):
            if faults.intercept(self):
                if int(self.headers.get("content-length") or 0) and self.rfile.closed is False:
                    # What was not read would be taken for the next request.
                    self.close_connection = True
                return
            if faults.upstream is None:
                self.hang_up()
            else:
                self._forward(faults.upstream, faults)

    do_POST = do_GET
    do_DELETE = do_GET

    def _forward(self, upstream: str, faults: Faults) -> None:
        connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=300)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            body = self.read_body()
            faults.bodies.append((f"{self.command} {self.path}", self.headers.get("content-type", ""), body))
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            # Without a length the end of the connection is the end of the answer.
            self.send_header("connection", "close")
            self.close_connection = True
            self.end_headers()
            while piece := answer.read1(65536):
                if not faults.on_piece(self, piece):
                    self.hang_up()
                    return
                self.wfile.write(piece)
        except OSError:
            self.hang_up()
        finally:
            connection.close()

    def log_message(self, *_: Any) -> None:
        """Writes nothing."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    faults: Faults

    def handle_error(self, *_: Any) -> None:
        """A client that leaves is part of the tests."""


class Faults:
    """The server of a test. ``intercept`` answers a request itself where it returns true."""

    def __init__(self, upstream: str | None = None) -> None:
        self.upstream = upstream
        self.reset()
        self._listener = _Listener(("127.0.0.1", 0), Request)
        self._listener.faults = self
        self.url = f"http://127.0.0.1:{self._listener.server_address[1]}"
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def reset(self) -> None:
        """Forgets the requests so far and what was planted."""
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        #: The line, the content type and the body of each request that was passed on.
        self.bodies: list[tuple[str, str, bytes]] = []
        self.intercept: Intercept = lambda _: False
        self.on_piece: Callable[[Request, bytes], bool] = lambda *_: True

    def seen(self, text: str) -> list[str]:
        """The requests whose line contains a text."""
        return [line for line in self.requests if text in line]

    def __enter__(self) -> Faults:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()
