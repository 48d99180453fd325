"""Webhooks: the real server sends them, and nobody else can."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

import pytest

from edgeprove import EdgeproveError, webhooks

from .support.clients import Clients
from .support.faults import Faults, Request
from .support.server import Server
from .support.wait import eventually

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY = json.dumps({"type": "prove.completed", "timestamp": "2026-01-01T00:00:00.000Z", "data": {"id": "x"}}).encode()


def signed(body: bytes = BODY, secret: str = SECRET, webhook_id: str = "msg_1", at: int = 1000) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{webhook_id}.{at}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {"Webhook-Id": webhook_id, "Webhook-Timestamp": str(at), "Webhook-Signature": signature}


def test_the_vector_of_the_standard_is_accepted() -> None:
    # The example of the specification of Standard Webhooks.
    body = b'{"test": 2432232314}'
    headers = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330"}
    headers["webhook-signature"] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    with pytest.raises(webhooks.WebhookError, match="another form"):
        webhooks.verify(headers, body, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", now=1614265330)


def test_a_signed_webhook_is_accepted_also_while_the_secret_changes() -> None:
    other = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    headers = signed()
    for given in (SECRET, [other, SECRET], (SECRET,), SECRET.removeprefix("whsec_")):
        found = webhooks.verify(headers, BODY, given, now=1200)
        assert (found.id, found.type, found.data) == ("msg_1", "prove.completed", {"id": "x"})
    both = headers | {"Webhook-Signature": f"v1a,xx v1,!! {signed(secret=other)['Webhook-Signature']} "
                      f"{headers['Webhook-Signature']}"}  # fmt: skip
    webhooks.verify(both, bytearray(BODY), SECRET, now=1000)


def test_what_the_service_did_not_sign_is_refused() -> None:
    good = signed()
    other = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    cases: list[tuple[dict[str, str], bytes, Any, dict[str, Any]]] = [
        (good, BODY + b" ", SECRET, {}),
        (good, BODY, other, {}),
        (good | {"Webhook-Id": "msg_2"}, BODY, SECRET, {}),
        (good | {"Webhook-Timestamp": "1001"}, BODY, SECRET, {}),
        (good, BODY, SECRET, {"now": 1301}),
        (good, BODY, SECRET, {"now": 699}),
        (good, BODY, SECRET, {"now": float("nan")}),
        (good, BODY, SECRET, {"tolerance": float("inf")}),
        (good | {"Webhook-Signature": ""}, BODY, SECRET, {}),
        (good | {"Webhook-Signature": good["Webhook-Signature"].replace("v1,", "v2,")}, BODY, SECRET, {}),
        (good | {"Webhook-Signature": " ".join([good["Webhook-Signature"]] * 40)}, BODY, SECRET, {}),
        (good | {"Webhook-Timestamp": "1e3"}, BODY, SECRET, {}),
        (good | {"Webhook-Timestamp": "\u0661000"}, BODY, SECRET, {}),
        ({name: value for name, value in good.items() if name != "Webhook-Id"}, BODY, SECRET, {}),
        (signed(b"[]"), b"[]", SECRET, {}),
        (signed(b"{"), b"{", SECRET, {}),
        (signed(b'{"type":1,"timestamp":"","data":{}}'), b'{"type":1,"timestamp":"","data":{}}', SECRET, {}),
    ]
    for headers, body, secret, options in cases:
        with pytest.raises(webhooks.WebhookError) as caught:
            webhooks.verify(headers, body, secret, **{"now": 1000, **options})
        assert caught.value.code == "webhook_invalid" and not caught.value.retryable
    for wrong in ("", "whsec_", "whsec_!", "whsec_YQ==", [], [7]):
        with pytest.raises(EdgeproveError) as failed:
            webhooks.verify(good, BODY, wrong, now=1000)  # type: ignore[arg-type]
        assert failed.value.code == "invalid_option"


def test_the_real_server_sends_what_is_accepted(clients: Clients, faults: Faults) -> None:
    received: list[webhooks.Webhook] = []
    refused: list[EdgeproveError] = []

    def intercept(request: Request) -> bool:
        body = request.read_body()
        try:
            received.append(webhooks.verify(request.headers, body, SECRET))
        except EdgeproveError as error:
            refused.append(error)
        try:
            webhooks.verify(request.headers, body + b" ", SECRET)
        except webhooks.WebhookError:
            return request.reply(204, b"")
        return request.reply(500, b"")

    faults.intercept = intercept
    host = faults.url.removeprefix("http://")
    with Server("--webhook-hosts", host, environment={"EDGEPROVE_WEBHOOK_SECRET": SECRET}) as server:
        client = clients(server.url)
        job = client.jobs.submit("range_check", {"value": 42, "min": 10, "max": 100}, callback_url=f"{faults.url}/hook")
        eventually("the webhook arrives", lambda: received or refused)
        assert not refused and faults.requests[0] == "POST /hook"
        assert received[0].type == "prove.completed" and received[0].job().id == job.id
        assert abs(time.time() - int(faults.headers[0]["webhook-timestamp"])) < 300
        with pytest.raises(EdgeproveError, match="not build"):
            received[0].circuit()
        with pytest.raises(EdgeproveError, match="callback_not_allowed"):
            client.jobs.submit("range_check", {"value": 42, "min": 10, "max": 100}, callback_url="http://127.0.0.2/")
