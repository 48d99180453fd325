"""The client: one object for everything that a back end does with proofs."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal

import httpx

from .. import _requests as requests
from .._body import Body, Witness
from .._errors import EdgeproveError, invalid_option
from .._inputs import Inputs
from .._options import Retry, settings_of
from .._requests import ProofOptions
from .._result import Progress, ProofResult, job_progress, result_of, throw_if_not_completed
from .._seal import SealOption
from ..wire import Health, Job, Priority, ProofAnswer, ServiceDocument, Target, Verdict
from . import _runtime as runtime
from ._circuits import AsyncCircuits
from ._http import AsyncHttp
from ._jobs import AsyncJobs
from ._vouchers import AsyncVouchers


class AsyncClient:
    """Asks one Edgeprove server for proofs.

    It opens no connection before the first call, and may be used by many tasks at once. Use it as a context manager,
    or call :meth:`aclose`.
    """

    #: Jobs of the server.
    jobs: AsyncJobs
    #: Circuits of the server.
    circuits: AsyncCircuits
    #: Vouchers for pages.
    vouchers: AsyncVouchers

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        voucher: str | None = None,
        seal: SealOption = True,
        timeout: float = 120.0,
        retry: Retry | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        """``url`` is the server or the edge, with a path where it is below one. ``voucher`` takes the place of a key.

        ``seal`` seals witnesses and inputs for the server, so that nothing on the way can read them. ``True``: where
        the server has a key; then nothing is ever sent in the clear. ``"required"``: always; a server without a key is
        refused. ``False``: never. It needs ``edgeprove[seal]``.

        ``timeout`` is the longest time that the server may take for one call, with uploads, waits and repetitions, in
        seconds; after it the job is cancelled. ``http_client`` sends the requests, for example over a proxy or with
        certificates of your own; it is not closed with this client. Raises ``invalid_option``.
        """
        self._settings = settings_of(url, api_key, voucher, seal, timeout, retry)
        self._http = AsyncHttp(self._settings, http_client)
        self.circuits = AsyncCircuits(self._http)
        self.jobs = AsyncJobs(self._http, self.circuits)
        self.vouchers = AsyncVouchers(self._http)
        #: Whether the server refused a job because it has none: then later calls do not ask again.
        self._has_no_jobs = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.base!r})"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def prove(
        self,
        circuit: str,
        inputs: Inputs | None = None,
        *,
        witness: Witness | None = None,
        on_progress: Callable[[Progress], Awaitable[object] | object] | None = None,
        priority: Priority | None = None,
        target: Target | None = None,
        deadline: float | None = None,
        idempotency_key: str | None = None,
        delivery: Literal["job", "direct"] = "job",
    ) -> ProofResult:
        """Proves a circuit for inputs, of which the server computes the witness, or for a compressed witness.

        ``deadline`` is the number of seconds from now after which the proof is of no use. The same ``idempotency_key``
        with the same request is the same job, however often it is sent. ``delivery`` is ``job``: a job, whose progress
        is shown, and which survives a lost connection and a restart of the server; or ``direct``: one request, which is
        the fastest way for a small circuit. A server without jobs always proves directly.

        An interruption (``KeyboardInterrupt``, the cancellation of a task, an error of ``on_progress``) and ``timeout``
        cancel the job. Raises :class:`EdgeproveError`.
        """
        if delivery not in ("job", "direct"):
            raise invalid_option("delivery must be 'job' or 'direct'")
        started = time.monotonic()
        until = self._http.long_deadline()
        options = ProofOptions(priority, target, deadline, idempotency_key or str(uuid.uuid4()))
        body = await self.circuits.proof_body(circuit, inputs, witness)
        if on_progress is not None:
            await runtime.call(on_progress, Progress("upload", 0.0))
        if delivery == "job" and not self._has_no_jobs:
            job = await self._submit(circuit, body, options, until)
            if job is not None:
                return await self._collect(job, on_progress, until, started)
        result = await self._prove_directly(circuit, body, options, until, started)
        if on_progress is not None:
            await runtime.call(on_progress, Progress("done", 100.0))
        return result

    async def verify(
        self, proof: ProofResult, *, circuit: str | None = None, on: Literal["server", "evm"] = "server"
    ) -> bool:
        """Whether a proof is valid for its public inputs and a circuit, by default its own.

        ``server``: the server verifies, with its own key of the circuit. ``evm``: it runs the verifier contract of a
        circuit that was built, in an Ethereum virtual machine.
        """
        if on not in ("server", "evm"):
            raise invalid_option("on must be 'server' or 'evm'")
        form: object = base64.b64encode(proof.proof).decode()
        if proof.groth16 is not None:
            form = proof.groth16.proof_json()
        call = requests.verify_proof(
            circuit or proof.circuit,
            form,
            proof.public_inputs,
            proof.target,
            "evm" if on == "evm" else None,
            self._http.long_deadline(),
        )
        return (await self._http.send(call)).decode(Verdict).valid

    async def health(self) -> Health:
        """The state of the server. An unhealthy server is an answer too, not an error."""
        answer = await self._http.send(requests.get_health())
        if answer.is_problem:
            raise answer.failure()
        return answer.decode(Health)

    async def service(self) -> ServiceDocument:
        """Versions, limits and keys of the server. ``receipts`` has the keys of :func:`edgeprove.verify_receipt`."""
        return await self._http.service()

    async def warm(self, circuit: str | None = None) -> Health:
        """Wakes a server that sleeps, and lets it load a circuit, before a proof is needed."""
        health = await self.health()
        if circuit is not None:
            await self.circuits.vk(circuit)
        return health

    async def _submit(self, circuit: str, body: Body, options: ProofOptions, until: float) -> Job | None:
        """Submits; ``None`` where the server has no jobs."""
        try:
            return await self.jobs.submit_body(circuit, body, options, until)
        except EdgeproveError as error:
            if error.code != "jobs_disabled" or not body.is_repeatable:
                raise
        except BaseException:
            await self.jobs.abandon_submission(circuit, body, options)
            raise
        self._has_no_jobs = True
        return None

    async def _collect(
        self,
        job: Job,
        on_progress: Callable[[Progress], Awaitable[object] | object] | None,
        until: float,
        started: float,
    ) -> ProofResult:
        """Waits for a job, and cancels it where its caller does not wait any more."""
        try:
            if on_progress is not None:
                await runtime.call(on_progress, job_progress(job))
            if not job.is_finished:
                job = await self.jobs.follow_until(job, until, on_progress)
        except BaseException:
            await self.jobs.abandon(job.id)
            raise
        throw_if_not_completed(job)
        answer = await self._http.send(requests.get_proof(job.id))
        return result_of(answer.decode(ProofAnswer), started, job.id)

    async def _prove_directly(
        self, circuit: str, body: Body, options: ProofOptions, until: float, started: float
    ) -> ProofResult:
        """One request. The server stops proving when its connection is closed."""
        try:
            answer = await self._http.send(requests.prove_directly(circuit, body, options, until))
        except EdgeproveError as error:
            self.circuits.forget_after(circuit, error)
            raise
        return result_of(answer.decode(ProofAnswer), started)
