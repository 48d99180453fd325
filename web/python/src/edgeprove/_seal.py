"""Seals what a request sends, by HPKE (RFC 9180). docs/SEALING.md describes the format.

HPKE in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. ``cryptography`` has X25519 and AES-GCM; its
own HPKE seals one message, and not a stream of chunks. It is imported when it is needed: it is optional.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from ._body import Body
from ._errors import EdgeproveError, bad_answer, invalid_option
from .wire import SealingKey, ServiceDocument

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: Whether witnesses and inputs are sealed for the server, so that nothing on the way can read them. ``True``: where the
#: server has a key; then nothing is ever sent in the clear. ``"required"``: always. ``False``: never.
SealOption: TypeAlias = "bool | Literal['required']"

#: How often a request is sealed again because the server refused the key, the time or a repetition.
RESEALS_MAX = 2
#: Codes with which a server refuses what was sealed for an old key, at a wrong time, or has arrived before.
SEAL_AGAIN = frozenset(("sealing_key_unknown", "sealed_at_wrong_time", "sealed_body_replayed"))

#: How long an answer about keys is used, in seconds. A key may last longer, and a server may get a new one.
_REMEMBERED = 600.0
#: How long before its end a key is not used any more, in seconds.
_MARGIN = 60.0

#: The plaintext of every chunk but the last, in bytes.
_CHUNK = 64 * 1024
_LENGTH, _TAG = 4, 16
_KEM, _KDF, _AEAD = 0x0020, 0x0001, 0x0002
#: In the length of the last chunk.
_LAST = 1 << 31


@dataclass(frozen=True)
class Binding:
    """The parts of a request that a sealed body belongs to, beside its media type and the key or the voucher."""

    #: The circuit that the request names; empty if it names none.
    circuit: str
    #: The target in the query; empty if it has none.
    target: str


@dataclass(frozen=True)
class KnownKeys:
    """The keys of a server, and its clock."""

    keys: tuple[SealingKey, ...]
    #: The time at the server, in seconds since 1970, when ``time.monotonic()`` was ``at``.
    server_time: float
    at: float
    #: When the first of them ends, in seconds since 1970.
    end: float

    def is_fresh(self) -> bool:
        """Whether they can be used without another look.

        A server that had none may have some now, and then nothing may be sent in the clear.
        """
        passed = time.monotonic() - self.at
        return bool(self.keys) and passed < _REMEMBERED and self.server_time + passed + _MARGIN < self.end


def no_keys() -> KnownKeys:
    """The keys of a server that opens nothing that is sealed."""
    return KnownKeys((), 0.0, time.monotonic(), 0.0)


def keys_of(service: ServiceDocument) -> KnownKeys:
    """The keys in a server's description of itself. Raises ``bad_answer``."""
    keys = tuple(service.sealing.keys)
    end = min((_seconds(key.expires_at) for key in keys), default=0.0)
    return KnownKeys(keys, _seconds(service.timestamp), time.monotonic(), end)


def checked_option(seal: object) -> SealOption:
    """The option of the caller. Raises ``invalid_option``."""
    if seal is True or seal is False or seal == "required":
        return "required" if seal == "required" else bool(seal)
    raise invalid_option("seal must be True, False or 'required'")


def sealed_body(known: KnownKeys, option: SealOption, binding: Binding, token: str | None, body: Body) -> Body:
    """What is sent: sealed where the server has a key. Raises ``sealing_unavailable``; then nothing was sent."""
    if not known.keys:
        if option == "required":
            raise _unavailable("the server has no key for which something could be sealed")
        return body
    key = next((key for key in known.keys if _is_usable(key)), None)
    if key is None:
        raise _unavailable("the server has no key of a suite that this package knows: update it")
    now = known.server_time + time.monotonic() - known.at
    return seal(key, binding, token, round(now * 1000), body)


