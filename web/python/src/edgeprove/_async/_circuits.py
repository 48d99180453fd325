"""The circuits of a server: list, keys and files, and circuits that it builds from templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import _requests as requests
from .._answers import error_of
from .._body import Body, File, Witness, witness_body
from .._call import raise_if_late, time_left
from .._errors import EdgeproveError, bad_answer, invalid_option
from .._inputs import Inputs, inputs_body
from .._result import VerificationKey
from ..wire import Circuit, CircuitPage, Language, RemovedCircuit, Target, Template, TemplateEntry, TemplateList
from . import _runtime as runtime
from ._http import AsyncHttp

#: Most circuits that are remembered.
_MEMORY_MAX = 256


class AsyncCircuits:
    """Circuits of a server: ``client.circuits``."""

    def __init__(self, http: AsyncHttp) -> None:
        self._http = http
        self._known: dict[str, Circuit] = {}

    async def list(self, *, limit: int | None = None, after: str | None = None) -> CircuitPage:
        """A page of the circuits. ``next`` of a page is ``after`` of the following one; ``limit`` is at most 1,000."""
        return (await self._http.send(requests.list_circuits(limit, after))).decode(CircuitPage)

    async def get(self, circuit: str) -> Circuit:
        """A circuit with its inputs. Raises ``circuit_not_found``."""
        return (await self._http.send(requests.get_circuit(circuit))).decode(Circuit)

    async def vk(self, circuit: str, *, target: Target | None = None) -> VerificationKey:
        """The verification key for a target; by default for the circuit's own."""
        answer = await self._http.send(requests.get_vk(circuit, target))
        tag = answer.headers.get("x-vk-hash") or answer.headers.get("etag") or ""
        return VerificationKey(answer.body, tag.removeprefix("W/").strip('"'))

    async def artifact(self, circuit: str, name: str) -> bytes:
        """A file of a circuit that was built or uploaded: ``circuit.json``, ``verifier.sol``, …"""
        return (await self._http.send(requests.get_artifact(circuit, name, self._http.long_deadline()))).body

    async def templates(self) -> Sequence[TemplateEntry]:
        """The templates of the server."""
        return (await self._http.send(requests.list_templates())).decode(TemplateList).templates

    async def template(self, name: str) -> Template:
        """A template with its parameters and samples. Raises ``template_not_found``."""
        return (await self._http.send(requests.get_template(name))).decode(Template)

    async def request(
        self,
        template: str,
        params: Mapping[str, Any],
        *,
        language: Language | None = None,
        callback_url: str | None = None,
    ) -> Circuit:
        """Asks for the circuit of a template and its parameters.

        It is ``pending`` until the server has built it; the same request is the same circuit. ``language`` is the first
        one of the template by default. With ``callback_url`` a webhook is sent there when the build has finished.
        """
        until = self._http.long_deadline()
        call = requests.request_circuit(template, params, language, callback_url, until)
        return (await self._http.send(call)).decode(Circuit)

    async def build(self, template: str, params: Mapping[str, Any], *, language: Language | None = None) -> Circuit:
        """Asks for a circuit and waits until it is ready, for at most ``timeout`` of the client.

        Raises the problem of a build that failed, and ``timeout``; the build goes on then.
        """
        until = self._http.long_deadline()
        found = await self.request(template, params, language=language)
        look, longest = requests.LOOK
        while found.status != "ready":
            if found.status == "failed":
                raise bad_answer("a build failed without a reason") if found.error is None else error_of(found.error)
            raise_if_late(until, f"the build of {found.id}")
            await runtime.sleep(min(look, time_left(until)))
            look = min(look * 1.5, longest)
            found = await self.get(found.id)
        return await self.get(found.id)

    async def upload(
        self,
        name: str,
        *,
        program: File | None = None,
        r1cs: File | None = None,
        wasm: File | None = None,
        zkey: File | None = None,
        sym: File | None = None,
        input: File | None = None,  # noqa: A002
        trust: str | None = None,
    ) -> Circuit:
        """Uploads a compiled circuit: ``program`` of Noir, or ``r1cs``, ``wasm`` and ``zkey`` of circom. For operators.

        Files are paths or bytes, and are streamed. ``input`` has the inputs of a sample, which the server proves before
        it publishes the circuit. ``trust`` is who made the key of a circom circuit: ``ceremony``, ``local`` or
        ``unknown``. The same name with the same files is the same circuit.
        """
        files = {"program": program, "r1cs": r1cs, "wasm": wasm, "zkey": zkey, "sym": sym, "input": input}
        call = requests.upload_circuit(name, trust, files, self._http.long_deadline())
        return (await self._http.send(call)).decode(Circuit)

    async def delete(self, circuit: str) -> RemovedCircuit:
        """Removes a circuit that was built or uploaded. For operators."""
        self._known.pop(circuit, None)
        return (await self._http.send(requests.delete_circuit(circuit))).decode(RemovedCircuit)

    async def proof_body(self, circuit: str, inputs: Inputs | None, witness: Witness | None) -> Body:
        """What a request for a proof sends."""
        if (inputs is None) == (witness is None):
            raise invalid_option("a proof needs inputs or a witness, and not both")
        if witness is not None:
            return witness_body(witness)
        if not isinstance(inputs, Mapping):
            raise invalid_option("inputs must be a mapping of names to values; a witness is given as witness=…")
        known = self._known.get(circuit)
        if known is None:
            known = await self.get(circuit)
            if known.status == "ready":
                self._remember(circuit, known)
        return inputs_body(inputs, known)

    def forget_after(self, circuit: str, error: EdgeproveError) -> None:
        """Forgets the inputs of a circuit that may have changed since they were read."""
        if error.code == "invalid_inputs":
            self._known.pop(circuit, None)

    def _remember(self, name: str, circuit: Circuit) -> None:
        if len(self._known) >= _MEMORY_MAX:
            self._known.pop(next(iter(self._known), ""), None)
        self._known[name] = circuit
