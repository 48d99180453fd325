"""Vouchers: minted with a key, and used in place of one."""

from __future__ import annotations

import pytest

from edgeprove import EdgeproveError, Retry

from .support.clients import Clients
from .support.faults import Faults
from .support.server import Server

INPUTS = {"value": 42, "min": 10, "max": 100}


def test_a_voucher_proves_as_often_as_it_allows(clients: Clients, server: Server) -> None:
    back_end = clients(server.url, api_key="bob-key")
    minted = back_end.vouchers.create(
        "range_check", uses=2, expires=600, origin="https://app.example", priority="LOW", subject="user-7"
    )
    assert (minted.circuits, minted.uses, minted.priority) == (["range_check"], 2, "LOW")
    assert (minted.origin, minted.subject) == ("https://app.example", "user-7")
    assert minted.voucher not in repr(minted)
    # Its origin keeps it from everything but pages of this one.
    with pytest.raises(EdgeproveError) as refused:
        clients(server.url, voucher=minted.voucher).prove("range_check", INPUTS)
    assert refused.value.code == "voucher_not_allowed"

    minted = back_end.vouchers.create(["range_check"], uses=2)
    page = clients(server.url, voucher=minted.voucher)
    assert page.verify(page.prove("range_check", INPUTS))
    assert page.prove("range_check", INPUTS, delivery="direct").verified
    with pytest.raises(EdgeproveError) as refused:
        page.prove("range_check", INPUTS)
    assert refused.value.code == "voucher_used_up"
    with pytest.raises(EdgeproveError) as refused:
        page.vouchers.create("range_check")
    assert refused.value.code == "voucher_not_allowed"
    assert minted.voucher not in repr(page)


def test_wrong_vouchers_are_refused(clients: Clients, server: Server) -> None:
    with pytest.raises(EdgeproveError) as refused:
        clients(server.url, api_key="bob-key").vouchers.create("range_check", uses=0)
    assert refused.value.code == "invalid_request"
    with pytest.raises(EdgeproveError) as refused:
        clients(server.url, voucher="epv1.bm90aGluZw.bm90aGluZw").prove("range_check", INPUTS)
    assert refused.value.code == "voucher_invalid"
    for options in ({"voucher": "a b"}, {"voucher": ""}, {"voucher": "a", "api_key": "b"}, {"voucher": 7}):
        with pytest.raises(EdgeproveError) as refused:
            clients(server.url, **options)
        assert refused.value.code == "invalid_option"


def test_no_error_has_the_voucher(clients: Clients, faults: Faults) -> None:
    faults.intercept = lambda request: request.hang_up()
    with pytest.raises(EdgeproveError) as refused:
        clients(faults.url, voucher="epv1.a-secret", retry=Retry(attempts=1)).health()
    assert refused.value.code == "unreachable"
    error: BaseException | None = refused.value
    while error is not None:
        assert "a-secret" not in f"{error!r} {error}"
        error = error.__cause__
