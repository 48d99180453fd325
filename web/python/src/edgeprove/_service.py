"""What a service publishes at ``/.well-known/edgeprove``, and its receipts. ``wire.py`` offers these types."""

from __future__ import annotations

from dataclasses import dataclass

from ._terms import Target


@dataclass(frozen=True)
class ServiceVersions:
    """The releases that a server has."""

    edgeprove: str
    bb: str
    noir: str


@dataclass(frozen=True)
class ServiceLimits:
    """The limits of a server."""

    upload_max_bytes: int
    decompressed_max_bytes: int
    inputs_max_bytes: int
    prove_timeout_ms: int
    request_timeout_ms: int
    job_attempts_max: int


@dataclass(frozen=True)
class HpkeSuite:
    """The algorithms of HPKE (RFC 9180), by the numbers of IANA."""

    kem: int
    kdf: int
    aead: int


@dataclass(frozen=True)
class Attestation:
    """Evidence of the program that has a private key."""

    kind: str


@dataclass(frozen=True)
class SealingKey:
    """A public key for which a client may seal. Times are RFC 3339 in UTC."""

    #: 16 hexadecimal digits.
    id: str
    suite: HpkeSuite
    #: Base64.
    public_key: str
    not_before: str
    #: The server refuses the key from then on.
    expires_at: str
    attestation: Attestation


@dataclass(frozen=True)
class Sealing:
    """The keys for which a client may seal, the best one first."""

    keys: list[SealingKey]


@dataclass(frozen=True)
class ReceiptKey:
    """A public key of receipts: a JWK of Ed25519 (RFC 8037). Times are RFC 3339 in UTC."""

    kty: str
    crv: str
    #: The bytes of the key in base64url.
    x: str
    #: Its thumbprint (RFC 7638).
    kid: str
    alg: str
    use: str
    not_before: str
    #: It signs no more from then on. What it signed before remains valid.
    expires_at: str


@dataclass(frozen=True)
class Receipts:
    """The keys with which receipts are verified, the one that signs now first."""

    keys: list[ReceiptKey]
    #: Whether they outlive the server.
    lasting: bool


@dataclass(frozen=True)
class ServiceDocument:
    """What a client needs to know of a service before its first request."""

    versions: ServiceVersions
    limits: ServiceLimits
    sealing: Sealing
    receipts: Receipts
    #: The time at the server, RFC 3339 in UTC.
    timestamp: str


@dataclass(frozen=True)
class ReceiptProgram:
    """The program that made a proof: ``bb`` or ``groth16``."""

    name: str
    version: str


@dataclass(frozen=True)
class ReceiptServer:
    """The server that signed a receipt."""

    #: New with each start: the end of the server's name in its audit log.
    id: str
    version: str


@dataclass(frozen=True)
class Receipt:
    """What a server states of one proof: docs/RECEIPTS.md."""

    #: When it was signed, in seconds since 1970.
    iat: int
    request_id: str
    circuit: str
    proof_system: str
    target: Target
    vk_hash: str
    #: SHA-256 of the bytes of the verification key.
    vk_sha256: str
    backend: ReceiptProgram
    proof_hash: str
    #: SHA-256 of the public inputs, as 32-byte fields one after the other.
    public_inputs_hash: str
    verified: bool
    cached: bool
    accepted_at: str
    started_at: str
    finished_at: str
    #: Whether the witness or the inputs came sealed.
    sealed: bool
    #: Whether the server observed that it wiped the witness in its spool.
    spool_wiped: bool
    server: ReceiptServer
    fallback_from: str | None = None
    #: The last entry of the audit log: its number, a colon and its hash.
    audit_head: str | None = None
