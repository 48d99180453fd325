"""What differs between the client for asyncio and the one for threads: time, files, callbacks and clean-up."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpcore
import httpx

from .._body import Body

T = TypeVar("T")
#: The time at which the request of this thread ends.
_local = threading.local()


def new_http_client() -> httpx.Client:
    """The client that sends requests, where the caller has none."""
    client = httpx.Client(follow_redirects=False)
    # httpx limits each read, so a server that sends a byte now and then could hold a request as long as it likes. httpx
    # has no public way to its pools' network; without these attributes the limits are checked between the pieces.
    transports = [getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()]
    for transport in transports:
        pool = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if isinstance(backend, httpcore.NetworkBackend):
            setattr(pool, "_network_backend", _LimitedBackend(backend))  # noqa: B010
    return client


@contextmanager
def limit(deadline: float) -> Iterator[None]:
    """Raises at a time of ``time.monotonic()``, at the next read or write of the network."""
    before = getattr(_local, "deadline", None)
    _local.deadline = deadline
    try:
        yield
    finally:
        _local.deadline = before


@contextmanager
def clean_up(seconds: float) -> Iterator[None]:
    """Work that an interrupted call does before it ends. Its requests have limits of their own."""
    yield


def sleep(seconds: float) -> None:
    """Waits."""
    time.sleep(seconds)


def call(callback: Callable[[T], object], value: T) -> None:
    """Calls a callback of the caller."""
    callback(value)


def pieces_of(body: Body) -> Iterator[bytes]:
    """The bytes of a body."""
    return body.pieces()


def _left(timeout: float | None) -> float | None:
    """The time that a read or write may take."""
    deadline: float | None = getattr(_local, "deadline", None)
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time of the request is over")
    return left if timeout is None else min(left, timeout)


class _LimitedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _LimitedStream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _LimitedBackend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._backend.connect_tcp(host, port, _left(timeout), local_address, socket_options)
        return _LimitedStream(stream)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        return _LimitedStream(self._backend.connect_unix_socket(path, _left(timeout), socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)
