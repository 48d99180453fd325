"""The requests of the API: what each one sends, and where."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ._answers import DOCUMENT_MAX, FILE_MAX, KEY_MAX, LIST_MAX, PROOF_MAX
from ._body import Body, File, checked_header, form_body, json_body
from ._call import Call
from ._errors import bad_answer, invalid_option
from ._options import segment
from ._seal import Binding
from .wire import Job, JobStatus, Priority, Target

#: A stream that sends nothing for this long is lost, in seconds. The server sends a comment every 15 s.
SILENCE = 45.0
#: Longest pause before a stream is opened again, in seconds.
RECONNECT_MAX = 5.0
#: How long an interrupted call may take to cancel its job, in seconds.
CANCEL = 5.0
#: First and longest pause between two looks at a circuit that is being built, in seconds.
LOOK = (0.25, 3.0)


@dataclass(frozen=True)
class ProofOptions:
    """How a proof is made."""

    priority: Priority | None = None
    target: Target | None = None
    deadline: float | None = None
    idempotency_key: str | None = None
    callback_url: str | None = None

    def __post_init__(self) -> None:
        # Before anything is sent, also where the inputs of the circuit must be looked up first.
        self.headers()

    def headers(self) -> dict[str, str | None]:
        """The headers of a request for a proof. Raises ``invalid_option``."""
        if self.deadline is not None and not 0 < self.deadline < math.inf:
            raise invalid_option("deadline must be a number of seconds above 0")
        key, url, priority = self.idempotency_key, self.callback_url, self.priority
        if key is not None:
            what = "1 to 255 printable ASCII characters without a comma"
            checked_header("idempotency_key", key, r"[ -+\--~]{1,255}", what)
        if priority is not None:
            checked_header("priority", priority, "[A-Z]{1,16}", "'LOW', 'NORMAL', 'HIGH' or 'CRITICAL'")
        return {
            "x-priority": priority,
            "x-deadline": None if self.deadline is None else f"{self.deadline:.3f}",
            "idempotency-key": key,
            "x-callback-url": None if url is None else callback_header(url),
        }


def callback_header(url: str) -> str:
    """The value of ``X-Callback-Url``."""
    return checked_header("callback_url", url, "[!-~]{1,4096}", "a URL of printable ASCII characters")


def submit_job(circuit: str, body: Body, options: ProofOptions, deadline: float) -> Call:
    """Stores a job."""
    segment(circuit)
    query = {"circuit": circuit, "target": options.target}
    return Call(
        "POST",
        "/v1/proofs",
        DOCUMENT_MAX,
        query=query,
        headers=options.headers(),
        body=body,
        binding=Binding(circuit, options.target or ""),
        deadline=deadline,
    )


def prove_directly(circuit: str, body: Body, options: ProofOptions, deadline: float) -> Call:
    """Proves while the caller waits."""
    headers = {**options.headers(), "accept": "application/json", "idempotency-key": None}
    query = {"target": options.target}
    path = f"/api/prove/{segment(circuit)}"
    binding = Binding(circuit, options.target or "")
    return Call("POST", path, PROOF_MAX, query=query, headers=headers, body=body, binding=binding, deadline=deadline)


def create_voucher(
    circuits: Sequence[str],
    uses: int | None,
    expires: int | None,
    origin: str | None,
    priority: Priority | None,
    subject: str | None,
) -> Call:
    """Mints a voucher."""
    wanted = {"uses": uses, "expires": expires, "origin": origin, "priority": priority, "subject": subject}
    document = {"circuit": circuits, **{name: value for name, value in wanted.items() if value is not None}}
    return Call("POST", "/v1/vouchers", DOCUMENT_MAX, body=json_body(document))


def get_service() -> Call:
    """Reads what a client needs to know before its first request."""
    return Call("GET", "/.well-known/edgeprove", DOCUMENT_MAX)


def get_job(job_id: str) -> Call:
    """Reads a job."""
    return Call("GET", f"/v1/proofs/{segment(job_id)}", DOCUMENT_MAX)


def cancel_job(job_id: str) -> Call:
    """Cancels a job."""
    return Call("DELETE", f"/v1/proofs/{segment(job_id)}", DOCUMENT_MAX)


def get_proof(job_id: str) -> Call:
    """Reads the proof of a job."""
    return Call("GET", f"/v1/proofs/{segment(job_id)}/proof", PROOF_MAX, headers={"accept": "application/json"})


def get_calldata(job_id: str) -> Call:
    """Reads the call of a verifier contract."""
    return Call("GET", f"/v1/proofs/{segment(job_id)}/calldata", PROOF_MAX)


def list_jobs(
    status: JobStatus | None, circuit: str | None, limit: int | None, owner: str | None, after: str | None
) -> Call:
    """Lists jobs."""
    if after is not None:
        return Call("GET", after, LIST_MAX)
    query = {"status": status, "circuit": circuit, "limit": limit, "owner": owner}
    return Call("GET", "/v1/proofs", LIST_MAX, query=query)


@dataclass(frozen=True)
class EventsPath:
    """Where the events of a job are, and the token of its link."""

    path: str
    token: str | None

    def job(self) -> Call:
        """Reads the job."""
        return Call("GET", self.path.removesuffix("/events"), DOCUMENT_MAX, query={"token": self.token})


def events_path(job: str | Job) -> EventsPath:
    """The path of a job's events, from its id or from the path in ``links.events``."""
    if isinstance(job, Job):
        job = job.id
    if not isinstance(job, str) or not job.startswith("/"):
        return EventsPath(f"/v1/proofs/{segment(job)}/events", None)
    try:
        link = urlsplit(job)
    except ValueError:
        raise invalid_option("a link to events is a path that begins with a slash") from None
    if link.netloc:
        raise bad_answer("a path of the server must begin with one slash")
    return EventsPath(link.path, parse_qs(link.query).get("token", [None])[0])


