"""Witnesses and inputs that are sealed for the real server, through a proxy that sees everything."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edgeprove import EdgeproveError, Retry, wire
from edgeprove._body import Body, Source
from edgeprove._seal import Binding, seal

from .support import paths
from .support.clients import Clients
from .support.faults import Faults, Request
from .support.server import Server, sample_witness

INPUTS = {"value": 42, "min": 10, "max": 100}
ALICE: dict[str, Any] = {"api_key": "alice-key", "retry": Retry(max_delay=0.1)}
SEALED = r'application/vnd\.edgeprove\.sealed; content="application/(gzip|json)"'


def _uploads(proxy: Faults) -> list[tuple[str, bytes]]:
    """Content types and bodies of what was sent to the paths that prove."""
    return [(kind, body) for line, kind, body in proxy.bodies if line.startswith("POST") and "/verify" not in line]


def _assert_unreadable(proxy: Faults) -> None:
    """No sequence of 12 bytes of the witness is in an upload, beside the head that all gzip streams have."""
    witness = sample_witness().read_bytes()
    uploads = _uploads(proxy)
    assert uploads
    for kind, body in uploads:
        assert re.fullmatch(SEALED, kind)
        assert body.startswith(b"EPSB") and b"privateInputs" not in body
        assert not any(witness[at : at + 12] in body for at in range(12, len(witness) - 11))


def test_a_sealed_body_is_that_of_the_vectors() -> None:
    vectors = json.loads((paths.REPOSITORY / "crates/sealing/vectors/sealed-bodies.json").read_text())
    suite, none = wire.HpkeSuite(kem=32, kdf=1, aead=2), wire.Attestation("none")
    key = wire.SealingKey(vectors["key"]["id"], suite, vectors["key"]["public_key"], "", "", none)
    assert len(vectors["bodies"]) > 3
    for each in vectors["bodies"]:
        ephemeral = X25519PrivateKey.from_private_bytes(bytes.fromhex(vectors["ephemeral_private_key"]))
        plain = bytes((7 * at + at // 256) % 256 for at in range(each["plaintext_bytes"]))
        body = Body(each["content"], (Source(plain),))
        binding = Binding(each["circuit"], each["target"])
        sealed = seal(key, binding, each["token"], vectors["time_ms"], body, ephemeral)
        content = b"".join(sealed.pieces())
        assert (sealed.length, len(content)) == (each["sealed_bytes"],) * 2
        assert hashlib.sha256(content).hexdigest() == each["sealed_sha256"]
        assert content.hex().startswith(each.get("sealed", ""))
        assert b"".join(sealed.pieces()) == content, "it can be read again"


def test_what_is_proved_is_sealed(clients: Clients, proxy: Faults) -> None:
    client = clients(proxy.url, **ALICE)
    witness = sample_witness()
    results = [client.prove("range_check", INPUTS), client.prove("range_check", witness=witness, delivery="direct")]
    results += [client.prove("range_check", witness=witness, target="evm")]
    assert all(client.verify(result) for result in results)
    job = client.jobs.submit("range_check", witness=witness)
    assert client.jobs.follow(job).status == "completed"
    assert len(_uploads(proxy)) == 4
    _assert_unreadable(proxy)
    assert len(proxy.seen("/.well-known/edgeprove")) == 1, "the keys are fetched once"


def test_a_witness_of_unknown_length_is_sealed_while_it_is_read(clients: Clients, server: Server) -> None:
    client = clients(server.url, **ALICE, seal="required")
    reading, writing = os.pipe()
    witness = sample_witness().read_bytes()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(witness)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as file:
        assert client.verify(client.prove("range_check", witness=file))
    writer.join()


@pytest.mark.parametrize("code", ["sealing_key_unknown", "sealed_at_wrong_time", "sealed_body_replayed"])
def test_what_the_server_refuses_is_sealed_again(clients: Clients, proxy: Faults, code: str) -> None:
    client = clients(proxy.url, **ALICE)
    left = [2]

    def refuse(request: Request) -> bool:
        if request.command != "POST" or left[0] == 0:
            return False
        left[0] -= 1
        proxy.bodies.append((f"{request.command} {request.path}", request.headers["content-type"], request.read_body()))
        return request.problem(400, code)

    proxy.intercept = refuse
    assert client.prove("range_check", witness=sample_witness())
    assert len({body for _, body in _uploads(proxy)}) == 3
    assert len(proxy.seen("/.well-known/edgeprove")) == 3
    # And not without end.
    left[0] = 10
    with pytest.raises(EdgeproveError) as refused:
        client.prove("range_check", witness=sample_witness())
    assert (refused.value.code, left[0]) == (code, 7)


def test_keys_of_a_restarted_server_are_fetched(clients: Clients) -> None:
    with Server() as server:
        client = clients(server.url)
        client.prove("range_check", INPUTS, delivery="direct")
        server.kill()
        server.restart()
        assert client.verify(client.prove("range_check", INPUTS))


def test_nothing_is_sent_in_the_clear_where_the_server_has_a_key(clients: Clients, proxy: Faults) -> None:
    service = clients(proxy.url).service()
    key = service.sealing.keys[0]
    document = {
        "versions": vars(service.versions),
        "limits": vars(service.limits),
        "receipts": {"keys": [], "lasting": False},
        "timestamp": service.timestamp,
    }
    sound = {**vars(key), "suite": vars(key.suite), "attestation": {"kind": "none"}}
    zeros = base64.b64encode(bytes(32)).decode()
    for changed, code in (
        ({"public_key": zeros}, "sealing_unavailable"),
        ({"public_key": "AA=="}, "sealing_unavailable"),
        ({"public_key": "***"}, "sealing_unavailable"),
        ({"suite": {**vars(key.suite), "kem": 0x647A}}, "sealing_unavailable"),
        ({"id": "../.."}, "sealing_unavailable"),
        ({"expires_at": "soon"}, "bad_answer"),
    ):
        answer = {**document, "sealing": {"keys": [{**sound, **changed}]}}

        def plant(request: Request, answer: object = answer) -> bool:
            return "/.well-known" in request.path and request.document(answer)

        proxy.reset()
        proxy.intercept = plant
        client = clients(proxy.url, **ALICE)
        calls: list[Callable[[], object]] = [
            partial(client.prove, "range_check", witness=sample_witness()),
            partial(client.prove, "range_check", INPUTS, delivery="direct"),
            partial(client.jobs.submit, "range_check", INPUTS),
        ]
        for call in calls:
            with pytest.raises(EdgeproveError) as refused:
                call()
            assert refused.value.code == code, changed
        assert _uploads(proxy) == []
    # Neither is where the keys cannot be fetched.
    proxy.reset()
    proxy.intercept = lambda request: "/.well-known" in request.path and request.problem(503, "not_ready")
    with pytest.raises(EdgeproveError, match="planted not_ready"):
        clients(proxy.url, **ALICE).prove("range_check", INPUTS)
    assert _uploads(proxy) == []


def test_without_a_key_of_the_server_the_option_decides(clients: Clients, proxy: Faults) -> None:
    with Server("--sealing", "off") as server, Faults(server.url) as front:
        with pytest.raises(EdgeproveError) as refused:
            clients(front.url, seal="required").prove("range_check", INPUTS)
        assert refused.value.code == "sealing_unavailable" and not refused.value.retryable
        assert _uploads(front) == []
        client = clients(front.url)
        assert client.prove("range_check", INPUTS)
        # A server of an earlier version does not know the path.
        front.intercept = lambda request: "/.well-known" in request.path and request.problem(404, "not_found")
        assert clients(front.url).prove("range_check", INPUTS)
        assert [kind for kind, _ in _uploads(front)] == ["application/json"] * 2
    assert clients(proxy.url, **ALICE, seal=False).prove("range_check", INPUTS)
    assert [kind for kind, _ in _uploads(proxy)] == ["application/json"]
    assert proxy.seen("/.well-known") == []
    for wrong in ("yes", 1, None, 0):
        with pytest.raises(EdgeproveError) as refused:
            clients(proxy.url, seal=wrong)
        assert refused.value.code == "invalid_option"


def test_without_the_package_that_seals_nothing_is_sent(proxy: Faults, tmp_path: Path) -> None:
    # A module that cannot be imported takes the place of an extra that is not installed.
    (tmp_path / "cryptography.py").write_text("raise ImportError")
    script = """
import sys
from edgeprove import Client, EdgeproveError
with Client(sys.argv[1], api_key="alice-key", seal={"False": False}.get(sys.argv[2], True)) as client:
    try:
        print(client.verify(client.prove("range_check", {"value": 42, "min": 10, "max": 100})))
    except EdgeproveError as error:
        print(error)
"""

    def run(seal: str) -> str:
        environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{paths.PACKAGE / 'src'}"}
        command = [sys.executable, "-c", script, proxy.url, seal]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
        return ended.stdout.strip()

    refused = run("True")
    assert "edgeprove[seal]" in refused and "nothing was sent (sealing_unavailable)" in refused
    assert _uploads(proxy) == []
    assert run("False") == "True"
