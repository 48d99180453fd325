"""Requests that a server answers badly, late or not at all. No real server fails so on demand."""

from __future__ import annotations

import itertools
import logging
import pickle
import time
import traceback
from typing import Any

import pytest

from edgeprove import EdgeproveError, Retry

from .support.clients import Clients
from .support.faults import Faults, Request
from .support.server import sample_witness
from .support.wait import eventually

FAST = Retry(attempts=4, max_delay=0.05)


def fails(call: Any, code: str) -> EdgeproveError:
    with pytest.raises(EdgeproveError) as caught:
        call()
    assert caught.value.code == code, caught.value
    return caught.value


def test_a_retryable_problem_is_repeated_after_the_time_that_the_server_asks_for(
    clients: Clients, faults: Faults
) -> None:
    times: list[float] = []

    def intercept(request: Request) -> bool:
        times.append(time.monotonic())
        return request.problem(503, "prover_busy", "1") if len(times) < 3 else request.document({"circuits": []})

    faults.intercept = intercept
    assert clients(faults.url).circuits.list().circuits == []
    # The clock of a timer may be a little early.
    assert len(times) == 3 and all(later - earlier > 0.95 for earlier, later in itertools.pairwise(times))


def test_an_upload_is_sent_again_with_the_same_key_and_the_same_bytes(clients: Clients, faults: Faults) -> None:
    bodies: list[bytes] = []

    def intercept(request: Request) -> bool:
        bodies.append(request.read_body())
        return request.hang_up() if len(bodies) == 1 else request.problem(503, "queue_full", "0")

    faults.intercept = intercept
    client = clients(faults.url, seal=False, retry=Retry(attempts=3, max_delay=0.01))
    fails(lambda: client.prove("c", witness=sample_witness()), "queue_full")
    assert bodies == [sample_witness().read_bytes()] * 3
    assert len({headers["idempotency-key"] for headers in faults.headers}) == 1
    assert all(headers["content-length"] == str(len(bodies[0])) for headers in faults.headers)


def test_a_problem_that_no_retry_cures_is_final_at_once(clients: Clients, faults: Faults) -> None:
    faults.intercept = lambda request: request.problem(503, "circuit_unavailable")
    error = fails(lambda: clients(faults.url).circuits.list(), "circuit_unavailable")
    assert (error.retryable, error.status, error.request_id) == (False, 503, "planted-1")
    assert len(faults.requests) == 1


def test_attempts_are_bounded_and_so_is_the_wait_that_a_server_may_ask_for(clients: Clients, faults: Faults) -> None:
    faults.intercept = lambda request: request.problem(429, "rate_limited", "0")
    fails(lambda: clients(faults.url, retry=Retry(2, 0.05)).circuits.list(), "rate_limited")
    assert len(faults.requests) == 2
    for asked in ("40000", "Fri, 31 Dec 2100 23:59:59 GMT"):
        faults.reset()
        faults.intercept = lambda request, asked=asked: request.problem(429, "quota_exceeded", asked)  # type: ignore[misc]
        error = fails(lambda: clients(faults.url).circuits.list(), "quota_exceeded")
        assert error.retryable and error.retry_after is not None and error.retry_after >= 40_000
        assert len(faults.requests) == 1
    for useless in ("nan", "inf", "-5", "soon"):
        faults.reset()
        faults.intercept = lambda request, useless=useless: request.problem(429, "x", useless)  # type: ignore[misc]
        assert fails(lambda: clients(faults.url, retry=FAST).circuits.list(), "x").retry_after is None
        assert len(faults.requests) == 4


