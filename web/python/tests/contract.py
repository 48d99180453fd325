"""Compares the types of ``wire.py`` with the schemas of ``docs/openapi.json``: members, ``null``, and words."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

Schema = Mapping[str, Any]

#: Members of which the document has any text, and the types have the words that the server knows.
NARROWER = {"language"}


def differences(kind: Any, schema: Schema, components: Mapping[str, Schema], path: str = "") -> Iterator[str]:
    """Each difference, with its path."""
    schema, schema_null = _resolve(schema, components)
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    kinds = [option for option in options if option is not type(None)]
    if Any in kinds or kinds == [object] or not schema:
        return
    if (type(None) in options) != schema_null:
        yield f"{path}: null is {'allowed' if schema_null else 'not allowed'} by the document alone or the type alone"
    alternatives = schema.get("anyOf", [schema])
    names = {_name(_resolve(one, components)[0]) for one in alternatives}
    found = {_name_of_kind(one) for one in kinds}
    # A float also takes whole numbers.
    if names != found and (names, found) != ({"integer"}, {"number"}):
        yield f"{path}: the document has {sorted(names)}, the type {sorted(found)}"
        return
    by_name = {_name(one): one for one in (_resolve(entry, components)[0] for entry in alternatives)}
    for one in kinds:
        yield from _compare(one, by_name.get(_name_of_kind(one), schema), components, path)


def _compare(kind: Any, schema: Schema, components: Mapping[str, Schema], path: str) -> Iterator[str]:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield from _members(kind, schema, components, path)
    elif origin is list:
        yield from differences(typing.get_args(kind)[0], schema.get("items", {}), components, f"{path}[]")
    elif origin is dict:
        values = schema.get("additionalProperties", {})
        if isinstance(values, Mapping):
            yield from differences(typing.get_args(kind)[1], values, components, f"{path}.*")
    elif origin is Literal or kind is str:
        words = set(typing.get_args(kind))
        expected = _words(schema)
        if words and words != expected and not (not expected and path.rpartition(".")[2] in NARROWER):
            yield f"{path}: the document has the words {sorted(expected)}, the type {sorted(words)}"


def _members(kind: Any, schema: Schema, components: Mapping[str, Schema], path: str) -> Iterator[str]:
    hints = typing.get_type_hints(kind)
    properties = dict(schema.get("properties", {}))
    required = set(schema.get("required", []))
    for field in dataclasses.fields(kind):
        member = field.metadata.get("wire", field.name)
        where = f"{path}.{member}".lstrip(".")
        if member not in properties:
            yield f"{where}: the document does not have it"
            continue
        may_be_missing = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if may_be_missing == (member in required):
            yield f"{where}: it is {'required' if member in required else 'optional'} in the document alone"
        expected = properties.pop(member)
        hint = hints[field.name]
        if may_be_missing and field.default is None:
            # The type has ``None`` for a member that is missing. Whether it may also be ``null`` is no difference.
            hint = _without_none(hint)
            expected = _without_null(expected, components)
        yield from differences(hint, expected, components, where)
    for member in properties:
        yield f"{path}.{member}: the type does not have it".lstrip(".")


def _without_none(hint: Any) -> Any:
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else hint


def _without_null(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    return _resolve(schema, components)[0]


def _resolve(schema: Any, components: Mapping[str, Schema]) -> tuple[Schema, bool]:
    """The schema without references and ``null``, and whether ``null`` is allowed."""
    if not isinstance(schema, Mapping):
        return {}, False
    null = False
    while True:
        if "$ref" in schema:
            schema = components[schema["$ref"].rpartition("/")[2]]
        elif isinstance(schema.get("type"), list):
            (kind,) = (kind for kind in schema["type"] if kind != "null")
            null, schema = null or "null" in schema["type"], {**schema, "type": kind}
        elif {"type": "null"} in schema.get("anyOf", []):
            rest = [one for one in schema["anyOf"] if one != {"type": "null"}]
            null, schema = True, rest[0] if len(rest) == 1 else {**schema, "anyOf": rest}
        elif len(schema.get("oneOf", [])) == 1:
            (schema,) = schema["oneOf"]
        else:
            return schema, null


def _words(schema: Schema) -> set[str]:
    if "oneOf" in schema:
        return {word for one in schema["oneOf"] for word in _words(one)}
    return {schema["const"]} if "const" in schema else set(schema.get("enum", []))


def _name(schema: Schema) -> str:
    if "oneOf" in schema:
        (name,) = {_name(one) for one in schema["oneOf"]}
        return name
    if "const" in schema and "type" not in schema:
        return {str: "string", bool: "boolean"}[type(schema["const"])]
    return str(schema.get("type", "anything"))


def _name_of_kind(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is Literal:
        return {str: "string", bool: "boolean"}[type(typing.get_args(kind)[0])]
    if dataclasses.is_dataclass(kind) or origin is dict:
        return "object"
    return {list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}[origin or kind]