def job_of_event(data: str) -> Job:
    """The job in an event. Raises ``bad_answer``."""
    from ._decode import decode

    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise bad_answer("an event of the job is no JSON") from None
    return decode(Job, document)


def list_circuits(limit: int | None, after: str | None) -> Call:
    """Lists circuits."""
    if after is not None:
        return Call("GET", after, LIST_MAX)
    return Call("GET", "/v1/circuits", LIST_MAX, query={"limit": limit})


def get_circuit(circuit: str) -> Call:
    """Reads a circuit."""
    return Call("GET", f"/v1/circuits/{segment(circuit)}", LIST_MAX)


def delete_circuit(circuit: str) -> Call:
    """Removes a circuit."""
    return Call("DELETE", f"/v1/circuits/{segment(circuit)}", DOCUMENT_MAX)


def get_vk(circuit: str, target: Target | None) -> Call:
    """Reads a verification key."""
    return Call("GET", f"/v1/circuits/{segment(circuit)}/vk", KEY_MAX, query={"target": target})


def get_artifact(circuit: str, name: str, deadline: float) -> Call:
    """Reads a file of a circuit."""
    path = f"/v1/circuits/{segment(circuit)}/artifacts/{segment(name)}"
    return Call("GET", path, FILE_MAX, deadline=deadline)


def list_templates() -> Call:
    """Lists templates."""
    return Call("GET", "/v1/templates", LIST_MAX)


def get_template(name: str) -> Call:
    """Reads a template."""
    return Call("GET", f"/v1/templates/{segment(name)}", LIST_MAX)


def request_circuit(
    template: str, params: Mapping[str, Any], language: str | None, callback_url: str | None, deadline: float
) -> Call:
    """Asks for the circuit of a template."""
    # Numbers beyond 2^53 - 1 are texts in parameters, as in inputs.
    values = {
        name: str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53 else value
        for name, value in params.items()
    }
    document = {"templateName": template, "params": values}
    if language is not None:
        document["language"] = language
    headers = {"x-callback-url": None if callback_url is None else callback_header(callback_url)}
    return Call("POST", "/v1/circuits", LIST_MAX, headers=headers, body=json_body(document), deadline=deadline)


def upload_circuit(name: str, trust: str | None, files: Mapping[str, File | None], deadline: float) -> Call:
    """Uploads a compiled circuit."""
    fields = {"name": checked_header("name", name, "[A-Za-z0-9_-]{1,39}", "1 to 39 characters of A-Z a-z 0-9 - _")}
    if trust is not None:
        fields["trust"] = checked_header("trust", trust, "[a-z]{1,16}", "'ceremony', 'local' or 'unknown'")
    given = [(part, file) for part, file in files.items() if file is not None]
    if not given:
        raise invalid_option("an upload has a program of Noir, or r1cs, wasm and zkey of circom")
    return Call("POST", "/v1/circuits", LIST_MAX, body=form_body(fields, given), deadline=deadline)


def verify_proof(
    circuit: str, proof: object, public_inputs: list[str], target: Target | None, on: str | None, deadline: float
) -> Call:
    """Verifies a proof."""
    body = json_body({"proof": proof, "publicInputs": public_inputs})
    query = {"target": target, "on": on}
    return Call("POST", f"/v1/verify/{segment(circuit)}", DOCUMENT_MAX, query=query, body=body, deadline=deadline)


def get_health() -> Call:
    """Reads the state of the server. An unhealthy server is an answer too."""
    return Call("GET", "/api/health", LIST_MAX, accepts=500)
