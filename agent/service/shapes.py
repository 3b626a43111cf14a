"""The shapes of the command service, read from the model in this package, and values checked against them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from agent.service.errors import ProtocolError

MODEL_DIRECTORY = os.path.join(os.path.dirname(__file__), "model")
"""A data path for botocore's loader: ``codedeploy-commands/2014-10-06/service-2.json``."""

SECURE = {
    "apiVersion": "2019-11-11",
    "endpointPrefix": "codedeploy-commands-secure",
    "signingName": "codedeploy-commands-secure",
    "targetPrefix": "CodeDeployCommandService",
    "uid": "codedeploy-commands-secure-2019-11-11",
}
"""What is different where IAM policies for the commands are in force; operations and shapes are the same."""

_read: dict[str, Any] = {}


def load_model(*, secure: bool = False) -> Mapping[str, Any]:
    """Return the model as botocore's ``service-2.json`` has it, parsed; do not change it."""
    if not _read:
        with open(os.path.join(MODEL_DIRECTORY, "codedeploy-commands", "2014-10-06", "service-2.json"), "rb") as file:
            _read.update(json.load(file))
    return {**_read, "metadata": {**_read["metadata"], **SECURE}} if secure else _read


def serialise(operation: str, members: Mapping[str, object]) -> bytes:
    """Make the body of a request: compact JSON, members in the model's order.

    Raises ProtocolError for a member that is missing, unknown, of a wrong type, or too short or too long.
    """
    shape = load_model()["operations"][operation]["input"]["shape"]
    ordered = _input(shape, members, operation)
    return json.dumps(ordered, separators=(",", ":")).encode("ascii")


def _input(shape_name: str, value: object, where: str) -> object:
    shape = load_model()["shapes"][shape_name]
    if shape["type"] == "structure":
        return _input_structure(shape, value, where)
    _check_type(shape["type"], value, where)
    if isinstance(value, str):
        _check_text(shape, value, where)
    return value


def _input_structure(shape: Mapping[str, Any], value: object, where: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise ProtocolError(f"{where} is not a structure.")
    unknown = [name for name in value if name not in shape["members"]]
    missing = [name for name in shape.get("required", ()) if name not in value]
    if unknown or missing:
        raise ProtocolError(f"{where} has no member {unknown[0]}." if unknown else f"{where} lacks {missing[0]}.")
    return {
        name: _input(member["shape"], value[name], f"{where}.{name}")
        for name, member in shape["members"].items()
        if name in value
    }


def _check_text(shape: Mapping[str, Any], value: str, where: str) -> None:
    least, most = shape.get("min", 0), shape.get("max", len(value))
    if not least <= len(value) <= most:
        raise ProtocolError(f"{where} has {len(value)} characters; the service takes {least} to {most}.")
    if "enum" in shape and value not in shape["enum"]:
        raise ProtocolError(f"{where} is {value!r}; the service takes {', '.join(shape['enum'])}.")


TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "long": (int,),
    "timestamp": (int, float),
}


def _check_type(kind: str, value: object, where: str) -> None:
    if not isinstance(value, TYPES[kind]) or isinstance(value, bool):
        raise ProtocolError(f"{where} is not of the type {kind}.")


def parse(operation: str, body: bytes) -> dict[str, Any]:
    """Read the body of an answer; an empty one is an empty structure.

    Members that the model does not know are left out, as are those that are null. Lengths are not checked: the body
    is bounded by whoever read it. Raises ProtocolError for what is not JSON or of a wrong type.
    """
    if body.strip() in (b"", b"{}"):  # what nearly every poll brings
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"The answer to {operation} is not JSON.", remedy=_STRANGER) from error
    output = load_model()["operations"][operation].get("output")
    if output is None:
        return {}
    found = _output(output["shape"], value, f"The answer to {operation}")
    assert isinstance(found, dict)
    return found


_STRANGER = "Check that the endpoint is the command service's, and whether a proxy answers in its place."


def _output(shape_name: str, value: object, where: str) -> object:
    shape = load_model()["shapes"][shape_name]
    if shape["type"] != "structure":
        _check_type(shape["type"], value, where)
        return value
    if not isinstance(value, dict):
        raise ProtocolError(f"{where} is not a JSON object.", remedy=_STRANGER)
    return {
        name: _output(member["shape"], value[name], f"{where}: {name}")
        for name, member in shape["members"].items()
        if value.get(name) is not None
    }
