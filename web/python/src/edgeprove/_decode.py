"""Checks JSON against the types of ``wire.py``.

Each class of that module is a dataclass whose annotations are the types of its members. A member that a class does not
have is ignored, because a newer server may add members.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from ._errors import bad_answer

T = TypeVar("T")

#: Documents of the server are nested less deep than this.
_DEPTH_MAX = 64


class DecodeError(ValueError):
    """A value that does not have the expected type. The text names its path and never the value."""


def wire(name: str, **options: Any) -> Any:
    """A dataclass field whose name on the wire differs."""
    return dataclasses.field(metadata={"wire": name}, **options)


def decode(kind: type[T], value: object, *, status: int | None = None, request_id: str | None = None) -> T:
    """The object that a JSON value describes. Raises ``bad_answer`` where it has another shape."""
    try:
        decoded = decode_strictly(kind, value)
    except DecodeError as error:
        detail = f"the answer of the server is no {kind.__name__}: {error}. Is the URL that of an Edgeprove server?"
        raise bad_answer(detail, status=status, request_id=request_id) from None
    return decoded


def decode_strictly(kind: type[T], value: object, *, refuse_unknown: bool = False) -> T:
    """As :func:`decode`, with :class:`DecodeError`. ``refuse_unknown`` also refuses members that the type lacks."""
    return typing.cast(T, _decode(kind, value, "", refuse_unknown, 0))


def _decode(kind: Any, value: object, path: str, strict: bool, depth: int) -> object:
    if depth > _DEPTH_MAX:
        raise DecodeError(f"{path or 'it'} is nested too deep")
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_object(kind, value, path, strict, depth)
    if origin is Literal:
        if value in typing.get_args(kind) and isinstance(value, str | bool):
            return value
        raise DecodeError(f"{path or 'it'} has a value that this client does not know")
    if origin in (typing.Union, types.UnionType):
        return _decode_union(typing.get_args(kind), value, path, strict, depth)
    if origin is list:
        (item,) = typing.get_args(kind)
        if not isinstance(value, list):
            raise _wrong(path, "an array", value)
        return [_decode(item, entry, f"{path}[{i}]", strict, depth + 1) for i, entry in enumerate(value)]
    if origin is dict:
        _, item = typing.get_args(kind)
        if not isinstance(value, dict):
            raise _wrong(path, "an object", value)
        return {str(name): _decode(item, entry, f"{path}.{name}", strict, depth + 1) for name, entry in value.items()}
    return _decode_scalar(kind, value, path)


def _decode_object(kind: Any, value: object, path: str, strict: bool, depth: int) -> object:
    if not isinstance(value, Mapping):
        raise _wrong(path, "an object", value)
    arguments: dict[str, object] = {}
    for field, member, hint in _members(kind):
        if member in value:
            arguments[field.name] = _decode(hint, value[member], f"{path}.{member}".lstrip("."), strict, depth + 1)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DecodeError(f"`{f'{path}.{member}'.lstrip('.')}` is missing")
    unknown = set(value) - {member for _, member, _ in _members(kind)}
    if strict and unknown:
        raise DecodeError(f"{path or kind.__name__} has members that the type lacks: {', '.join(sorted(unknown))}")
    return kind(**arguments)


def _decode_union(kinds: tuple[Any, ...], value: object, path: str, strict: bool, depth: int) -> object:
    if value is None and type(None) in kinds:
        return None
    failure: DecodeError | None = None
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _decode(kind, value, path, strict, depth)
        except DecodeError as error:
            failure = failure or error
    raise failure or _wrong(path, "null", value)


def _decode_scalar(kind: Any, value: object, path: str) -> object:
    # `bool` is a subclass of `int`, and JSON writes whole numbers of a float without a fraction.
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise DecodeError(f"{path or 'it'} is a number without bounds") from None
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in (str, bool) and isinstance(value, kind):
        return value
    names = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
    raise _wrong(path, names.get(kind, "something else"), value)


def _wrong(path: str, expected: str, value: object) -> DecodeError:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    found = names.get(type(value), "a number")
    return DecodeError(
        f"`{path}` should be {expected} and is {found}" if path else f"it should be {expected} and is {found}"
    )


@functools.cache
def _members(kind: Any) -> tuple[tuple[dataclasses.Field[Any], str, Any], ...]:
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    return tuple((field, field.metadata.get("wire", field.name), hints[field.name]) for field in fields)
