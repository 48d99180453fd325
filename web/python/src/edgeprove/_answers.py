"""Reads answers: never more bytes than an answer of their kind can have."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import httpx

from ._decode import decode
from ._errors import EdgeproveError, bad_answer
from .wire import ProblemDocument

T = TypeVar("T")

#: Most bytes of a problem document or a job.
DOCUMENT_MAX: Final = 1 << 20
#: Most bytes of a list, or of a circuit with its inputs.
LIST_MAX: Final = 16 << 20
#: Most bytes of a proof with its public inputs.
PROOF_MAX: Final = 16 << 20
#: Most bytes of a verification key.
KEY_MAX: Final = 1 << 20
#: Most bytes of a file of a circuit.
FILE_MAX: Final = 256 << 20

#: Statuses at which the same request may succeed later, where the answer is no problem document: a proxy's.
_TEMPORARY = frozenset((408, 429, 502, 503, 504))


@dataclass(frozen=True)
class Answer:
    """An answer whose body was read."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def request_id(self) -> str | None:
        """The id of the request, as in the log of the server."""
        found: str | None = self.headers.get("x-request-id")
        return found

    @property
    def is_problem(self) -> bool:
        """Whether the body is a problem document."""
        return "application/problem+json" in self.headers.get("content-type", "")

    def json(self) -> object:
        """The body as JSON. Raises ``bad_answer``."""
        try:
            value: object = json.loads(self.body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            detail = "the answer is no JSON document: is the URL that of an Edgeprove server?"
            raise bad_answer(detail, status=self.status, request_id=self.request_id)
        return value

    def decode(self, kind: type[T]) -> T:
        """The document in the body. Raises ``bad_answer`` where it is none of this type."""
        return decode(kind, self.json(), status=self.status, request_id=self.request_id)

    def failure(self) -> EdgeproveError:
        """The error that an answer with a failure describes."""
        retry_after = _retry_after(self.headers.get("retry-after"))
        if self.is_problem:
            document = self.json()
            if isinstance(document, dict) and isinstance(document.get("code"), str):
                return _error(document, self.status, self.request_id, retry_after)
        detail = (
            f"the server, or a proxy in front of it, answered with status {self.status} and without a problem document"
        )
        return EdgeproveError(
            "bad_answer",
            detail,
            retryable=not self.is_problem and self.status in _TEMPORARY,
            status=self.status,
            request_id=self.request_id,
            retry_after=retry_after,
        )


def declared_length(headers: httpx.Headers) -> int:
    """The number of bytes that an answer declares, or 0."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def error_of(problem: ProblemDocument) -> EdgeproveError:
    """The error that a problem document within another document describes."""
    return EdgeproveError(
        problem.code,
        problem.detail,
        retryable=problem.retryable,
        status=problem.status,
        request_id=problem.request_id,
        field=problem.field,
        fallback_circuit=problem.fallback_circuit,
        severity=problem.severity,
    )


def _error(
    document: dict[str, object], status: int, request_id: str | None, retry_after: float | None
) -> EdgeproveError:
    # A newer server, or an edge, may leave members out: only the code is needed.
    def text(name: str) -> str | None:
        value = document.get(name)
        return value if isinstance(value, str) else None

    return EdgeproveError(
        str(document["code"]),
        text("detail") or text("title") or str(document["code"]),
        retryable=document.get("retryable") is True,
        status=status,
        request_id=text("request_id") or request_id,
        retry_after=retry_after,
        field=text("field"),
        fallback_circuit=text("fallback_circuit"),
        severity=text("severity"),
    )


def _retry_after(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        # Proxies may send a date instead of seconds.
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
        return max(seconds, 0.0)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
