"""What differs between the client for asyncio and the one for threads: time, files, callbacks and clean-up."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
import anyio.to_thread
import httpx

from .._body import Body

T = TypeVar("T")


def new_http_client() -> httpx.AsyncClient:
    """The client that sends requests, where the caller has none."""
    return httpx.AsyncClient(follow_redirects=False)


@contextmanager
def limit(deadline: float) -> Iterator[None]:
    """Raises ``TimeoutError`` at a time of ``time.monotonic()``."""
    with anyio.fail_after(max(0.0, deadline - time.monotonic())):
        yield


@contextmanager
def clean_up(seconds: float) -> Iterator[None]:
    """Work that a cancelled task does before it ends, for so long at most."""
    with anyio.move_on_after(seconds, shield=True):
        yield


async def sleep(seconds: float) -> None:
    """Waits."""
    await anyio.sleep(seconds)


async def call(callback: Callable[[T], Awaitable[object] | object], value: T) -> None:
    """Calls a callback of the caller, which may be a coroutine function."""
    result = callback(value)
    if inspect.isawaitable(result):
        await result


async def pieces_of(body: Body) -> AsyncIterator[bytes]:
    """The bytes of a body. Files are read in a thread, so that a slow disk does not stop the event loop."""
    pieces = body.pieces()
    while piece := await anyio.to_thread.run_sync(next, pieces, b""):
        yield piece
