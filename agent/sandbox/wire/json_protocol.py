"""AWS JSON 1.1 from the service's side, with botocore's models as the source of all shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape  # type: ignore[import-untyped]
from botocore.validate import ParamValidator  # type: ignore[import-untyped]

from agent.sandbox.engine.records import Json
from agent.sandbox.errors import RefusedError
from agent.sandbox.wire.inputs import MemberFaults
from agent.sandbox.wire.messages import Request, SandboxAnswer

CONTENT_TYPE = "application/x-amz-json-1.1"


class JsonProtocol:
    """Reads and writes the messages of one service.

    ``invalid`` is its fault for input that breaks the model, where ``faults`` has none of the member's own.
    """

    def __init__(self, model: ServiceModel, *, invalid: str, faults: Mapping[str, MemberFaults] | None = None) -> None:
        self._model = model
        self._invalid = invalid
        self._faults = faults or {}

    def operation(self, name: str) -> OperationModel:
        """Return an operation's model, or refuse with UnknownOperationException."""
        if name not in self._model.operation_names:
            raise RefusedError("UnknownOperationException", f"There is no operation {name}.")
        return self._model.operation_model(name)

    def read(self, request: Request, operation: OperationModel) -> Json:
        """Return the input of a call, checked against the model."""
        media = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if request.method != "POST" or request.path != "/" or media != CONTENT_TYPE:
            raise RefusedError("SerializationException", f"Calls are POST / with the content type {CONTENT_TYPE}.")
        try:
            params = json.loads(request.body() or b"{}")
        except (ValueError, RecursionError):
            raise RefusedError("SerializationException", "The body is not JSON.") from None
        if not isinstance(params, dict):
            raise RefusedError("SerializationException", "The body is not a JSON object.")
        given = {name: value for name, value in params.items() if value is not None}
        self.check(operation, given)
        return given

    def write(self, operation: OperationModel, output: Json) -> SandboxAnswer:
        """Make the answer to a call; members that are None are left out."""
        shape = operation.output_shape
        body = json.dumps(_rendered(shape, output)).encode() if shape is not None else b"{}"
        return SandboxAnswer(200, body)

    def check(self, operation: OperationModel, params: Json) -> None:
        """Refuse an input that the model does not allow, with the fault of the member that is wrong."""
        shape = operation.input_shape
        if shape is None:
            return
        modelled = {error.name for error in operation.error_shapes}
        for name in shape.members:
            faults = self._faults.get(name, MemberFaults())
            is_missing = name not in params or (bool(faults.missing) and params[name] in ("", []))
            if is_missing and (name in shape.required_members or name in params):
                raise RefusedError(self._chosen((faults.missing,), modelled), f"{name} is missing.")
        for name in params:
            faults = self._faults.get(name, MemberFaults())
            problem = _problem(shape.members[name], params[name], faults.form, name) if name in shape.members else ""
            if problem:
                raise RefusedError(self._chosen(faults.invalid, modelled), problem)
        if problem := _type_fault(shape, params):
            raise RefusedError(self._invalid, problem)

    def _chosen(self, faults: tuple[str, ...], modelled: set[str]) -> str:
        return next((fault for fault in faults if fault in modelled), self._invalid)


def refusal(error: RefusedError) -> SandboxAnswer:
    """Make the answer that tells a JSON client of a fault."""
    body = json.dumps({"__type": error.fault, "message": error.message}).encode()
    return SandboxAnswer(error.status, body, headers=(("x-amzn-ErrorType", error.fault),))


def _type_fault(shape: Shape, value: object) -> str:
    """Return what botocore finds wrong with a value, or nothing."""
    try:
        report = ParamValidator().validate(value, shape)
    except RuntimeError as error:  # a number that is not a time
        return str(error)
    return str(report.generate_report()) if report.has_errors() else ""


def _problem(shape: Shape, value: object, form: re.Pattern[str] | None, path: str) -> str:
    """Return what is wrong with a member, also by the limits that botocore leaves to the service, or nothing."""
    if fault := _type_fault(shape, value):
        return f"{path}: {fault}"
    if isinstance(value, str | list) and len(value) > shape.metadata.get("max", len(value)):
        return f"{path} has {len(value)} characters or items, and at most {shape.metadata['max']} are allowed."
    if isinstance(value, dict) and shape.type_name == "structure":
        parts = [
            (shape.members[name], part, None, f"{path}.{name}") for name, part in value.items() if part is not None
        ]
        return next(filter(None, (_problem(*one) for one in parts)), "")
    if isinstance(value, list) and shape.type_name == "list":
        return next(filter(None, (_problem(shape.member, part, form, path) for part in value)), "")
    if not isinstance(value, str):
        return ""
    pattern = form.pattern if form else shape.metadata.get("pattern")
    if pattern and not re.fullmatch(pattern, value):
        return f"{path}: {value!r} is not of the form {pattern}."
    choices = shape.metadata.get("enum")
    return f"{path}: {value!r} is not one of {', '.join(choices)}." if choices and value not in choices else ""


def _rendered(shape: Shape, value: Any) -> object:  # noqa: ANN401  # what the shape says
    """Return a value as JSON; KeyError for a member that the model does not know."""
    if shape.type_name == "structure":
        return {name: _rendered(shape.members[name], part) for name, part in value.items() if part is not None}
    if shape.type_name == "list":
        return [_rendered(shape.member, part) for part in value]
    if shape.type_name == "timestamp":
        return round(float(value), 3)
    return value
