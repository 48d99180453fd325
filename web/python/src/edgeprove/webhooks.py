"""Verifies webhooks of an Edgeprove server: Standard Webhooks 1.0.0, as docs/WEBHOOKS.md describes them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ._decode import decode
from ._errors import EdgeproveError, invalid_option
from .wire import Circuit, Deployment, Job

#: Most bytes of a webhook. A server sends a few thousand.
BODY_MAX = 16 << 20
#: Most signatures that are compared.
_SIGNATURES_MAX = 32


class WebhookError(EdgeproveError):
    """A request that is no webhook of the service, or one that is too old. Answer it with status 400."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)


class Headers(Protocol):
    """The headers of a request, as a ``dict`` or as an object of a web framework."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Their names and values."""


@dataclass(frozen=True)
class Webhook:
    """A webhook whose signature is valid."""

    #: The same at every attempt: ignore a webhook whose id you have seen.
    id: str
    #: The kind of the job and its status, such as ``prove.completed``.
    type: str
    #: When the job finished: RFC 3339 in UTC.
    timestamp: str
    #: What the type describes. It has no inputs, no witness and no proof.
    data: dict[str, Any]

    def job(self) -> Job:
        """The job of a webhook ``prove.…``."""
        self._require("prove")
        return decode(Job, self.data)

    def circuit(self) -> Circuit:
        """The circuit of a webhook ``build.…``."""
        self._require("build")
        return decode(Circuit, self.data)

    def deployment(self) -> Deployment:
        """The deployment of a webhook ``deploy.…``."""
        self._require("deploy")
        return decode(Deployment, self.data)

    def _require(self, kind: str) -> None:
        if self.type.split(".", 1)[0] != kind:
            raise invalid_option(f"the webhook is of the type {self.type}, not {kind}")


def verify(
    headers: Headers,
    body: bytes | bytearray | memoryview,
    secret: str | Sequence[str],
    *,
    tolerance: float = 300.0,
    now: float | None = None,
) -> Webhook:
    """The webhook that a request brought. Raises :class:`WebhookError` where the service did not sign it.

    ``headers`` are those of the request, in any case; ``body`` has its bytes as they arrived, before they are parsed.
    ``secret`` begins with ``whsec_``; several are accepted while the operator changes it. ``tolerance`` is how many
    seconds the clocks of sender and receiver may differ.
    """
    keys = [_key(text) for text in ([secret] if isinstance(secret, str) else secret)]
    if not keys:
        raise invalid_option("secret must be the secret of the service")
    if not isinstance(body, bytes | bytearray | memoryview):
        raise invalid_option("body must be the bytes of the request")
    body = bytes(body)
    lowered = {str(name).lower(): value for name, value in headers.items()}
    webhook_id = _header(lowered, "webhook-id")
    sent = _header(lowered, "webhook-timestamp")
    signatures = _header(lowered, "webhook-signature").split(" ")
    if len(body) > BODY_MAX or len(signatures) > _SIGNATURES_MAX:
        raise WebhookError("webhook_invalid", "the webhook is larger than one of the service")
    if not re.fullmatch("[0-9]{1,12}", sent):
        raise WebhookError("webhook_invalid", "the time of the webhook is no number of seconds")
    # A comparison that is false for NaN refuses.
    clock = time.time() if now is None else now
    if not (math.isfinite(tolerance) and abs(clock - int(sent)) <= tolerance):
        raise WebhookError("webhook_invalid", "the webhook is too old, or the clocks of sender and receiver differ")
    signed = f"{webhook_id}.{sent}.".encode() + body
    expected = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    given = [_signature(text) for text in signatures]
    # Every pair is compared, so that the time shows nothing of which one fits.
    matches = [hmac.compare_digest(mine, theirs) for mine in expected for theirs in given]
    if not any(matches):
        raise WebhookError("webhook_invalid", "the webhook is not signed with this secret")
    return _parse(webhook_id, body)


def _parse(webhook_id: str, body: bytes) -> Webhook:
    try:
        document = json.loads(body)
        kind, timestamp, data = document["type"], document["timestamp"], document["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WebhookError("webhook_invalid", "the body of the webhook has another form") from None
    if not (isinstance(kind, str) and isinstance(timestamp, str) and isinstance(data, dict)):
        raise WebhookError("webhook_invalid", "the body of the webhook has another form")
    return Webhook(webhook_id, kind, timestamp, data)


def _header(headers: Mapping[str, object], name: str) -> str:
    value = headers.get(name)
    if not isinstance(value, str) or not re.fullmatch("[!-~][ -~]{0,4095}", value):
        raise WebhookError("webhook_invalid", f"the request has no header {name}, or not one of the service")
    return value


def _key(secret: str) -> bytes:
    if not isinstance(secret, str):
        raise invalid_option("secret must be a text")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < 16:
        raise invalid_option("secret must be the secret of the service: `whsec_` and base64 of at least 16 bytes")
    return key


def _signature(text: str) -> bytes:
    # Other versions than `v1` have other algorithms.
    if not text.startswith("v1,"):
        return b""
    try:
        return base64.b64decode(text[3:], validate=True)
    except (binascii.Error, ValueError):
        return b""
