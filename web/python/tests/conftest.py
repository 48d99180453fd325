"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .support.clients import KINDS, Clients
from .support.faults import Faults
from .support.server import Server, keys_file


@pytest.fixture(params=KINDS)
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    """Makes clients: each test that uses it runs with both kinds."""
    made = Clients(request.param)
    yield made
    made.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with keys."""
    keys = keys_file(alice="priority", bob="user", olga="operator")
    with Server("--job-workers", "1", "--proof-cache", "0", keys=keys) as started:
        yield started


@pytest.fixture
def faults() -> Iterator[Faults]:
    """A server that fails on demand."""
    with Faults() as started:
        yield started


@pytest.fixture
def proxy(server: Server) -> Iterator[Faults]:
    """The server, behind a proxy that breaks requests on demand."""
    with Faults(server.url) as started:
        yield started
