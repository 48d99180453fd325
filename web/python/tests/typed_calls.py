"""Checked by mypy, never run: what callers may write, and what the types must refuse.

mypy reports a comment that ignores an error where there is none.
"""

from __future__ import annotations

from pathlib import Path

from edgeprove import AsyncClient, Client, EdgeproveError, Progress, ProofResult, Retry, wire


def accepted(client: Client) -> list[str]:
    with Client("https://prover.example", api_key="key", timeout=1, retry=Retry(attempts=2)) as other:
        inputs = {"value": 42, "list": [1, {"a": True}], "bytes": b"ab"}
        result: ProofResult = other.prove("c", inputs, on_progress=print, priority="HIGH", target="evm", deadline=1)
    client.prove("c", witness=Path("witness.gz"))
    Client("https://prover.example", voucher=client.vouchers.create("c", uses=2).voucher, seal="required")
    for event in client.jobs.events("id"):
        position: int | None = event.job.queue_position
        print(position)
    return result.public_inputs


async def accepted_with_asyncio(client: AsyncClient) -> wire.Job:
    async def on_progress(step: Progress) -> None:
        print(step.percent)

    await client.prove("c", {}, on_progress=on_progress)
    async for event in client.jobs.events("id"):
        if event.is_last:
            return event.job
    return await client.jobs.get("id")


def narrowed(error: Exception) -> float | None:
    if isinstance(error, EdgeproveError) and error.code == "timeout" and error.retryable:
        return error.retry_after
    return None


def refused(client: Client, asynchronous: AsyncClient) -> None:
    Client("https://prover.example", mode="local")  # type: ignore[call-arg]
    Client("https://prover.example", seal="always")  # type: ignore[arg-type]
    client.vouchers.create(7)  # type: ignore[arg-type]
    client.prove("c", {}, target="starknet")  # type: ignore[arg-type]
    client.prove("c", {}, priority="urgent")  # type: ignore[arg-type]
    client.prove("c", witness="witness.gz")  # type: ignore[arg-type]
    client.prove("c", {}, True)  # type: ignore[call-arg, arg-type]
    client.jobs.get(7)  # type: ignore[arg-type]
    print(asynchronous.prove("c", {}).proof)  # type: ignore[attr-defined]
    print(client.jobs.get("id").witness)  # type: ignore[attr-defined]
