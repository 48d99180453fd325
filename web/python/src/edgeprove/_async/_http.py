"""Requests to one server: bounded in time, in bytes and in number."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import cast

import httpx

from .. import _requests as requests
from .._answers import DOCUMENT_MAX, Answer, declared_length
from .._call import Call, Query, deadline_in, raise_if_late, time_left, transport_error
from .._errors import EdgeproveError, bad_answer
from .._options import CONNECT, SHORT_REQUEST, Settings, url_of
from .._seal import RESEALS_MAX, SEAL_AGAIN, KnownKeys, keys_of, no_keys, sealed_body
from .._sse import EventParser, ServerEvent
from .._version import VERSION
from ..wire import ServiceDocument
from . import _runtime as runtime


class AsyncHttp:
    """Sends requests to one server."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient | None) -> None:
        self.settings = settings
        self._is_own = client is None
        self._client = runtime.new_http_client() if client is None else client
        #: The keys for which the server opens what is sealed.
        self._keys = no_keys()

    async def aclose(self) -> None:
        """Closes the connections, but not those of a client that the caller brought."""
        if self._is_own:
            await self._client.aclose()

    def long_deadline(self) -> float:
        """The deadline of a call that waits for a proof."""
        return deadline_in(self.settings.timeout)

    async def send(self, call: Call) -> Answer:
        """Sends a request until it succeeds, or the failure is final."""
        retry = self.settings.retry
        deadline = call.deadline
        if deadline is None:
            deadline = deadline_in(min(SHORT_REQUEST, self.settings.timeout))
        attempt = 1
        reseals = 0
        while True:
            try:
                return await self.send_once(call, deadline)
            except EdgeproveError as error:
                failure = error
            if failure.code in SEAL_AGAIN and call.is_repeatable and reseals < RESEALS_MAX:
                self._keys = no_keys()
                reseals += 1
                continue
            if not failure.retryable or not call.is_repeatable or attempt >= retry.attempts:
                raise failure
            delay = retry.delay_after(failure, attempt)
            if delay is None or delay >= time_left(deadline):
                raise failure
            await runtime.sleep(delay)
            attempt += 1

    async def send_once(self, call: Call, deadline: float) -> Answer:
        """One attempt."""
        raise_if_late(deadline, call.name)
        call = await self._sealed(call, deadline)
        try:
            with runtime.limit(deadline):
                async with self._open(call, time_left(deadline)) as response:
                    is_success = response.is_success or response.status_code == call.accepts
                    body = await self._read(response, call.answer_max if is_success else DOCUMENT_MAX)
                    answer = Answer(response.status_code, response.headers, body)
        except (httpx.RequestError, TimeoutError) as error:
            failure = transport_error(call.name, error, deadline)
        else:
            if is_success:
                return answer
            failure = answer.failure()
        raise failure

    async def service(self, deadline: float | None = None) -> ServiceDocument:
        """What the server reports of itself. With a deadline it is one attempt."""
        call = requests.get_service()
        answer = await (self.send(call) if deadline is None else self.send_once(call, deadline))
        return answer.decode(ServiceDocument)

    async def _sealed(self, call: Call, deadline: float) -> Call:
        """The call with the body that is sent: sealed again with each attempt."""
        option = self.settings.seal
        if call.binding is None or call.body is None or option is False:
            return call
        known = await self._known_keys(deadline)
        return replace(call, body=sealed_body(known, option, call.binding, self.settings.token, call.body))

    async def _known_keys(self, deadline: float) -> KnownKeys:
        """The keys of the server. One attempt: the attempt of the request that needs them is repeated as a whole."""
        known = self._keys
        if not known.is_fresh():
            try:
                known = keys_of(await self.service(min(deadline, deadline_in(SHORT_REQUEST))))
            except EdgeproveError as error:
                # A server of an earlier version, which opens nothing that is sealed.
                if error.status != 404:
                    raise
                known = no_keys()
            self._keys = known
        return known

    async def events(
        self, path: str, query: Query, deadline: float, silence: float
    ) -> AsyncGenerator[ServerEvent | None, None]:
        """The events of one stream, and then ``None`` where it had nothing new because its job has finished.

        Its head has the limit of short requests. A stream that sends nothing for ``silence`` seconds is lost.
        """
        call = Call("GET", path, DOCUMENT_MAX, query=query, headers={"accept": "text/event-stream"})
        head_deadline = min(deadline, deadline_in(min(SHORT_REQUEST, self.settings.timeout)))
        raise_if_late(deadline, call.name)
        parser = EventParser()
        limited = head_deadline
        response: httpx.Response | None = None
        try:
            with runtime.limit(head_deadline):
                response = await self._send(call, min(silence, time_left(deadline)))
                if not response.is_success:
                    body = await self._read(response, DOCUMENT_MAX)
                    raise Answer(response.status_code, response.headers, body).failure()
            limited = deadline
            if response.status_code == 204:
                yield None
                return
            if "text/event-stream" not in response.headers.get("content-type", ""):
                raise bad_answer("the server answered with something else than a stream of events")
            async with aclosing(_pieces(response)) as pieces:
                while True:
                    with runtime.limit(deadline):
                        try:
                            piece = await pieces.__anext__()
                        except StopAsyncIteration:
                            return
                    for event in parser.feed(piece):
                        yield event
        except (httpx.RequestError, TimeoutError) as error:
            failure = transport_error(call.name, error, limited)
        finally:
            if response is not None:
                with runtime.clean_up(1.0):
                    await response.aclose()
        raise failure

    @asynccontextmanager
    async def _open(self, call: Call, seconds: float) -> AsyncIterator[httpx.Response]:
        response = await self._send(call, seconds)
        try:
            yield response
        finally:
            await response.aclose()

    async def _send(self, call: Call, seconds: float) -> httpx.Response:
        # The service redirects nothing, and a key must not follow to another host.
        return await self._client.send(self._request(call, seconds), stream=True, follow_redirects=False)

    def _request(self, call: Call, seconds: float) -> httpx.Request:
        headers = {
            # What a compressed answer decompresses to has no bound.
            "accept-encoding": "identity",
            "user-agent": f"edgeprove-python/{VERSION}",
        }
        if self.settings.token is not None:
            headers["authorization"] = f"Bearer {self.settings.token}"
        headers.update({name: value for name, value in call.headers.items() if value is not None})
        content = None
        if call.body is not None:
            headers["content-type"] = call.body.content_type
            if call.body.length is not None:
                headers["content-length"] = str(call.body.length)
            content = runtime.pieces_of(call.body)
        return self._client.build_request(
            call.method,
            url_of(self.settings.base, call.target()),
            headers=headers,
            content=content,
            timeout=httpx.Timeout(seconds, connect=min(CONNECT, seconds)),
        )

    async def _read(self, response: httpx.Response, most: int) -> bytes:
        status, request_id = response.status_code, response.headers.get("x-request-id")
        if response.headers.get("content-encoding", "identity") != "identity":
            detail = "the answer is compressed, although this client asks for none that is"
            raise bad_answer(detail, status=status, request_id=request_id)
        parts: list[bytes] = []
        size = declared_length(response.headers)
        if size <= most:
            size = 0
            async with aclosing(_pieces(response)) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    if size > most:
                        break
                    parts.append(piece)
        if size > most:
            detail = f"an answer of the server has more than {most} bytes"
            raise EdgeproveError("answer_too_large", detail, status=status, request_id=request_id)
        return b"".join(parts)


def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    # It is a generator, which must be closed where it is not read to its end. httpx declares less.
    return cast("AsyncGenerator[bytes, None]", response.aiter_raw())
