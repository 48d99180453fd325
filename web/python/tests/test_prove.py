"""Proofs by the real server, with both clients."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from typing import Any

import pytest

from edgeprove import AsyncClient, EdgeproveError, Progress, ProofResult, Retry

from .support import paths
from .support.clients import Clients
from .support.faults import Faults
from .support.server import Server, sample_witness
from .support.wait import eventually

INPUTS = {"value": 42, "min": 10, "max": 100}
FAST = Retry(attempts=4, max_delay=0.1)


@pytest.fixture
def alice(clients: Clients, server: Server) -> Any:
    return clients(server.url, api_key="alice-key")


def test_inputs_are_proved_and_verified(alice: Any) -> None:
    steps: list[Progress] = []
    result: ProofResult = alice.prove("range_check", INPUTS, on_progress=steps.append, priority="HIGH", deadline=100)
    assert result.public_inputs == [f"0x{10:064x}", f"0x{100:064x}"]
    assert len(result.proof) % 32 == 0 and len(result.proof_fields()) * 32 == len(result.proof)
    assert result.verified and not result.cached and result.circuit == "range_check" and result.job_id
    assert result.timings.server.prove_ms > 0 and result.timings.total_ms >= result.timings.server.prove_ms
    assert steps[0].stage == "upload" and steps[-1].stage == "done" and steps[-1].percent == 100
    assert all(step.job_id == result.job_id for step in steps[1:])
    assert alice.verify(result)
    assert alice.circuits.vk("range_check").hash == result.vk_hash
    changed = type(result)(**{**vars(result), "public_inputs": [f"0x{11:064x}", f"0x{100:064x}"]})
    assert not alice.verify(changed)


def test_a_witness_is_proved_in_each_of_its_forms(alice: Any) -> None:
    file = sample_witness()
    for witness in (file, file.read_bytes(), io.BytesIO(file.read_bytes())):
        assert alice.verify(alice.prove("range_check", witness=witness, delivery="direct"))
    with file.open("rb") as opened:
        assert alice.prove("range_check", witness=opened).job_id


def test_a_proof_for_a_contract_has_its_arguments_and_its_calldata(alice: Any) -> None:
    result = alice.prove("range_check", INPUTS, target="evm")
    proof, public = result.contract_arguments()
    assert public == [bytes.fromhex(value[2:]) for value in result.public_inputs]
    calldata = alice.jobs.calldata(result.job_id)
    assert calldata.function == "verify(bytes,bytes32[])" and proof.hex() in calldata.calldata
    assert result.calldata == calldata.calldata
    assert alice.prove("range_check", INPUTS, target="evm", delivery="direct").calldata.startswith(
        calldata.calldata[:10]
    )
    assert alice.prove("range_check", INPUTS).calldata is None
    assert result.cost.vcpu_seconds >= result.timings.server.prove_ms / 1000 and result.cost.gib_seconds > 0
    with pytest.raises(EdgeproveError, match="target='evm'"):
        alice.prove("range_check", INPUTS, delivery="direct").contract_arguments()


def test_wrong_inputs_are_named_and_never_shown(alice: Any) -> None:
    secret = 4_294_000_001
    cases: list[tuple[dict[str, Any], str]] = [
        ({**INPUTS, "value": secret * 1000}, "invalid_inputs"),
        ({"min": 10, "max": 100}, "invalid_inputs"),
        ({**INPUTS, "value": secret}, "witness_unsatisfied"),
    ]
    for inputs, code in cases:
        with pytest.raises(EdgeproveError) as caught:
            alice.prove("range_check", inputs)
        assert caught.value.code == code and caught.value.status == 422 and not caught.value.retryable
        assert str(secret) not in f"{caught.value}{caught.value!r}{vars(caught.value)}"
        assert code != "invalid_inputs" or caught.value.field == "privateInputs.value"
    with pytest.raises(EdgeproveError) as caught:
        alice.prove("nothing", INPUTS)
    assert caught.value.code == "circuit_not_found"


def test_the_same_key_is_the_same_job(alice: Any) -> None:
    first = alice.prove("range_check", INPUTS, idempotency_key=f"same-{id(alice)}")
    again = alice.prove("range_check", INPUTS, idempotency_key=f"same-{id(alice)}")
    assert first.job_id == again.job_id
    with pytest.raises(EdgeproveError) as caught:
        alice.prove("range_check", {**INPUTS, "min": 11}, idempotency_key=f"same-{id(alice)}")
    assert caught.value.code == "idempotency_key_reused"


def test_a_server_without_jobs_proves_directly(clients: Clients) -> None:
    with Server("--data", "off") as server:
        client = clients(server.url)
        steps: list[Progress] = []
        for _ in range(2):
            result = client.prove("range_check", INPUTS, on_progress=steps.append)
            assert result.job_id is None and client.verify(result)
        assert steps[-1].stage == "done"
        with pytest.raises(EdgeproveError) as caught:
            client.jobs.submit("range_check", INPUTS)
        assert caught.value.code == "jobs_disabled"


def test_a_job_survives_a_crash_of_the_server(clients: Clients) -> None:
    with Server(circuits=("range_check",)) as server, Faults(server.url) as proxy:
        client = clients(proxy.url, retry=Retry(attempts=60, max_delay=0.5))
        with server.paused_provers():
            crashed: list[str] = []

            def on_progress(step: Progress) -> None:
                if step.job_id and not crashed:
                    crashed.append(step.job_id)
                    server.kill()
                    server.restart()

            result = client.prove("range_check", INPUTS, on_progress=on_progress)
            assert crashed == [result.job_id] and client.verify(result)
            assert len(proxy.seen("POST /v1/proofs")) == 1


def test_a_call_that_takes_too_long_cancels_its_job(clients: Clients, server: Server, proxy: Faults) -> None:
    with server.paused_provers():
        # On a busy machine the time may be over before the job is submitted.
        for seconds in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
            client = clients(proxy.url, api_key="alice-key", timeout=seconds)
            with pytest.raises(EdgeproveError) as caught:
                client.prove("range_check", INPUTS)
            assert caught.value.code == "timeout" and caught.value.retryable
            if proxy.seen("POST /v1/proofs"):
                break
        assert len(proxy.seen("DELETE /v1/proofs/")) == 1


def test_an_error_of_the_callback_cancels_the_job(clients: Clients, server: Server, proxy: Faults) -> None:
    with server.paused_provers():

        def on_progress(step: Progress) -> None:
            if step.job_id:
                raise LookupError("the callback failed")

        with pytest.raises(LookupError):
            clients(proxy.url, api_key="alice-key").prove("range_check", INPUTS, on_progress=on_progress)
        assert len(proxy.seen("DELETE /v1/proofs/")) == 1


def test_an_interrupted_process_cancels_its_job(server: Server, proxy: Faults) -> None:
    for name in ("Client", "AsyncClient"):
        proxy.reset()
        with server.paused_provers():
            call = f"client.prove('range_check', {INPUTS}, on_progress=lambda step: print(step.stage, flush=True))"
            # A process in the background of a shell ignores the signal, and so do those that it starts.
            head = "import asyncio, edgeprove, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
            head += f"client = edgeprove.{name}({proxy.url!r}, api_key='alice-key')\n"
            script = head + (call if name == "Client" else f"async def main():\n  await {call}\nasyncio.run(main())")
            child = subprocess.Popen(
                [sys.executable, "-c", script],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PYTHONPATH": str(paths.PACKAGE / "src")},
                text=True,
            )
            eventually("the job is followed", lambda: proxy.seen("/events"))
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=60)
            assert "KeyboardInterrupt" in errors and child.returncode != 0, errors
            assert len(proxy.seen("DELETE /v1/proofs/")) == 1


def test_a_cancelled_task_cancels_its_job(server: Server, proxy: Faults) -> None:
    import asyncio

    async def run() -> None:
        async with AsyncClient(proxy.url, api_key="alice-key") as client:
            followed = asyncio.Event()

            async def on_progress(step: Progress) -> None:
                if step.job_id:
                    followed.set()

            task = asyncio.create_task(client.prove("range_check", INPUTS, on_progress=on_progress))
            await followed.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with server.paused_provers():
        asyncio.run(run())
        assert len(proxy.seen("DELETE /v1/proofs/")) == 1


def test_a_submission_that_is_interrupted_leaves_no_job(server: Server, proxy: Faults) -> None:
    import asyncio

    async def run() -> None:
        async with AsyncClient(proxy.url, api_key="alice-key") as client:
            arrived = asyncio.Event()
            loop = asyncio.get_running_loop()

            def on_piece(request: Any, piece: bytes) -> bool:
                # The server has stored the job, and the caller does not get its answer.
                if request.command == "POST" and len(proxy.seen("POST /v1/proofs?")) == 1:
                    loop.call_soon_threadsafe(arrived.set)
                    eventually("the caller has left", lambda: len(proxy.seen("POST /v1/proofs?")) == 2)
                    return False
                return True

            proxy.on_piece = on_piece
            task = asyncio.create_task(client.prove("range_check", witness=sample_witness()))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with server.paused_provers():
        asyncio.run(run())
        assert len(proxy.seen("DELETE /v1/proofs/")) == 1
