"""Compares the types of ``wire.py`` with the OpenAPI document of the server."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

import pytest

from edgeprove import wire

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

#: Each class with the schema of the server.
CLASSES: dict[type, str] = {
    wire.ProblemDocument: "Problem",
    wire.JobLinks: "JobLinks",
    wire.StageTime: "StageTime",
    wire.Job: "JobDocument",
    wire.JobPage: "JobPage",
    wire.ServerTimings: "Timings",
    wire.ProofAnswer: "ProofAnswer",
    wire.Calldata: "Calldata",
    wire.CircuitFile: "CircuitFile",
    wire.Gas: "ContractGas",
    wire.CircuitVerifier: "CircuitVerifier",
    wire.PowersOfTau: "PowersOfTau",
    wire.Setup: "CircuitSetup",
    wire.Built: "BuiltFrom",
    wire.Uploaded: "UploadedCircuit",
    wire.BuildProgress: "BuildProgress",
    wire.DeployedContract: "DeployedContract",
    wire.Deployment: "DeploymentEntry",
    wire.Circuit: "CircuitDetails",
    wire.CircuitPage: "CircuitList",
    wire.TemplateEntry: "TemplateSummary",
    wire.TemplateList: "TemplateList",
    wire.TemplateInput: "Input",
    wire.SampleInputs: "Sample",
    wire.TemplateSample: "SampleDocument",
    wire.Attestation: "Attestation",
    wire.HpkeSuite: "HpkeSuite",
    wire.Receipt: "Receipt",
    wire.ReceiptKey: "ReceiptKeyDocument",
    wire.ReceiptProgram: "ReceiptProgram",
    wire.ReceiptServer: "ReceiptServer",
    wire.Receipts: "ReceiptsDocument",
    wire.Sealing: "SealingDocument",
    wire.SealingKey: "SealingKeyDocument",
    wire.ServiceDocument: "ServiceDocument",
    wire.ServiceLimits: "ServiceLimits",
    wire.ServiceVersions: "Versions",
    wire.Template: "TemplateDocument",
    wire.Verdict: "Verdict",
    wire.RemovedCircuit: "RemovedCircuit",
    wire.BbHealth: "BbHealth",
    wire.CrsHealth: "CrsHealth",
    wire.ProverHealth: "ProverHealth",
    wire.CircuitHealth: "CircuitHealth",
    wire.JobsHealth: "JobsHealth",
    wire.Health: "Health",
    wire.NewVoucher: "NewVoucher",
}

#: Each alias of words with the schema of the server.
WORDS = {
    wire.CircuitStatus: "CircuitStatus",
    wire.JobStatus: "JobStatus",
    wire.Priority: "Priority",
    wire.Target: "Target",
}


def members_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The members of a schema, those of its alternatives included."""
    members = dict(schema.get("properties", {}))
    for part in schema.get("oneOf", []):
        members.update(part.get("properties", {}))
    return members


def may_be_missing(schema: dict[str, Any], name: str) -> bool:
    parts = [schema, *schema.get("oneOf", [])]
    return not any(name in part.get("required", []) for part in parts)


def may_be_null(member: dict[str, Any]) -> bool:
    kinds = member.get("type", [])
    alternatives = member.get("anyOf", [])
    return "null" in kinds if isinstance(kinds, list) else any(part.get("type") == "null" for part in alternatives)


def words_of(schema: dict[str, Any]) -> list[str]:
    """The words that a schema allows."""
    found = list(schema.get("enum", []))
    for part in schema.get("oneOf", []):
        found += part.get("enum", []) + ([part["const"]] if "const" in part else [])
    return found


def is_optional(kind: Any) -> bool:
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return is_union and type(None) in typing.get_args(kind)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_type_has_the_members_of_the_contract(kind: type) -> None:
    schema = SCHEMAS[CLASSES[kind]]
    expected = members_of(schema)
    hints = typing.get_type_hints(kind)
    entries = {entry.metadata.get("wire", entry.name): entry for entry in dataclasses.fields(kind)}
    assert entries.keys() == expected.keys()
    for name, entry in entries.items():
        has_default = entry.default is not dataclasses.MISSING or entry.default_factory is not dataclasses.MISSING
        assert has_default or not may_be_missing(schema, name), f"{name} may be missing"
        hint = hints[entry.name]
        assert is_optional(hint) or hint is Any or not may_be_null(expected[name]), f"{name} may be null"


@pytest.mark.parametrize("alias", WORDS, ids=lambda alias: str(WORDS[alias]))
def test_words_are_those_of_the_contract(alias: Any) -> None:
    assert sorted(typing.get_args(alias)) == sorted(words_of(SCHEMAS[WORDS[alias]]))


def test_every_class_is_compared() -> None:
    own = {value for value in vars(wire).values() if isinstance(value, type) and dataclasses.is_dataclass(value)}
    # The contract has these in place, without a name.
    in_place = {wire.Groth16Proof, wire.CircuitInput}
    assert {kind.__name__ for kind in own - CLASSES.keys() - in_place} == set()
