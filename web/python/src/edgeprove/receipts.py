"""Verifies receipts, the signed statements of a server about its proofs: docs/RECEIPTS.md describes them.

It needs the package ``cryptography``: ``pip install edgeprove[receipts]``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from ._decode import DecodeError, decode_strictly
from ._errors import EdgeproveError, invalid_option
from ._result import ProofResult
from .wire import Receipt, ReceiptKey, Receipts

#: Most bytes of a receipt. Ours have some 1,200.
RECEIPT_MAX: Final = 8 << 10
#: Most keys that are looked at.
_KEYS_MAX = 1000
_ALGORITHM = "EdDSA"
_TYPE = "edgeprove-receipt+jwt"


class ReceiptError(EdgeproveError):
    """A receipt that no given key signed, or that is of another proof."""

    def __init__(self, detail: str) -> None:
        super().__init__("receipt_invalid", detail)


def verify_receipt(
    receipt: str | None,
    keys: Receipts | Iterable[ReceiptKey] | ReceiptKey,
    *,
    proof: ProofResult | bytes | None = None,
    public_inputs: Sequence[str] | None = None,
    vk: bytes | None = None,
) -> Receipt:
    """What a receipt states. Raises :class:`ReceiptError` where it is not valid, or is of another proof.

    ``keys`` are those of the server: ``client.service().receipts``, or such that were stored before. ``proof`` is a
    result of :meth:`Client.prove`, which is compared as a whole, or the bytes of a proof; ``public_inputs`` are its
    32-byte fields as hexadecimal digits, and ``vk`` has the bytes of its verification key.
    """
    if not isinstance(receipt, str):
        raise invalid_option("receipt must be a text: a server that signs none has none")
    given = _keys(keys)
    text = receipt.strip()
    if len(text) > RECEIPT_MAX:
        raise ReceiptError(f"the receipt has more than {RECEIPT_MAX} bytes")
    parts = text.split(".")
    if len(parts) != 3:
        raise ReceiptError("the receipt is no compact JWS: three parts in base64url, with dots between them")
    header, payload, signature = (_base64url(part) for part in parts)
    key = _key_of(header, given)
    _check_signature(key, signature, f"{parts[0]}.{parts[1]}".encode())
    stated = _statements(payload)
    if not _is_time_of(key, stated.iat):
        raise ReceiptError("the receipt was signed at a time at which its key does not sign")
    _compare(stated, proof, public_inputs, vk)
    return stated


def _keys(keys: Receipts | Iterable[ReceiptKey] | ReceiptKey) -> list[ReceiptKey]:
    if isinstance(keys, ReceiptKey):
        return [keys]
    found = list(keys.keys if isinstance(keys, Receipts) else keys)[:_KEYS_MAX]
    if not all(isinstance(key, ReceiptKey) for key in found):
        raise invalid_option("keys must be those of a server, such as client.service().receipts")
    if not found:
        raise invalid_option("there is no key: the server signs no receipts")
    return found


def _key_of(header: bytes, keys: Sequence[ReceiptKey]) -> ReceiptKey:
    """The key that the header names. Further members would change how the receipt must be verified."""
    members = _object(header)
    if set(members) != {"alg", "kid", "typ"}:
        raise ReceiptError("the header of the receipt must have alg, kid and typ, and nothing else")
    if members["alg"] != _ALGORITHM:
        raise ReceiptError(f"receipts are signed with {_ALGORITHM} only")
    if members["typ"] != _TYPE:
        raise ReceiptError(f"the type of a receipt is {_TYPE}")
    for key in keys:
        if key.kty == "OKP" and key.crv == "Ed25519" and thumbprint(key.x) == members["kid"]:
            return key
    raise ReceiptError("the receipt is signed with none of the given keys")


def thumbprint(x: str) -> str:
    """The id of a public key: the thumbprint of its JWK (RFC 7638, RFC 8037)."""
    digest = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _check_signature(key: ReceiptKey, signature: bytes, signed: bytes) -> None:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        detail = "receipts are verified with the package cryptography: pip install 'edgeprove[receipts]'"
        raise EdgeproveError("package_missing", detail) from None
    try:
        public = Ed25519PublicKey.from_public_bytes(_base64url(key.x))
    except ValueError:
        raise invalid_option("x of a key must be the 32 bytes of a public key in base64url") from None
    try:
        public.verify(signature, signed)
    except InvalidSignature:
        raise ReceiptError("the signature is wrong: the receipt was changed, or another key signed it") from None


def _statements(payload: bytes) -> Receipt:
    try:
        return decode_strictly(Receipt, _object(payload))
    except DecodeError as error:
        raise ReceiptError(f"what the receipt states was not understood: {error}") from None


def _is_time_of(key: ReceiptKey, iat: int) -> bool:
    try:
        return _seconds(key.not_before) <= iat < _seconds(key.expires_at)
    except ValueError:
        raise invalid_option("the validity of a key must be two times in RFC 3339") from None


def _seconds(time: str) -> float:
    # Python 3.10 does not read a `Z`.
    moment = datetime.fromisoformat(re.sub("[Zz]$", "+00:00", time))
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return moment.timestamp()


def _compare(
    stated: Receipt, proof: ProofResult | bytes | None, public_inputs: Sequence[str] | None, vk: bytes | None
) -> None:
    if isinstance(proof, ProofResult):
        public_inputs = proof.public_inputs if public_inputs is None else public_inputs
        if (proof.circuit, proof.target, proof.vk_hash) != (stated.circuit, stated.target, stated.vk_hash):
            raise ReceiptError("the receipt is of another circuit, target or verification key")
        proof = proof.proof
    pairs = [("proof", proof, stated.proof_hash), ("verification key", vk, stated.vk_sha256)]
    if public_inputs is not None:
        pairs.append(("public inputs", _fields(public_inputs), stated.public_inputs_hash))
    for what, content, expected in pairs:
        if content is not None and f"0x{hashlib.sha256(content).hexdigest()}" != expected:
            raise ReceiptError(f"the receipt is of another proof: the digest of the {what} differs")


def _fields(values: Sequence[str]) -> bytes:
    if not all(isinstance(value, str) and re.fullmatch("0x[0-9a-fA-F]{64}", value) for value in values):
        raise invalid_option("public inputs must be 32-byte fields as hexadecimal digits after 0x")
    return b"".join(bytes.fromhex(value[2:]) for value in values)


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ReceiptError("a part of the receipt is no JSON object")
    return value


def _base64url(text: str) -> bytes:
    if not re.fullmatch("[A-Za-z0-9_-]*", text):
        raise ReceiptError("a part of the receipt is no base64url")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise ReceiptError("a part of the receipt is no base64url") from None
