"""Receipts: the real server signs them, and nobody else can."""

from __future__ import annotations

import base64
import builtins
import dataclasses
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeprove import EdgeproveError, ReceiptError, receipts, verify_receipt
from edgeprove.wire import ReceiptKey, Receipts

from .support.clients import Clients
from .support.server import Server

INPUTS = {"value": 42, "min": 10, "max": 100}
#: The key of RFC 8037, appendix A.
D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
KEY = ReceiptKey(
    "OKP", "Ed25519", X, THUMBPRINT, "EdDSA", "sig", "1970-01-02T00:00:00.000Z", "1970-01-03T00:00:00.000Z"
)
HEADER = {"alg": "EdDSA", "kid": THUMBPRINT, "typ": "edgeprove-receipt+jwt"}
STATED = {
    "iat": 100_000, "request_id": "r", "circuit": "range_check", "proof_system": "ultra-honk", "target": "evm",
    "vk_hash": "0x1", "vk_sha256": "0x2", "backend": {"name": "bb", "version": "5"}, "proof_hash": "0x3",
    "public_inputs_hash": "0x4", "verified": True, "cached": False, "accepted_at": "a", "started_at": "b",
    "finished_at": "c", "sealed": False, "spool_wiped": True, "server": {"id": "0", "version": "1"}, "later": 7,
}  # fmt: skip


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def signed(header: dict[str, Any] | None = None, stated: dict[str, Any] | None = None) -> str:
    private = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(D + "="))
    parts = [encoded(json.dumps(part).encode()) for part in (HEADER if header is None else header, stated or STATED)]
    return f"{parts[0]}.{parts[1]}.{encoded(private.sign('.'.join(parts).encode()))}"


def test_the_vector_of_rfc_8037_is_verified() -> None:
    assert receipts.thumbprint(X) == THUMBPRINT
    text = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    content, _, signature = text.rpartition(".")
    receipts._check_signature(KEY, receipts._base64url(signature), content.encode())
    with pytest.raises(ReceiptError, match="signature"):
        receipts._check_signature(KEY, receipts._base64url(signature), content.encode() + b"x")
    # It is a JWS, and no receipt.
    with pytest.raises(ReceiptError, match="header"):
        verify_receipt(text, KEY)


def test_a_proof_has_a_receipt(clients: Clients, server: Server) -> None:
    client = clients(server.url, api_key="alice-key")
    keys = client.service().receipts
    assert isinstance(keys, Receipts) and not keys.lasting
    result = client.prove("range_check", INPUTS, delivery="direct")
    stated = verify_receipt(result.receipt, keys, proof=result)
    assert (stated.circuit, stated.request_id, stated.backend.name) == ("range_check", result.request_id, "bb")
    assert stated.verified and stated.spool_wiped and not stated.cached and stated.sealed
    vk = client.circuits.vk("range_check").content
    verify_receipt(result.receipt, keys.keys[0], proof=result.proof, public_inputs=result.public_inputs, vk=vk)
    job = client.prove("range_check", INPUTS)
    assert client.jobs.get(job.job_id).receipt == job.receipt
    verify_receipt(job.receipt, keys, proof=job)
    # The receipt of another proof.
    for proof in (job, job.proof):
        with pytest.raises(ReceiptError, match="of another proof"):
            verify_receipt(result.receipt, keys, proof=proof)
    other = dataclasses.replace(result, circuit="other")
    for options in ({"vk": b"x"}, {"public_inputs": ["0x" + "0" * 64]}, {"proof": other}):
        with pytest.raises(ReceiptError, match="of another"):
            verify_receipt(result.receipt, keys, **options)
    with pytest.raises(ReceiptError, match="none of the given keys"):
        verify_receipt(result.receipt, KEY)


def test_what_the_key_did_not_sign_is_refused() -> None:
    good = signed()
    assert verify_receipt(f" {good}\n", KEY).target == "evm"
    assert verify_receipt(good, [dataclasses.replace(KEY, kid="another name")]).iat == 100_000
    header, payload, signature = good.split(".")
    changed = encoded(json.dumps({**STATED, "proof_hash": "0x5"}).encode())
    invalid = [
        "", "a.b", "a.b.c.d", good + ".", f"{header}.{payload}.", f"{header}.{changed}.{signature}",
        f"{header}.{payload}.{encoded(bytes(64))}", f"{header}.{payload}.{signature[:-4]}", f"{header}.é.{signature}",
        encoded(b'{"alg":"none"}') + f".{payload}.", "A" * 9000 + ".A.A", f"{encoded(b'[')}.{payload}.{signature}",
        signed({**HEADER, "alg": "none"}), signed({**HEADER, "alg": "HS256"}), signed({**HEADER, "typ": "JWT"}),
        signed({**HEADER, "kid": "another name"}), signed({**HEADER, "crit": ["b64"]}), signed({**HEADER, "jwk": {}}),
        signed({"alg": "EdDSA", "typ": HEADER["typ"]}), signed(stated={**STATED, "iat": 86_399}),
        signed(stated={**STATED, "iat": 172_800}), signed(stated={**STATED, "iat": "100000"}),
        signed(stated={"iat": 1}),
    ]  # fmt: skip
    for text in invalid:
        with pytest.raises(ReceiptError) as refused:
            verify_receipt(text, KEY)
        assert (refused.value.code, refused.value.retryable) == ("receipt_invalid", False), text
    for keys in ([], [7], Receipts([], False), dataclasses.replace(KEY, expires_at="soon")):
        with pytest.raises(EdgeproveError) as wrong:
            verify_receipt(good, keys)  # type: ignore[arg-type]
        assert wrong.value.code == "invalid_option", keys
    with pytest.raises(EdgeproveError, match="receipt must be a text"):
        verify_receipt(None, KEY)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EdgeproveError) as missing:
        verify_receipt(signed(), KEY)
    assert missing.value.code == "package_missing" and "edgeprove[receipts]" in missing.value.detail
