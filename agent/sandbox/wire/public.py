"""The public CodeDeploy API, as SDKs and the AWS CLI speak it."""

from __future__ import annotations

import botocore.loaders  # type: ignore[import-untyped]
from botocore.model import ServiceModel, StructureShape  # type: ignore[import-untyped]

from agent.sandbox.api import applications, deployments, groups, instances, revisions, tags, targets
from agent.sandbox.api.shared import Operation
from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Json
from agent.sandbox.errors import RefusedError
from agent.sandbox.wire.inputs import MEMBER_FAULTS
from agent.sandbox.wire.json_protocol import JsonProtocol
from agent.sandbox.wire.messages import Request, SandboxAnswer

TARGET_PREFIX = "CodeDeploy_20141006."
SIGNING_NAME = "codedeploy"

OPERATIONS: dict[str, Operation] = {
    **applications.OPERATIONS,
    **groups.OPERATIONS,
    **revisions.OPERATIONS,
    **instances.OPERATIONS,
    **deployments.OPERATIONS,
    **targets.OPERATIONS,
    **tags.OPERATIONS,
}


class PublicApi:
    """Answers the operations of ``OPERATIONS``; the service's others are refused by name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        model = botocore.loaders.Loader().load_service_model("codedeploy", "service-2")
        self._model = ServiceModel(model, "codedeploy")
        self._protocol = JsonProtocol(self._model, invalid="InvalidInputException", faults=MEMBER_FAULTS)

    def answer(self, name: str, request: Request) -> SandboxAnswer:
        """Carry out an operation whose caller has been checked."""
        model = self._protocol.operation(name)
        operation = OPERATIONS.get(name)
        if operation is None:
            raise RefusedError("OperationNotSupportedException", f"{name} is not supported by the sandbox.")
        params = self._protocol.read(request, model)
        with self._engine.lock:
            output = operation(self._engine, params)
            return self._protocol.write(model, output)

    def arn(self, resource: str) -> str:
        """Return the ARN of one of the service's resources."""
        return self._engine.scope.arn("codedeploy", resource)

    def input_shape(self, name: str) -> StructureShape:
        """Return the model of an operation's input."""
        return self._model.operation_model(name).input_shape

    def call(self, name: str, params: Json) -> Json:
        """Carry out an operation for the sandbox itself. Raises RefusedError as for any other caller."""
        self._protocol.check(self._protocol.operation(name), params)
        with self._engine.lock:
            return OPERATIONS[name](self._engine, params)
