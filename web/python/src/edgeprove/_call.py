"""A request, and the clock of its limits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urlencode

from ._body import Body
from ._errors import EdgeproveError, timeout_error
from ._seal import Binding

#: The values of a query; ``None`` leaves one out.
Query: TypeAlias = "Mapping[str, str | int | None]"


@dataclass(frozen=True)
class Call:
    """A request."""

    method: str
    #: The path at the service, with a slash at its begin. It may have a query.
    path: str
    #: Most bytes of the answer.
    answer_max: int
    query: Query = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    #: It is sent again with each attempt.
    body: Body | None = None
    #: What the body is bound to where it is sealed; ``None``: it is not sealed.
    binding: Binding | None = None
    #: When the call ends, attempts and waits included. Default: after the limit of short requests.
    deadline: float | None = None
    #: A status beside 2xx whose body is read as that of a success.
    accepts: int | None = None

    @property
    def name(self) -> str:
        """Its name in messages. A query may have the token of a link."""
        return f"{self.method} {self.path.split('?', 1)[0]}"

    @property
    def is_repeatable(self) -> bool:
        """Whether it can be sent again."""
        return self.body is None or self.body.is_repeatable

    def target(self) -> str:
        """The path with the query."""
        query = urlencode({name: value for name, value in self.query.items() if value is not None})
        return f"{self.path}{'&' if '?' in self.path else '?'}{query}" if query else self.path


def deadline_in(seconds: float) -> float:
    """The time so many seconds from now, of a clock that never goes back."""
    return time.monotonic() + seconds


def time_left(deadline: float) -> float:
    """Seconds until a time, at least 0."""
    return max(0.0, deadline - time.monotonic())


def raise_if_late(deadline: float, what: str) -> None:
    """Raises ``timeout`` after the deadline."""
    if time_left(deadline) == 0:
        raise timeout_error(what)


def transport_error(what: str, error: Exception, deadline: float | None) -> EdgeproveError:
    """The error of a request whose transfer failed with another one.

    The other error is not its cause: it contains the request, and so the key.
    """
    if isinstance(error, TimeoutError) or (deadline is not None and time_left(deadline) == 0):
        return timeout_error(what)
    detail = f"{what}: no answer, or the connection was lost ({type(error).__name__}: {error})"
    return EdgeproveError("unreachable", detail, retryable=True)
