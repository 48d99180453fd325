"""The words of the HTTP API that several documents have. ``wire.py`` offers them."""

from __future__ import annotations

from typing import Literal, TypeAlias

#: For which verifier a proof is: bb, bb.js and Noir; a Solidity verifier of bb; snarkjs and its Solidity verifier.
Target: TypeAlias = Literal["noir-recursive", "evm", "groth16"]
#: How urgent a proof is. The key of a caller determines the allowed ones.
Priority: TypeAlias = Literal["LOW", "NORMAL", "HIGH", "CRITICAL"]
#: The state of a job. The last four are final.
JobStatus: TypeAlias = Literal["queued", "running", "completed", "failed", "cancelled", "expired"]
#: The state of a circuit.
CircuitStatus: TypeAlias = Literal["pending", "loading", "ready", "failed"]
#: The language of a circuit.
Language: TypeAlias = Literal["noir", "circom"]