def seal(
    key: SealingKey,
    binding: Binding,
    token: str | None,
    time_ms: int,
    body: Body,
    ephemeral: X25519PrivateKey | None = None,
) -> Body:
    """Seals a body for a key, at a time in milliseconds since 1970. Tests give the ephemeral key."""
    try:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise _unavailable(
            "the server wants sealed witnesses, and the package cryptography is missing: "
            "pip install 'edgeprove[seal]', or give seal=False to send them in the clear"
        ) from None
    head = struct.pack(">4sB3H8sQ", b"EPSB", 1, _KEM, _KDF, _AEAD, bytes.fromhex(key.id), time_ms)
    ours = X25519PrivateKey.generate() if ephemeral is None else ephemeral
    encapsulated = ours.public_key().public_bytes_raw()
    try:
        public = base64.b64decode(key.public_key, validate=True)
        # A key of small order, such as one of zeros, is refused here.
        shared = ours.exchange(X25519PublicKey.from_public_bytes(public))
    except (ValueError, binascii.Error):
        raise _unavailable("nothing can be sealed for the key of the server: it is not valid") from None
    info = _info(head, binding, body.content_type, token)
    secret, nonce = _key_schedule(shared, encapsulated + public, info)
    content = f'application/vnd.edgeprove.sealed; content="{body.content_type}"'
    return Body(content, (_Sealed(head + encapsulated, AESGCM(secret), nonce, body),))


class _Sealed:
    """The bytes of a sealed body. They are the same however often they are read: the server accepts them once."""

    def __init__(self, head: bytes, cipher: AESGCM, nonce: bytes, body: Body) -> None:
        self._head = head
        self._cipher = cipher
        self._nonce = int.from_bytes(nonce, "big")
        self._body = body

    @property
    def length(self) -> int | None:
        plain = self._body.length
        if plain is None:
            return None
        return len(self._head) + plain + max(1, -(-plain // _CHUNK)) * (_LENGTH + _TAG)

    @property
    def is_repeatable(self) -> bool:
        return self._body.is_repeatable

    def pieces(self) -> Iterator[bytes]:
        # Small bodies are one piece, which is one packet.
        head = self._head
        pending = bytearray()
        index = 0
        for piece in self._body.pieces():
            pending += piece
            # The last chunk is known only at the end.
            while len(pending) > _CHUNK:
                yield head + self._chunk(index, bytes(pending[:_CHUNK]), 0)
                head = b""
                del pending[:_CHUNK]
                index += 1
        yield head + self._chunk(index, bytes(pending), 1)

    def _chunk(self, index: int, plain: bytes, is_last: int) -> bytes:
        nonce = (self._nonce ^ index).to_bytes(12, "big")
        ciphertext = self._cipher.encrypt(nonce, plain, struct.pack(">QB", index, is_last))
        return struct.pack(">I", len(ciphertext) | (_LAST if is_last else 0)) + ciphertext


def _info(head: bytes, binding: Binding, content: str, token: str | None) -> bytes:
    credential = b"" if token is None else hashlib.sha256(token.encode()).digest()
    parts = (content.encode(), binding.circuit.encode(), binding.target.encode(), credential)
    return b"edgeprove sealed body v1" + head + b"".join(struct.pack(">H", len(part)) + part for part in parts)


def _key_schedule(dh: bytes, kem_context: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and first nonce of the AEAD, by sections 4.1 and 5.1 of RFC 9180."""
    kem = b"KEM" + struct.pack(">H", _KEM)
    shared = _expand(kem, _extract(kem, b"", b"eae_prk", dh), b"shared_secret", kem_context, 32)
    suite = b"HPKE" + struct.pack(">3H", _KEM, _KDF, _AEAD)
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, shared, b"secret", b"")
    return _expand(suite, secret, b"key", context, 32), _expand(suite, secret, b"base_nonce", context, 12)


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(suite: bytes, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    # At most 32 bytes, which are one block of HKDF.
    labelled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    return hmac.digest(secret, labelled + b"\1", "sha256")[:length]


def _is_usable(key: SealingKey) -> bool:
    suite = key.suite
    return (suite.kem, suite.kdf, suite.aead) == (_KEM, _KDF, _AEAD) and bool(re.fullmatch("[0-9a-f]{16}", key.id))


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text)).timestamp()
    except ValueError:
        raise bad_answer("a time of the server is none") from None


def _unavailable(detail: str) -> EdgeproveError:
    return EdgeproveError("sealing_unavailable", f"{detail}; nothing was sent")
