"""The error of this package, and the codes that only the client has."""

from __future__ import annotations

from typing import Final

#: The failures that the client itself finds. All other codes are the server's: docs/ERRORS.md lists them.
CLIENT_ERROR_CODES: Final = (
    "answer_too_large",
    "bad_answer",
    "invalid_option",
    "package_missing",
    "receipt_invalid",
    "sealing_unavailable",
    "timeout",
    "unreachable",
    "webhook_invalid",
)


class EdgeproveError(Exception):
    """Every failure of this package.

    Programs read ``code`` and ``retryable``; people read ``detail``. No member contains a value of an input, of a
    witness or of a key.
    """

    #: What went wrong: one of ``CLIENT_ERROR_CODES``, or a code of the server. A newer server may send new codes.
    code: str
    #: What is wrong this time, and what to do about it.
    detail: str
    #: Whether the same call may succeed later.
    retryable: bool
    #: The HTTP status, where a server answered.
    status: int | None
    #: The id of the request, as in the log of the server.
    request_id: str | None
    #: How long the server asks to wait before a retry, in seconds.
    retry_after: float | None
    #: The path of the input that is wrong, such as ``privateInputs.age``.
    field: str | None
    #: The next smaller circuit of the family, where that may succeed.
    fallback_circuit: str | None
    #: How serious the failure is for the operator: ``notice``, ``warning``, ``error`` or ``critical``.
    severity: str | None

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        retryable: bool = False,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        field: str | None = None,
        fallback_circuit: str | None = None,
        severity: str | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.retryable = retryable
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.field = field
        self.fallback_circuit = fallback_circuit
        self.severity = severity

    def __str__(self) -> str:
        where = "" if self.request_id is None else f", request {self.request_id}"
        return f"{self.detail} ({self.code}{where})"

    def __reduce__(self) -> tuple[object, ...]:
        # Task queues send exceptions between processes. By default only the positional arguments would arrive.
        return (type(self), (self.code, self.detail), dict(self.__dict__))


def invalid_option(detail: str) -> EdgeproveError:
    """The error of an option or argument that cannot be used."""
    return EdgeproveError("invalid_option", detail)


def bad_answer(detail: str, *, status: int | None = None, request_id: str | None = None) -> EdgeproveError:
    """The error of an answer that no Edgeprove server sends."""
    return EdgeproveError("bad_answer", detail, status=status, request_id=request_id)


def timeout_error(what: str) -> EdgeproveError:
    """The error of a call that took longer than allowed."""
    return EdgeproveError("timeout", f"{what} took longer than allowed", retryable=True)
