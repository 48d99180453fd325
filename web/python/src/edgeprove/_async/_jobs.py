"""Jobs: proofs that outlive the request that asked for them."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from .. import _requests as requests
from .._body import Body, Witness
from .._call import deadline_in, time_left
from .._errors import EdgeproveError, bad_answer, timeout_error
from .._inputs import Inputs
from .._requests import ProofOptions
from .._result import JobEvent, Progress, ProofResult, job_progress, result_of
from ..wire import Calldata, Job, JobPage, JobStatus, Priority, ProofAnswer, Target
from . import _runtime as runtime
from ._circuits import AsyncCircuits
from ._http import AsyncHttp


class AsyncJobs:
    """Jobs of a server: ``client.jobs``."""

    def __init__(self, http: AsyncHttp, circuits: AsyncCircuits) -> None:
        self._http = http
        self._circuits = circuits

    async def submit(
        self,
        circuit: str,
        inputs: Inputs | None = None,
        *,
        witness: Witness | None = None,
        priority: Priority | None = None,
        target: Target | None = None,
        deadline: float | None = None,
        idempotency_key: str | None = None,
        callback_url: str | None = None,
    ) -> Job:
        """Submits a job, and returns it once it is stored. The job goes on without its caller.

        The arguments are as for ``client.prove``. With ``callback_url`` a webhook is sent there when the job has
        finished: ``edgeprove.webhooks`` verifies it. Raises ``jobs_disabled`` where the server has no jobs.
        """
        until = self._http.long_deadline()
        key = idempotency_key or str(uuid.uuid4())
        options = ProofOptions(priority, target, deadline, key, callback_url)
        body = await self._circuits.proof_body(circuit, inputs, witness)
        return await self.submit_body(circuit, body, options, until)

    async def submit_body(self, circuit: str, body: Body, options: ProofOptions, until: float) -> Job:
        """Submits what ``client.prove`` sends."""
        try:
            answer = await self._http.send(requests.submit_job(circuit, body, options, until))
        except EdgeproveError as error:
            self._circuits.forget_after(circuit, error)
            raise
        return answer.decode(Job)

    async def get(self, job_id: str) -> Job:
        """The job now. Raises ``job_not_found``, also for the job of another key."""
        return (await self._http.send(requests.get_job(job_id))).decode(Job)

    async def cancel(self, job_id: str) -> Job:
        """Cancels the job. It may run for a moment after that. Raises ``job_already_finished``."""
        return (await self._http.send(requests.cancel_job(job_id))).decode(Job)

    async def list(
        self,
        *,
        status: JobStatus | None = None,
        circuit: str | None = None,
        limit: int | None = None,
        owner: str | None = None,
        after: str | None = None,
    ) -> JobPage:
        """A page of the jobs of the API key, the latest first. ``next`` of a page is ``after`` of the following one.

        Raises ``api_key_required`` without a key.
        """
        return (await self._http.send(requests.list_jobs(status, circuit, limit, owner, after))).decode(JobPage)

    async def proof(self, job_id: str) -> ProofResult:
        """The proof. Raises ``proof_not_ready``, or the problem of a job that failed."""
        started = time.monotonic()
        answer = await self._http.send(requests.get_proof(job_id))
        return result_of(answer.decode(ProofAnswer), started, job_id)

    async def calldata(self, job_id: str) -> Calldata:
        """The call that verifies the proof in its contract, for the targets ``evm`` and ``groth16``."""
        return (await self._http.send(requests.get_calldata(job_id))).decode(Calldata)

    async def follow(
        self,
        job: str | Job,
        *,
        on_progress: Callable[[Progress], Awaitable[object] | object] | None = None,
        last_event_id: str | None = None,
    ) -> Job:
        """Follows a job until it has finished, for at most ``timeout`` of the client, and returns its last document.

        ``job`` is as for :meth:`events`. An interruption does not cancel the job.
        """
        return await self.follow_until(job, self._http.long_deadline(), on_progress, last_event_id)

    async def follow_until(
        self,
        job: str | Job,
        until: float,
        on_progress: Callable[[Progress], Awaitable[object] | object] | None = None,
        last_event_id: str | None = None,
    ) -> Job:
        """As :meth:`follow`, until a time."""
        async with aclosing(self._events(job, last_event_id, until)) as events:
            async for event in events:
                if on_progress is not None:
                    await runtime.call(on_progress, job_progress(event.job))
                if event.is_last:
                    return event.job
        raise bad_answer("the stream of events ended without the last event")

    async def events(self, job: str | Job, *, last_event_id: str | None = None) -> AsyncGenerator[JobEvent, None]:
        """The events of a job until it has finished, also over lost connections.

        Each stream continues where the last one ended. ``job`` is a job, its id, or the path in ``links.events``; with
        the token of that path no key is needed. Raises ``unreachable`` after as many failed connections in a row as
        there are attempts, and the server's problem.
        """
        async with aclosing(self._events(job, last_event_id, math.inf)) as events:
            async for event in events:
                yield event

    async def _events(self, job: str | Job, last_event_id: str | None, until: float) -> AsyncGenerator[JobEvent, None]:
        where = requests.events_path(job)
        retry = self._http.settings.retry
        last = last_event_id
        failures = 0
        while True:
            try:
                query = {"token": where.token, "last_event_id": last}
                stream = self._http.events(where.path, query, until, requests.SILENCE)
                async with aclosing(stream) as events:
                    async for event in events:
                        failures = 0
                        if event is None:
                            # The last event was seen before.
                            now = (await self._http.send(where.job())).decode(Job)
                            yield JobEvent(last or "", now, is_last=True)
                            return
                        last = event.id
                        found = JobEvent(event.id, requests.job_of_event(event.data), event.name == "done")
                        yield found
                        if found.is_last:
                            return
                failure = EdgeproveError("unreachable", "the stream of events ended before the job", retryable=True)
            except EdgeproveError as error:
                if not error.retryable:
                    raise
                failure = error
            if time_left(until) == 0:
                raise timeout_error("following the job")
            failures += 1
            delay = retry.delay_after(failure, failures)
            if failures >= retry.attempts or delay is None:
                raise failure
            if failure.retry_after is None:
                delay = min(delay, requests.RECONNECT_MAX)
            if delay >= time_left(until):
                raise timeout_error("following the job")
            await runtime.sleep(delay)

    async def abandon(self, job_id: str) -> None:
        """Cancels a job for which nobody waits. A failure changes nothing: the job may have finished."""
        with runtime.clean_up(requests.CANCEL), suppress(EdgeproveError):
            await self._http.send_once(requests.cancel_job(job_id), deadline_in(requests.CANCEL))

    async def abandon_submission(self, circuit: str, body: Body, options: ProofOptions) -> None:
        """Cancels the job of a submission that was interrupted, if the server has stored it.

        The same request with the same key has its id. Nothing is sent twice where the body cannot be sent again.
        """
        if not body.is_repeatable:
            return
        with runtime.clean_up(requests.CANCEL), suppress(EdgeproveError):
            until = deadline_in(requests.CANCEL)
            answer = await self._http.send_once(requests.submit_job(circuit, body, options, until), until)
            await self._http.send_once(requests.cancel_job(answer.decode(Job).id), until)
