"""AWS JSON 1.1 from the service's side, with botocore's models as the source of all shapes."""

from __future__ import annotations

import json
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape  # type: ignore[import-untyped]
from botocore.validate import ParamValidator  # type: ignore[import-untyped]

from agent.sandbox.engine.records import Json
from agent.sandbox.errors import RefusedError
from agent.sandbox.wire.messages import Answer, Request

CONTENT_TYPE = "application/x-amz-json-1.1"


class JsonProtocol:
    """Reads and writes the messages of one service; ``invalid`` is its fault for input that breaks the model."""

    def __init__(self, model: ServiceModel, *, invalid: str) -> None:
        self._model = model
        self._invalid = invalid

    def operation(self, name: str) -> OperationModel:
        """Give an operation's model, or refuse with UnknownOperationException."""
        if name not in self._model.operation_names:
            raise RefusedError("UnknownOperationException", f"There is no operation {name}.")
        return self._model.operation_model(name)

    def read(self, request: Request, operation: OperationModel) -> Json:
        """Give the input of a call, checked against the model."""
        media = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if request.method != "POST" or request.path != "/" or media != CONTENT_TYPE:
            raise RefusedError("SerializationException", f"Calls are POST / with the content type {CONTENT_TYPE}.")
        try:
            params = json.loads(request.body() or b"{}")
        except ValueError:
            raise RefusedError("SerializationException", "The body is not JSON.") from None
        if not isinstance(params, dict):
            raise RefusedError("SerializationException", "The body is not a JSON object.")
        given = {name: value for name, value in params.items() if value is not None}
        self._check(operation, given)
        return given

    def write(self, operation: OperationModel, output: Json) -> Answer:
        """Make the answer to a call; members that are None are left out."""
        shape = operation.output_shape
        body = json.dumps(_rendered(shape, output)).encode() if shape is not None else b"{}"
        return Answer(200, body)

    def _check(self, operation: OperationModel, params: Json) -> None:
        shape = operation.input_shape
        if shape is None:
            return
        faults = {error.name for error in operation.error_shapes}
        for name in shape.required_members:
            if name not in params:
                fault = f"{name[0].upper()}{name[1:]}RequiredException"
                raise RefusedError(fault if fault in faults else self._invalid, f"{name} is missing.")
        report = ParamValidator().validate(params, shape)
        if report.has_errors():
            raise RefusedError(self._invalid, report.generate_report())
        _check_sizes(shape, params, self._invalid)


def refusal(error: RefusedError) -> Answer:
    """Make the answer that tells a JSON client of a fault."""
    body = json.dumps({"__type": error.fault, "message": error.message}).encode()
    return Answer(error.status, body, headers=(("x-amzn-ErrorType", error.fault),))


def _check_sizes(shape: Shape, value: object, fault: str, path: str = "") -> None:
    """Refuse texts and lists that are longer than the model allows; botocore leaves the upper limit to the service."""
    largest = shape.metadata.get("max")
    if largest is not None and isinstance(value, str | list) and len(value) > largest:
        raise RefusedError(fault, f"{path} has {len(value)} characters or items, and at most {largest} are allowed.")
    if isinstance(value, dict) and shape.type_name == "structure":
        for name, part in value.items():
            _check_sizes(shape.members[name], part, fault, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list) and shape.type_name == "list":
        for part in value:
            _check_sizes(shape.member, part, fault, f"{path}[]")


def _rendered(shape: Shape, value: Any) -> object:  # noqa: ANN401  # what the shape says
    """Give a value as JSON; KeyError for a member that the model does not know."""
    if shape.type_name == "structure":
        return {name: _rendered(shape.members[name], part) for name, part in value.items() if part is not None}
    if shape.type_name == "list":
        return [_rendered(shape.member, part) for part in value]
    if shape.type_name == "timestamp":
        return round(float(value), 3)
    return value
