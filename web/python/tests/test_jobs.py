"""Jobs of the real server: submitted, followed, listed and cancelled; and streams that fail meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgeprove import EdgeproveError, JobEvent, Progress, Retry

from .support.clients import Clients
from .support.faults import Faults, Request
from .support.server import Server

INPUTS = {"value": 42, "min": 10, "max": 100}


def alice(clients: Clients, proxy: Faults, attempts: int = 4) -> Any:
    return clients(proxy.url, api_key="alice-key", retry=Retry(attempts=attempts, max_delay=0.1))


def test_a_job_is_submitted_followed_and_read(clients: Clients, proxy: Faults) -> None:
    client = alice(clients, proxy)
    job = client.jobs.submit("range_check", INPUTS, priority="HIGH", target="evm", deadline=100)
    assert job.priority == "HIGH" and job.target == "evm"
    steps: list[Progress] = []
    done = client.jobs.follow(job.id, on_progress=steps.append)
    assert done.status == "completed" and done.is_finished and steps[-1].percent == 100
    read = client.jobs.get(job.id)
    # Events and lists have no receipt.
    assert read.receipt is not None and done.receipt is None
    assert replace(read, links=done.links, receipt=None) == done
    assert client.jobs.proof(job.id).job_id == job.id
    assert "token" not in repr(job)


def test_jobs_are_listed_page_by_page_by_their_own_key(clients: Clients, proxy: Faults) -> None:
    client = alice(clients, proxy)
    for _ in range(3):
        client.jobs.follow(client.jobs.submit("range_check", INPUTS))
    first = client.jobs.list(limit=2, status="completed", circuit="range_check")
    assert len(first.jobs) == 2 and first.next
    second = client.jobs.list(after=first.next)
    assert second.jobs and not {job.id for job in first.jobs} & {job.id for job in second.jobs}
    bob = clients(proxy.url, api_key="bob-key")
    assert bob.jobs.list().jobs == []
    refused: list[tuple[Callable[[], object], str, int]] = [
        (lambda: bob.jobs.get(first.jobs[0].id), "job_not_found", 404),
        (lambda: clients(proxy.url, api_key="wrong").jobs.list(), "api_key_required", 401),
        (lambda: clients(proxy.url).jobs.list(), "api_key_required", 401),
    ]
    for call, code, status in refused:
        with pytest.raises(EdgeproveError) as caught:
            call()
        assert (caught.value.code, caught.value.status) == (code, status) and caught.value.request_id


def test_a_caller_without_a_key_follows_a_job_by_its_link(clients: Clients, proxy: Faults) -> None:
    job = alice(clients, proxy).jobs.submit("range_check", INPUTS)
    page = clients(proxy.url)
    assert page.jobs.follow(job.links.events).status == "completed"
    with pytest.raises(EdgeproveError, match="api_key_required"):
        page.jobs.follow(job.id)


def test_a_job_is_cancelled_and_one_that_has_finished_is_not(clients: Clients, server: Server, proxy: Faults) -> None:
    client = alice(clients, proxy)
    with server.paused_provers():
        job = client.jobs.submit("range_check", INPUTS)
        assert client.jobs.cancel(job.id).status in ("running", "cancelled")
        assert client.jobs.follow(job.id).status == "cancelled"
        with pytest.raises(EdgeproveError) as caught:
            client.jobs.proof(job.id)
        assert caught.value.code == "job_cancelled" and caught.value.status == 410
    done = client.jobs.follow(client.jobs.submit("range_check", INPUTS))
    with pytest.raises(EdgeproveError, match="job_already_finished"):
        client.jobs.cancel(done.id)


def test_events_continue_where_a_lost_stream_ended(clients: Clients, proxy: Faults) -> None:
    cuts: list[str] = []
    pieces: dict[int, int] = {}

    def on_piece(request: Request, piece: bytes) -> bool:
        # Each of the first streams is cut after one event.
        if "/events" not in request.path or len(cuts) >= 3:
            return True
        pieces[id(request)] = pieces.get(id(request), 0) + 1
        if pieces[id(request)] == 1:
            return True
        cuts.append(request.path)
        return False

    proxy.on_piece = on_piece
    client = alice(clients, proxy, attempts=5)
    job = client.jobs.submit("range_check", INPUTS)
    events: list[JobEvent] = list(client.jobs.events(job.id))
    assert events[-1].is_last and events[-1].job.status == "completed"
    assert len({event.id for event in events}) == len(events), "an event came twice"
    streams = proxy.seen("/events")
    assert len(streams) > 1 and all("last_event_id=" in line for line in streams[1:]), streams
    # Whoever has seen the last event gets the job, and no stream.
    again: list[JobEvent] = list(client.jobs.events(job, last_event_id=events[-1].id))
    assert len(again) == 1 and again[0].is_last and again[0].job.status == "completed"


def test_a_reader_of_events_who_stops_ends_the_stream(clients: Clients, server: Server, proxy: Faults) -> None:
    client = alice(clients, proxy)
    with server.paused_provers():
        job = client.jobs.submit("range_check", INPUTS)
        events = client.jobs.events(job)
        assert not next(events).is_last
        events.close()
        client.jobs.cancel(job.id)


def test_a_stream_that_is_refused_for_a_while_is_asked_for_again(clients: Clients, proxy: Faults) -> None:
    refused: list[str] = []

    def intercept(request: Request) -> bool:
        if "/events" not in request.path or len(refused) == 2:
            return False
        refused.append(request.path)
        return request.problem(503, "too_many_watchers", "0")

    proxy.intercept = intercept
    assert alice(clients, proxy).prove("range_check", INPUTS).verified
    assert len(refused) == 2


def test_a_stream_that_is_always_lost_ends_the_call_and_the_job(clients: Clients, proxy: Faults) -> None:
    proxy.intercept = lambda request: "/events" in request.path and request.hang_up()
    with pytest.raises(EdgeproveError, match="unreachable"):
        alice(clients, proxy, attempts=3).prove("range_check", INPUTS)
    assert len(proxy.seen("/events")) == 3 and len(proxy.seen("DELETE")) == 1


def test_what_is_no_stream_of_events_is_a_bad_answer(clients: Clients, proxy: Faults) -> None:
    answers = [
        lambda request: request.reply(200, "<!doctype html>", "text/html"),
        lambda request: request.stream(b"event: done\ndata: no job\n\n"),
        lambda request: request.stream(b'event: done\ndata: {"id": 7}\n\n'),
        lambda request: request.stream(b"event: done\ndata: [[]]\n\n"),
    ]
    for answer in answers:
        proxy.intercept = lambda request, answer=answer: "/events" in request.path and answer(request)  # type: ignore[misc]
        with pytest.raises(EdgeproveError) as caught:
            alice(clients, proxy).prove("range_check", INPUTS)
        assert caught.value.code == "bad_answer"


def test_an_event_without_end_is_refused(clients: Clients, proxy: Faults) -> None:
    def intercept(request: Request) -> bool:
        if "/events" not in request.path:
            return False
        return request.stream(b"data: ", *[b"x" * 65536] * 64)

    proxy.intercept = intercept
    with pytest.raises(EdgeproveError, match="answer_too_large"):
        alice(clients, proxy).prove("range_check", INPUTS)
