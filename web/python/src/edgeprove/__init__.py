"""Zero-knowledge proofs for back ends, made by an Edgeprove server.

``Client`` is for threads and ``AsyncClient`` for asyncio; both have the same methods. Read ``_async/_client.py`` first;
then ``_async/_jobs.py`` and ``_async/_http.py``. The modules beside them do no I/O.
"""

from . import receipts, webhooks, wire
from ._async._circuits import AsyncCircuits
from ._async._client import AsyncClient
from ._async._jobs import AsyncJobs
from ._async._vouchers import AsyncVouchers
from ._body import File, Witness
from ._errors import CLIENT_ERROR_CODES, EdgeproveError
from ._inputs import Inputs, InputValue
from ._options import Retry
from ._result import Groth16, JobEvent, Progress, ProofResult, Timings, VerificationKey
from ._seal import SealOption
from ._sync._circuits import Circuits
from ._sync._client import Client
from ._sync._jobs import Jobs
from ._sync._vouchers import Vouchers
from ._version import VERSION as __version__
from .receipts import ReceiptError, verify_receipt

__all__ = [
    "CLIENT_ERROR_CODES",
    "AsyncCircuits",
    "AsyncClient",
    "AsyncJobs",
    "AsyncVouchers",
    "Circuits",
    "Client",
    "EdgeproveError",
    "File",
    "Groth16",
    "InputValue",
    "Inputs",
    "JobEvent",
    "Jobs",
    "Progress",
    "ProofResult",
    "ReceiptError",
    "Retry",
    "SealOption",
    "Timings",
    "VerificationKey",
    "Vouchers",
    "Witness",
    "__version__",
    "receipts",
    "verify_receipt",
    "webhooks",
    "wire",
]