def test_a_code_and_members_of_a_newer_server_are_passed_on(clients: Clients, faults: Faults) -> None:
    members = {"field": "privateInputs.a", "fallback_circuit": "small", "request_id": "theirs", "severity": "error"}
    faults.intercept = lambda request: request.problem(507, "prover_on_fire", None, **members, other=[1])
    error = fails(lambda: clients(faults.url).circuits.list(), "prover_on_fire")
    assert (error.field, error.fallback_circuit, error.request_id, error.severity) == tuple(members.values())
    assert error.detail == "planted prover_on_fire" and "theirs" in str(error)
    copied = pickle.loads(pickle.dumps(error))
    assert vars(copied) == vars(error) and str(copied) == str(error)


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (200, "text/html", "<!doctype html>"),
        (200, "application/json", "7"),
        (200, "application/json", '{"a":'),
        (200, "application/json", ""),
        (200, "application/json", "[" * 200_000),
        (200, "application/json", '{"circuits": NaN}'),
        (200, "application/json", '{"circuits": {}}'),
        (200, "application/json", '{"circuits": [{"id": "a"}]}'),
        (200, "application/json", "{}"),
        (200, "application/json", '{"circuits": ' + "9" * 5000 + "}"),
        (302, "text/plain", ""),
        (404, "text/html", "x"),
        (500, "application/problem+json", "null"),
        (500, "application/problem+json", '{"title":"no code"}'),
        (500, "application/problem+json", '{"code":7}'),
    ],
)
def test_what_no_edgeprove_server_sends_is_a_bad_answer(
    clients: Clients, faults: Faults, status: int, content_type: str, body: str
) -> None:
    faults.intercept = lambda request: request.reply(status, body, content_type, location="http://127.0.0.1:9/")
    error = fails(lambda: clients(faults.url).circuits.list(), "bad_answer")
    assert error.status == status and not error.retryable and len(faults.requests) == 1


def test_an_answer_without_a_proof_is_a_bad_answer(clients: Clients, faults: Faults) -> None:
    good: dict[str, Any] = {
        "success": True, "proof": "AAAA", "proof_hash": "0x", "public_inputs": [], "circuit": "c", "target": "evm",
        "vk_hash": "0x", "verified": True, "cached": False, "request_id": "r",
        "timings": dict.fromkeys(("upload_ms", "queue_ms", "prove_ms", "verify_ms", "total_ms"), 1),
        "cost": {"vcpu_seconds": 0, "gib_seconds": 0},
    }  # fmt: skip
    client = clients(faults.url)
    faults.intercept = lambda request: request.document(good)
    assert client.jobs.proof("id").proof == b"\0\0\0"
    words = {"pi_a": ["1", "2", "1"], "pi_b": [["1", "2"]] * 2, "pi_c": ["1", "2"], "protocol": "g", "curve": "b"}
    changes: list[dict[str, Any]] = [
        {"proof": ""},
        {"proof": "!"},
        {"proof": 7},
        {"proof": None},
        {"public_inputs": ["0x7"]},
        {"public_inputs": "0x"},
        {"verified": 1},
        {"target": "starknet"},
        {"timings": {}},
        {"cost": {"vcpu_seconds": "much"}},
        {"proof": {**words, "pi_b": []}},
        {"proof": {**words, "pi_a": ["9" * 79, "1"]}},
        {"proof": {**words, "pi_a": ["-1", "1"]}},
    ]
    for change in changes:
        faults.intercept = lambda request, change=change: request.document({**good, **change})  # type: ignore[misc]
        fails(lambda: client.jobs.proof("id"), "bad_answer")


def test_a_proxy_that_is_overloaded_is_retried(clients: Clients, faults: Faults) -> None:
    def intercept(request: Request) -> bool:
        if len(faults.requests) > 1:
            return request.document({"circuits": []})
        return request.reply(502, "bad gateway", "text/html", retry_after="0")

    faults.intercept = intercept
    clients(faults.url, retry=FAST).circuits.list()
    assert len(faults.requests) == 2


@pytest.mark.parametrize("declares", [True, False])
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_has_a_bound(clients: Clients, faults: Faults, declares: bool, status: int) -> None:
    closed: list[bool] = []

    def intercept(request: Request) -> bool:
        request.send_response(status)
        request.send_header("content-type", "application/problem+json")
        if declares:
            request.send_header("content-length", str(64 << 20))
        request.end_headers()
        try:
            while True:
                request.wfile.write(b" " * 65536)
        except OSError:
            closed.append(True)
        return request.hang_up()

    faults.intercept = intercept
    fails(lambda: clients(faults.url).jobs.get("id"), "answer_too_large")
    eventually("the transfer is ended", lambda: closed)


