"""The types of ``wire.py`` are those of the contract, ``docs/openapi.json``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from edgeprove import wire

from .contract import differences
from .support import paths

COMPONENTS: dict[str, dict[str, Any]] = json.loads(
    (paths.REPOSITORY / "docs/openapi.json").read_text(encoding="utf-8")
)["components"]["schemas"]

#: Types with a name other than that of their schema.
NAMES = {
    "Built": "BuiltFrom",
    "Circuit": "CircuitDetails",
    "CircuitInput": "Input",
    "CircuitPage": "CircuitList",
    "Deployment": "DeploymentEntry",
    "Gas": "ContractGas",
    "Job": "JobDocument",
    "ProblemDocument": "Problem",
    "ReceiptKey": "ReceiptKeyDocument",
    "Receipts": "ReceiptsDocument",
    "SampleInputs": "Sample",
    "Sealing": "SealingDocument",
    "SealingKey": "SealingKeyDocument",
    "ServerTimings": "Timings",
    "ServiceVersions": "Versions",
    "Setup": "CircuitSetup",
    "Template": "TemplateDocument",
    "TemplateEntry": "TemplateSummary",
    "TemplateInput": "Input",
    "TemplateSample": "SampleDocument",
    "Uploaded": "UploadedCircuit",
}
#: The document has these within other schemas, or not at all: the inputs of a circuit are as in the ABI of Noir.
WITHOUT_SCHEMA = {"CircuitInput", "Groth16Proof"}
#: ``Circuit`` is one type for two schemas: an entry of a list, and a circuit with its inputs.
OF_CIRCUITS = {"inputs", "deployments", "sample", "program"}
DATACLASSES = [kind for kind in vars(wire).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]


def found(kind: Any, schema: dict[str, Any]) -> list[str]:
    """The differences but for those of circuits in lists."""
    all_of_them = differences(kind, schema, COMPONENTS)
    of_lists = {f"{path}{name}" for path in ("", "circuits[].") for name in OF_CIRCUITS}
    is_circuit = kind in (wire.Circuit, wire.CircuitPage)
    return [text for text in all_of_them if not (is_circuit and text.partition(":")[0] in of_lists)]


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: str(kind.__name__))
def test_every_type_is_that_of_the_contract(kind: Any) -> None:
    name = kind.__name__
    if name in WITHOUT_SCHEMA:
        assert name not in COMPONENTS
    else:
        assert found(kind, COMPONENTS[NAMES.get(name, name)]) == []


def test_a_difference_is_found() -> None:
    def changed(name: str, change: dict[str, Any]) -> dict[str, Any]:
        return {**COMPONENTS[name], **change}

    job = COMPONENTS["JobDocument"]
    without = {name: schema for name, schema in job["properties"].items() if name != "stage"}
    assert found(wire.Job, changed("JobDocument", {"properties": without})) == ["stage: the document does not have it"]
    more = {**job["properties"], "colour": {"type": "string"}}
    assert found(wire.Job, changed("JobDocument", {"properties": more})) == ["colour: the type does not have it"]
    texts = {**job["properties"], "attempts": {"type": "string"}}
    assert len(found(wire.Job, changed("JobDocument", {"properties": texts}))) == 1
    required = [*job["required"], "owner"]
    assert len(found(wire.Job, changed("JobDocument", {"required": required}))) == 1
    not_null = {**job["properties"], "started_at": {"type": "string"}}
    assert len(found(wire.Job, changed("JobDocument", {"properties": not_null}))) == 1
    words = {**job["properties"], "priority": {"type": "string", "enum": ["LOW", "HIGH"]}}
    assert len(found(wire.Job, changed("JobDocument", {"properties": words}))) == 1
