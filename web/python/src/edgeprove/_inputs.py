"""Inputs of a circuit: their form for a server that computes the witness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex, TypeAlias

from ._body import Body, json_body
from ._errors import EdgeproveError
from .wire import Circuit

#: A value of an input, as in noir_js: a whole number, a text, true or false, an array, or an object for a struct.
InputValue: TypeAlias = "str | bool | SupportsIndex | Sequence[InputValue] | Mapping[str, InputValue]"
#: The inputs of a circuit by name.
Inputs: TypeAlias = "Mapping[str, Any]"

#: Types of a circuit are nested less deep than this.
_DEPTH_MAX = 64
#: Beyond this, JSON parsers round numbers. The server takes digits as a text.
_SAFE = 2**53 - 1


def inputs_body(inputs: Inputs, circuit: Circuit) -> Body:
    """The body of a request in which the server computes the witness. Raises ``invalid_inputs``."""
    public = {entry.name for entry in circuit.inputs or () if entry.visibility != "private"}
    values = {_name(name, ""): _plain(value, str(name), 0) for name, value in inputs.items()}
    document = {"privateInputs": {name: value for name, value in values.items() if name not in public}}
    # A circuit of circom decides itself which signals are public.
    if public:
        document["publicInputs"] = {name: value for name, value in values.items() if name in public}
    return json_body(document)


def _plain(value: object, path: str, depth: int) -> object:
    if depth > _DEPTH_MAX:
        raise _invalid(path, "is nested too deep")
    if isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {_name(name, path): _plain(item, f"{path}.{name}", depth + 1) for name, item in value.items()}
    # `bytes` are a sequence of whole numbers: an array of `u8`.
    if isinstance(value, Sequence):
        return [_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, SupportsIndex):
        number = value.__index__()
        return number if abs(number) <= _SAFE else _digits(number, path)
    if isinstance(value, float):
        raise _invalid(path, "is a number with a fraction: use an int or a text")
    raise _invalid(path, "has a value that is no input")


def _digits(number: int, path: str) -> str:
    # Python refuses decimal digits of very long numbers, and no field element has so many.
    if number.bit_length() > 1024:
        raise _invalid(path, "is larger than every field element")
    return str(number)


def _name(name: object, path: str) -> str:
    if not isinstance(name, str):
        raise _invalid(path or "names", "has a name that is no text")
    return name


def _invalid(path: str, what: str) -> EdgeproveError:
    return EdgeproveError("invalid_inputs", f"the input {path} {what}", field=path)