def test_a_compressed_answer_is_refused(clients: Clients, faults: Faults) -> None:
    faults.intercept = lambda request: request.reply(200, b"x", content_encoding="gzip")
    fails(lambda: clients(faults.url).circuits.list(), "bad_answer")
    assert faults.headers[0]["accept-encoding"] == "identity"


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    ("begin", "drips"),
    [
        (b"", False),
        (_HEAD + b"x: ", False),
        (_HEAD + b"content-length: 99\r\n\r\n{", False),
        (_HEAD + b"x: ", True),
        (_HEAD + b"content-length: 99999\r\n\r\n{", True),
    ],
)
def test_a_server_that_hangs_or_drips_is_given_up_in_time(
    clients: Clients, faults: Faults, begin: bytes, drips: bool
) -> None:
    closed: list[bool] = []

    def intercept(request: Request) -> bool:
        request.wfile.write(begin)
        try:
            if not drips:
                request.connection.recv(1)
            while drips:
                request.wfile.write(b" ")
                time.sleep(0.02)
        except OSError:
            pass
        closed.append(True)
        return request.hang_up()

    faults.intercept = intercept
    started = time.monotonic()
    assert fails(lambda: clients(faults.url, timeout=0.3).circuits.list(), "timeout").retryable
    # Drips would last until the header or the body is full, which takes minutes.
    assert time.monotonic() - started < 30
    eventually("the connection is closed", lambda: closed)


def test_no_server_at_all_is_unreachable_after_some_attempts(clients: Clients) -> None:
    error = fails(lambda: clients("http://127.0.0.1:9", retry=Retry(3, 0.01)).circuits.list(), "unreachable")
    assert error.retryable and "GET /v1/circuits" in error.detail


def test_the_key_goes_to_the_server_only(clients: Clients, faults: Faults) -> None:
    faults.intercept = lambda request: request.document({"circuits": []})
    client = clients(faults.url, api_key="secret-key")
    client.circuits.list()
    assert faults.headers[0]["authorization"] == "Bearer secret-key"
    for path in ("//evil.example/v1", "http://evil.example/", "/\\evil.example", "v1/circuits", "/v1/../x", "/a b"):
        fails(lambda path=path: client.circuits.list(after=path), "bad_answer")
    for path in ("//evil.example/v1/proofs/x/events",):
        fails(lambda path=path: next(client.jobs.events(path)), "bad_answer")
    assert len(faults.requests) == 1
    for name in ("", ".", ".."):
        fails(lambda name=name: client.circuits.get(name), "invalid_option")
    faults.intercept = lambda request: request.problem(404, "circuit_not_found")
    fails(lambda: client.circuits.get("a/b?c#d"), "circuit_not_found")
    assert faults.requests[-1] == "GET /v1/circuits/a%2Fb%3Fc%23d"


def test_neither_key_nor_inputs_are_shown_or_logged(
    clients: Clients, faults: Faults, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    circuit = dict.fromkeys(("gates", "circuit_size", "vk_hash", "vk", "inputs"))
    circuit |= {"id": "c", "status": "ready", "target": "evm", "targets": ["evm"], "origin": "configured"}
    client = clients(faults.url, api_key="secret-key", seal=False, retry=FAST)
    texts = [repr(client), repr(client.jobs), repr(client._settings)]
    secret = "98765432101234567890"
    for planted, inputs in (
        ("problem", {"age": secret}),
        ("lost", {"age": secret}),
        ("refused", {"age": float(secret) + 0.5}),
    ):

        def intercept(request: Request, planted: str = planted) -> bool:
            if request.command == "GET":
                return request.document(circuit)
            return request.hang_up() if planted == "lost" else request.problem(500, "internal")

        faults.intercept = intercept
        with pytest.raises(EdgeproveError) as caught:
            client.prove("c", inputs)
        texts.append(caught.value.code)
        texts += traceback.format_exception(caught.value)
        seen: BaseException | None = caught.value
        while seen is not None:
            assert not hasattr(seen, "request"), "the request has the key"
            texts.append(f"{vars(seen)} {seen!r}")
            seen = seen.__cause__ or seen.__context__
    output = capfd.readouterr()
    everything = "\n".join([*texts, caplog.text, output.out, output.err])
    assert {"internal", "unreachable", "invalid_inputs"} <= set(texts)
    assert "secret-key" not in everything and secret[:12] not in everything and "9.87" not in everything


def test_a_client_of_the_caller_sends_the_requests_and_stays_open(faults: Faults) -> None:
    import httpx

    from edgeprove import Client

    faults.intercept = lambda request: request.document({"circuits": []})
    with httpx.Client(headers={"x-mine": "1"}, follow_redirects=True) as mine:
        with Client(faults.url + "/below/", http_client=mine) as client:
            client.circuits.list(limit=5)
        assert mine.get(faults.url).is_success
        assert faults.requests[0] == "GET /below/v1/circuits?limit=5" and faults.headers[0]["x-mine"] == "1"
