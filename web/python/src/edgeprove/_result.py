"""The result of a call that proves, and how far it is."""

from __future__ import annotations

import base64
import binascii
import re
import time
from dataclasses import dataclass, field
from typing import Any

from ._errors import EdgeproveError, bad_answer, invalid_option
from .wire import Cost, Groth16Proof, Job, ProofAnswer, ServerTimings, Target

#: The number of bytes of a field element.
_FIELD = 32
#: The order of the scalar field is below 2^254, and the words of a contract are below 2^256.
_WORD_MAX = 1 << 256


@dataclass(frozen=True)
class Groth16:
    """A proof of Groth16 in the forms of snarkjs."""

    proof: Groth16Proof
    public_signals: list[str]

    def proof_json(self) -> dict[str, Any]:
        """The content of ``proof.json``."""
        return dict(vars(self.proof))


@dataclass(frozen=True)
class Timings:
    """Durations."""

    #: The whole call, in milliseconds.
    total_ms: float
    #: At the server.
    server: ServerTimings


@dataclass(frozen=True)
class ProofResult:
    """A proof, and how it was made."""

    #: The bytes of the proof: 32-byte fields, without the public inputs.
    proof: bytes = field(repr=False)
    #: 32-byte fields as hexadecimal digits after ``0x``.
    public_inputs: list[str]
    target: Target
    #: The hash of the verification key. A verifier compares it with the one that it trusts.
    vk_hash: str
    #: SHA-256 of the proof.
    proof_hash: str
    #: The circuit that was proved.
    circuit: str
    #: Whether the server verified it before it answered.
    verified: bool
    #: Whether it came from the server's cache of proofs.
    cached: bool
    #: The id of the request in the log of the server.
    request_id: str
    timings: Timings
    #: What it has taken at the server: zero for a cached proof.
    cost: Cost
    #: The requested circuit, where the server proved a smaller one of its family.
    fallback_from: str | None = None
    #: The job, where there was one.
    job_id: str | None = None
    #: The call of its verifier contract, for the targets ``evm`` and ``groth16``: hexadecimal digits after ``0x``.
    calldata: str | None = field(default=None, repr=False)
    #: What the server states of the proof, signed by it: see :func:`edgeprove.verify_receipt`.
    receipt: str | None = field(default=None, repr=False)
    #: For circuits of circom.
    groth16: Groth16 | None = field(default=None, repr=False)

    def proof_fields(self) -> list[str]:
        """The proof as field elements, as a Noir program takes it that verifies proofs."""
        return ["0x" + self.proof[at : at + _FIELD].hex() for at in range(0, len(self.proof), _FIELD)]

    def contract_arguments(self) -> tuple[Any, ...]:
        """The arguments of the verifier contract, as web3.py takes them.

        Raises ``invalid_option`` for a proof of the target ``noir-recursive``, which no contract verifies.
        """
        if self.target == "evm":
            return (self.proof, [bytes.fromhex(value[2:]) for value in self.public_inputs])
        if self.target == "groth16":
            w = [int.from_bytes(self.proof[at : at + _FIELD], "big") for at in range(0, len(self.proof), _FIELD)]
            if len(w) != 8:
                raise invalid_option("a proof of Groth16 has 256 bytes")
            signals = [int(value, 16) for value in self.public_inputs]
            return ([w[0], w[1]], [[w[2], w[3]], [w[4], w[5]]], [w[6], w[7]], signals)
        raise invalid_option(f"no contract verifies a proof of the target {self.target}: prove with target='evm'")


@dataclass(frozen=True)
class Progress:
    """How far a call is."""

    #: ``upload``, ``queued``, ``loading``, ``proving``, ``verifying`` or ``done``.
    stage: str
    #: How much of the proof is done, in percent. It falls when another attempt starts.
    percent: float
    #: Expected time until the proof, in milliseconds; ``None`` where nothing is known.
    remaining_ms: float | None = None
    #: The position in the queue of the server, 1 for the next job; ``None`` outside of the queue.
    queue_position: int | None = None
    #: The job at the server, once there is one.
    job_id: str | None = None


@dataclass(frozen=True)
class JobEvent:
    """An event of a job."""

    #: Where a stream that is opened later continues.
    id: str
    job: Job
    #: Whether the job has finished: then it is the last event.
    is_last: bool


@dataclass(frozen=True)
class VerificationKey:
    """A verification key."""

    #: The file ``vk`` of bb; of a circom circuit ``verification_key.json``.
    content: bytes = field(repr=False)
    #: Its hash, as in ``vk_hash`` of a proof.
    hash: str


def job_progress(job: Job) -> Progress:
    """The progress that the document of a job shows."""
    return Progress(job.stage, job.progress, job.estimated_remaining_ms, job.queue_position, job.id)


def result_of(answer: ProofAnswer, started: float, job_id: str | None = None) -> ProofResult:
    """The result that an answer of the server describes. Raises ``bad_answer`` where it is none."""
    groth16 = None
    try:
        if isinstance(answer.proof, str):
            proof = base64.b64decode(answer.proof, validate=True)
        else:
            proof = _groth16_bytes(answer.proof)
            groth16 = Groth16(answer.proof, answer.public_signals or [])
        if not proof or not all(re.fullmatch("0x[0-9a-fA-F]{64}", value) for value in answer.public_inputs):
            raise ValueError("no fields")
    except (ValueError, IndexError, binascii.Error):
        raise bad_answer("the answer of the server has no proof", request_id=answer.request_id) from None
    return ProofResult(
        proof=proof,
        public_inputs=answer.public_inputs,
        target=answer.target,
        vk_hash=answer.vk_hash,
        proof_hash=answer.proof_hash,
        circuit=answer.circuit,
        verified=answer.verified,
        cached=answer.cached,
        request_id=answer.request_id,
        timings=Timings((time.monotonic() - started) * 1000, answer.timings),
        cost=answer.cost,
        fallback_from=answer.fallback_from,
        job_id=job_id,
        calldata=answer.calldata,
        receipt=answer.receipt,
        groth16=groth16,
    )


def throw_if_not_completed(job: Job) -> None:
    """Raises the problem of a job that has finished without a proof."""
    from ._answers import error_of

    if job.status == "completed":
        return
    if job.error is not None:
        raise error_of(job.error)
    code = "job_expired" if job.status == "expired" else "job_cancelled"
    raise EdgeproveError(code, f"the job is {job.status}", status=410)


def _groth16_bytes(proof: Groth16Proof) -> bytes:
    # A contract has the two parts of each coordinate of `pi_b` in the other order.
    a, b, c = proof.pi_a, proof.pi_b, proof.pi_c
    words = [_word(text) for text in (a[0], a[1], b[0][1], b[0][0], b[1][1], b[1][0], c[0], c[1])]
    return b"".join(word.to_bytes(_FIELD, "big") for word in words)


def _word(text: str) -> int:
    # Python refuses, slowly, texts with thousands of digits.
    if not re.fullmatch("[0-9]{1,78}", text) or int(text) >= _WORD_MAX:
        raise ValueError("no word")
    return int(text)
