"""Circuits that the real server builds and that operators upload, and the documents of the whole API."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from edgeprove import EdgeproveError, Retry, wire
from edgeprove._decode import DecodeError, decode_strictly

from .support import paths
from .support.clients import Clients
from .support.faults import Faults, Request
from .support.server import Server, keys_file, sample_witness

PARAMS = {"min": 100, "max": 500}
INPUTS = {"value": 42, "min": 10, "max": 100}


@pytest.fixture(scope="module")
def builder() -> Iterator[Server]:
    flags = ["--toolchain", str(paths.TOOLCHAIN), "--builder-isolation", "process-group"]
    with Server(*flags, keys=keys_file(olga="operator")) as started:
        yield started


@pytest.fixture
def olga(clients: Clients, builder: Server) -> Any:
    return clients(builder.url, api_key="olga-key", timeout=300)


def test_a_circuit_of_circom_is_requested_built_proved_and_verified(olga: Any) -> None:
    assert olga.circuits.request("rangeCheck", PARAMS, language="circom").status in ("pending", "ready")
    circuit = olga.circuits.build("rangeCheck", PARAMS, language="circom")
    assert circuit.status == "ready" and circuit.target == "groth16" and circuit.inputs is None
    result = olga.prove(circuit.id, {"value": 123, "context": 7})
    assert result.public_inputs == [f"0x{7:064x}"] and result.groth16.public_signals == ["7"]
    assert olga.verify(result) and olga.verify(result, on="evm")
    calldata = olga.jobs.calldata(result.job_id)
    assert result.calldata == calldata.calldata
    a, b, c, signals = result.contract_arguments()
    words = [*a, *b[0], *b[1], *c, *signals]
    assert calldata.calldata[10:] == "".join(f"{word:064x}" for word in words)
    key = olga.circuits.vk(circuit.id)
    assert json.loads(key.content)["protocol"] == "groth16" and key.hash == result.vk_hash
    assert b"pragma solidity" in olga.circuits.artifact(circuit.id, "verifier.sol")
    with pytest.raises(EdgeproveError, match="witness_unsatisfied"):
        olga.prove(circuit.id, {"value": 99, "context": 7})


def test_templates_are_listed_with_what_they_need(olga: Any) -> None:
    entries = olga.circuits.templates()
    assert "rangeCheck" in [entry.name for entry in entries]
    assert olga.circuits.template("rangeCheck").sample.accepted
    with pytest.raises(EdgeproveError, match="template_not_found"):
        olga.circuits.template("nothing")


def test_an_operator_uploads_a_circuit_and_removes_it(olga: Any) -> None:
    program = paths.CIRCUITS / "range_check.json"
    sample = b'{"privateInputs":{"value":20},"publicInputs":{"min":18,"max":120}}'
    circuit = olga.circuits.upload("age", program=program, input=sample)
    assert circuit.origin == "uploaded" and circuit.uploaded.sample_proved and circuit.status == "ready"
    assert olga.circuits.upload("age", program=program.read_bytes()).id == circuit.id
    assert circuit.id in [entry.id for entry in olga.circuits.list().circuits]
    result = olga.prove(circuit.id, {"value": 30, "min": 18, "max": 120})
    assert olga.verify(result)
    assert olga.circuits.artifact(circuit.id, "circuit.json")
    removed = olga.circuits.delete(circuit.id)
    assert removed.id == circuit.id and removed.removed
    with pytest.raises(EdgeproveError, match="circuit_not_found"):
        olga.prove(circuit.id, {"value": 30, "min": 18, "max": 120})
    with pytest.raises(EdgeproveError, match="circuit_invalid"):
        olga.circuits.upload("age", program=b"{}")
    with pytest.raises(EdgeproveError, match="invalid_option"):
        olga.circuits.upload("age")
    with pytest.raises(EdgeproveError, match="cannot be read: No such file"):
        olga.circuits.upload("age", program=paths.CIRCUITS / "nothing.json")


def test_a_request_that_no_template_has_is_refused(olga: Any) -> None:
    with pytest.raises(EdgeproveError, match="invalid_request"):
        olga.circuits.build("rangeCheck", {"min": 500, "max": 100})
    with pytest.raises(EdgeproveError, match="template_not_found"):
        olga.circuits.build("nothing", {})


def test_a_build_that_fails_or_takes_too_long_ends_the_call(clients: Clients, faults: Faults) -> None:
    problem = {"code": "circuit_compilation_failed", "detail": "planted", "status": 503, "retryable": False}
    problem |= dict.fromkeys(("title", "type", "error", "message"), "x")
    circuit: dict[str, Any] = dict.fromkeys(("gates", "circuit_size", "vk_hash", "vk"))
    circuit |= {"id": "x", "status": "failed", "target": "evm", "targets": ["evm"], "origin": "built", "error": problem}
    faults.intercept = lambda request: request.document(circuit, 202)
    with pytest.raises(EdgeproveError) as caught:
        clients(faults.url).circuits.build("rangeCheck", PARAMS)
    assert caught.value.code == "circuit_compilation_failed" and caught.value.detail == "planted"
    circuit |= {"status": "pending", "error": None}
    with pytest.raises(EdgeproveError) as caught:
        clients(faults.url, timeout=0.5, retry=Retry(attempts=1)).circuits.build("rangeCheck", PARAMS)
    assert caught.value.code == "timeout" and len(faults.requests) < 20


def test_the_inputs_of_a_circuit_are_read_once_and_again_after_a_refusal(clients: Clients, builder: Server) -> None:
    with Faults(builder.url) as proxy:
        client = clients(proxy.url, api_key="olga-key")
        for _ in range(2):
            client.prove("range_check", INPUTS, delivery="direct")
        assert len(proxy.seen("GET /v1/circuits/range_check")) == 1

        def intercept(request: Request) -> bool:
            return request.command == "POST" and bool(request.read_body()) and request.problem(422, "invalid_inputs")

        proxy.intercept = intercept
        with pytest.raises(EdgeproveError, match="invalid_inputs"):
            client.prove("range_check", INPUTS, delivery="direct")
        proxy.intercept = lambda _: False
        client.prove("range_check", INPUTS, delivery="direct")
        assert len(proxy.seen("GET /v1/circuits/range_check")) == 2


def test_the_documents_of_the_server_have_the_members_of_the_types(builder: Server, server: Server) -> None:
    seen: dict[str, int] = {}

    def check(kind: type[Any], document: object) -> Any:
        seen[kind.__name__] = seen.get(kind.__name__, 0) + 1
        return decode_strictly(kind, document, refuse_unknown=True)

    headers = {"authorization": "Bearer olga-key", "accept": "application/json"}
    with httpx.Client(base_url=builder.url, headers=headers, timeout=300) as http:

        def get(path: str) -> Any:
            return http.get(path).json()

        check(wire.Health, get("/api/health"))
        check(wire.ServiceDocument, get("/.well-known/edgeprove"))
        check(wire.NewVoucher, http.post("/v1/vouchers", json={"circuit": "range_check", "subject": "user"}).json())
        for entry in check(wire.TemplateList, get("/v1/templates")).templates:
            check(wire.Template, get(entry.template))
        request = {"templateName": "rangeCheck", "language": "circom", "params": PARAMS}
        groth16 = check(wire.Circuit, http.post("/v1/circuits", json=request).json())
        with http.stream("GET", f"/v1/circuits/{groth16.id}/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    check(wire.Circuit, json.loads(line[5:]))
        files = {"program": (paths.CIRCUITS / "range_check.json").read_bytes()}
        uploaded = check(wire.Circuit, http.post("/v1/circuits", data={"name": "drift"}, files=files).json())
        for path in ("/v1/circuits", "/v1/circuits?limit=1"):
            check(wire.CircuitPage, get(path))
        for name in (groth16.id, uploaded.id, "range_check"):
            check(wire.Circuit, get(f"/v1/circuits/{name}"))
        for circuit, values in ((groth16.id, {"value": 123, "context": 7}), ("range_check", None)):
            if values is None:
                witness = sample_witness().read_bytes()
                sent = http.post(f"/v1/proofs?circuit={circuit}&target=evm", content=witness).json()
            else:
                sent = http.post(f"/v1/proofs?circuit={circuit}", json={"privateInputs": values}).json()
            job = check(wire.Job, sent)
            with http.stream("GET", f"/v1/proofs/{job.id}/events") as stream:
                for line in stream.iter_lines():
                    if line.startswith("data:"):
                        assert check(wire.Job, json.loads(line[5:])).status != "failed"
            proof = get(f"/v1/proofs/{job.id}/proof")
            check(wire.ProofAnswer, proof)
            assert check(wire.Job, get(f"/v1/proofs/{job.id}")).receipt == proof["receipt"]
            check(wire.Receipt, json.loads(base64.urlsafe_b64decode(proof["receipt"].split(".")[1] + "==")))
            check(wire.Calldata, get(f"/v1/proofs/{job.id}/calldata"))
            body = {"proof": proof["proof"], "publicInputs": proof["public_inputs"]}
            check(wire.Verdict, http.post(f"/v1/verify/{circuit}?target={proof['target']}", json=body).json())
        check(wire.JobPage, get("/v1/proofs?limit=1"))
        check(wire.ProblemDocument, get("/v1/proofs/00000000-0000-4000-8000-000000000000"))
        wrong = {"privateInputs": {"value": -1}, "publicInputs": {"min": 1, "max": 2}}
        check(wire.ProblemDocument, http.post("/api/prove/range_check", json=wrong).json())
        check(wire.RemovedCircuit, http.delete(f"/v1/circuits/{uploaded.id}").json())
    assert len(seen) == 15, seen
    # The comparison itself finds a member that no type has, and one that is missing.
    for document in ({"valid": True, "verifiedBy": "bb", "other": 1}, {"valid": True}):
        with pytest.raises(DecodeError):
            check(wire.Verdict, document)
