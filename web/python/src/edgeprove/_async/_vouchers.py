"""Vouchers: short-lived tokens with which a page proves on behalf of the API key of its back end."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _requests as requests
from ..wire import NewVoucher, Priority
from ._http import AsyncHttp


class AsyncVouchers:
    """Vouchers of a server: ``client.vouchers``."""

    def __init__(self, http: AsyncHttp) -> None:
        self._http = http

    async def create(
        self,
        circuit: str | Sequence[str],
        *,
        uses: int | None = None,
        expires: int | None = None,
        origin: str | None = None,
        priority: Priority | None = None,
        subject: str | None = None,
    ) -> NewVoucher:
        """Mints a voucher for a page. It needs an API key; ``voucher`` of the answer is the token.

        ``circuit`` is the circuit that may be proved, or up to 16. ``uses`` is how many proofs (1 by default),
        ``expires`` the seconds until it ends (300 by default), and ``priority`` the highest one of its proofs; the
        server has maxima. Pages of another ``origin`` than this one cannot use it. Vouchers of one ``subject``, such as
        the id of a user, see each other's jobs.
        """
        circuits = [circuit] if isinstance(circuit, str) else list(circuit)
        call = requests.create_voucher(circuits, uses, expires, origin, priority, subject)
        return (await self._http.send(call)).decode(NewVoucher)
