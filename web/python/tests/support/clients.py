"""Both clients behind one form, so that each test is written once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from edgeprove import AsyncClient, Client

#: Waits between attempts are shorter than a caller's would be.
KINDS = ("sync", "async")


class _Blocking:
    """An object of the client for asyncio, whose methods block."""

    def __init__(self, wrapped: object, loop: asyncio.AbstractEventLoop) -> None:
        self._wrapped = wrapped
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        if not callable(found):
            return _Blocking(found, self._loop)

        def call(*arguments: Any, **named: Any) -> Any:
            result = found(*arguments, **named)
            if isinstance(result, AsyncGenerator):
                return self._each(result)
            return self._loop.run_until_complete(result) if inspect.isawaitable(result) else result

        return call

    def _each(self, items: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._loop.run_until_complete(items.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run_until_complete(items.aclose())

    def __repr__(self) -> str:
        return repr(self._wrapped)


class Clients:
    """Makes clients of one kind, and closes them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._loop = asyncio.new_event_loop()
        self._opened: list[Any] = []

    def __call__(self, url: str, **options: Any) -> Any:
        """A client with the form of :class:`edgeprove.Client`."""
        client: Any = (
            Client(url, **options) if self.kind == "sync" else _Blocking(AsyncClient(url, **options), self._loop)
        )
        self._opened.append(client)
        return client

    def close(self) -> None:
        """Closes them."""
        for client in self._opened:
            client.close() if self.kind == "sync" else client.aclose()
        # As `asyncio.run` does at its end: httpx leaves the generators of answers that were not read to the end.
        while tasks := asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
