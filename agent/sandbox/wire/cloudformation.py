"""The three CodeDeploy types of CloudFormation: moto runs the stacks, and these make what a stack claims."""

from __future__ import annotations

from typing import Any, ClassVar

from botocore.model import Shape  # type: ignore[import-untyped]
from moto.cloudformation.exceptions import UnformattedGetAttTemplateException, ValidationError
from moto.cloudformation.models import cloudformation_backends
from moto.core.common_models import CloudFormationModel

from agent.sandbox.engine.catalogue import DEFAULT_CONFIG
from agent.sandbox.engine.records import Json
from agent.sandbox.errors import RefusedError
from agent.sandbox.wire.public import PublicApi


class _Made:
    """What a stack has made; moto finds the types among the direct subclasses of its own model class."""

    api: ClassVar[PublicApi]
    region: ClassVar[str]
    kind: ClassVar[str]

    def __init__(self, name: str, properties: Json) -> None:
        self.name = name
        self.properties = properties

    @property
    def physical_resource_id(self) -> str:
        """What ``Ref`` gives."""
        return self.name

    @classmethod
    def cloudformation_type(cls) -> str:
        """Return the type as templates name it."""
        return f"AWS::CodeDeploy::{cls.kind}"

    @classmethod
    def cloudformation_name_type(cls) -> str:
        """Return the property that holds the name."""
        return f"{cls.kind}Name"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """Tell whether ``Fn::GetAtt`` knows an attribute; there are none."""
        return False

    def get_cfn_attribute(self, attr: str) -> str:
        """Refuse an attribute."""
        raise UnformattedGetAttTemplateException

    def is_created(self) -> bool:
        """Tell that it is there: all is made at once."""
        return True

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **stack: str
    ) -> _Made:
        """Make the resource; a failure undoes the stack and is its reason."""
        try:
            if region_name != cls.region:
                raise RefusedError("InvalidRegion", f"The sandbox is in {cls.region} and not in {region_name}")
            made = cls(resource_name, _map(cloudformation_json["Properties"], "Properties"))
            made.make()
        except RefusedError as error:
            reason = f"{stack.get('LogicalId', resource_name)}: {error.message}"
            _roll_back(account_id, region_name, stack.get("StackId", ""), reason)
            raise ValidationError(message=reason) from error
        return made

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: _Made,
        new_resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> _Made:
        """Change the resource, or make another one in its place where its name or application is another."""
        name = original_resource.name
        try:
            properties = _map(cloudformation_json["Properties"], "Properties")
            name = properties.get(cls.cloudformation_name_type()) or name
            changed = cls(name, properties)
            if changed.request(cls.identity()) == original_resource.request(cls.identity()):
                changed.change(original_resource)
            else:
                changed.make()
                original_resource.unmake()
        except RefusedError as error:
            raise ValidationError(message=f"{name}: {error.message}") from error
        return changed

    def delete(self, account_id: str, region_name: str) -> None:
        """Delete the resource with its stack."""
        try:
            self.unmake()
        except RefusedError as error:
            raise ValidationError(message=f"{self.name}: {error.message}") from error

    @classmethod
    def identity(cls) -> str:
        """Return the operation whose input says which resource it is."""
        return f"Delete{cls.kind}"

    def make(self) -> None:
        """Create the resource as the public API does it."""
        self.call(f"Create{self.kind}")

    def unmake(self) -> None:
        """Delete the resource as the public API does it."""
        self.call(self.identity())

    def change(self, before: _Made) -> None:
        """Refuse a change: only another name makes another resource."""
        if self.request(f"Create{self.kind}") != before.request(f"Create{self.kind}"):
            raise RefusedError("InvalidInputException", f"A {self.kind} cannot be changed. Give it another name")

    def call(self, operation: str, **more: object) -> Json:
        """Call an operation with those properties that it takes."""
        return self.api.call(operation, {**self.request(operation), **more})

    def request(self, operation: str) -> Json:
        """Return an operation's input; a property that the type does not have is refused."""
        whole = self.api.input_shape(f"Create{self.kind}")
        values = {**self.properties, self.cloudformation_name_type(): self.name}
        converted: Json = _converted(whole, values, self.kind)
        return {name: value for name, value in converted.items() if name in self.api.input_shape(operation).members}

    def retag(self, resource: str, before: _Made) -> None:
        """Give a resource the tags of the template."""
        old = before.request(f"Create{self.kind}").get("tags") or []
        new = self.request(f"Create{self.kind}").get("tags") or []
        gone = [tag["Key"] for tag in old if tag["Key"] not in [one["Key"] for one in new]]
        arn = self.api.arn(resource)
        if gone:
            self.api.call("UntagResource", {"ResourceArn": arn, "TagKeys": gone})
        if new:
            self.api.call("TagResource", {"ResourceArn": arn, "Tags": new})


class ApplicationResource(_Made, CloudFormationModel):
    """``AWS::CodeDeploy::Application``."""

    kind = "Application"

    def change(self, before: _Made) -> None:
        """Change the tags."""
        self.retag(f"application:{self.name}", before)


class DeploymentConfigResource(_Made, CloudFormationModel):
    """``AWS::CodeDeploy::DeploymentConfig``."""

    kind = "DeploymentConfig"


class DeploymentGroupResource(_Made, CloudFormationModel):
    """``AWS::CodeDeploy::DeploymentGroup``; its ``Deployment`` is started when the group has been made."""

    kind = "DeploymentGroup"

    def __init__(self, name: str, properties: Json) -> None:
        super().__init__(name, {key: value for key, value in properties.items() if key != "Deployment"})
        self.deployment: Json | None = properties.get("Deployment")

    def make(self) -> None:
        """Create the group, and deploy where the template says so."""
        super().make()
        if self.deployment:
            shape = self.api.input_shape("CreateDeployment")
            names = self.request("CreateDeployment")
            desired = _converted(shape, _map(self.deployment, "Deployment"), "Deployment")
            self.api.call("CreateDeployment", {**names, **desired})

    def change(self, before: _Made) -> None:
        """Give the group the settings of the template, and no others."""
        shape = self.api.input_shape("UpdateDeploymentGroup")
        empty: dict[str, object] = {"list": [], "structure": {}}
        cleared = {name: empty[one.type_name] for name, one in shape.members.items() if one.type_name in empty}
        settings = {**cleared, "deploymentConfigName": DEFAULT_CONFIG, **self.request("UpdateDeploymentGroup")}
        self.api.call("UpdateDeploymentGroup", {**settings, "currentDeploymentGroupName": self.name})
        self.retag(f"deploymentgroup:{settings['applicationName']}/{self.name}", before)


def serve_stacks(api: PublicApi, region: str) -> None:
    """Let the stacks of moto make their CodeDeploy resources in this API, which is the last one given."""
    _Made.api, _Made.region = api, region


def _roll_back(account_id: str, region_name: str, stack_id: str, reason: str) -> None:
    stack = cloudformation_backends[account_id][region_name].stacks.get(stack_id)
    if stack is None:
        return
    stack.resource_map.delete()
    stack.status = "ROLLBACK_COMPLETE"
    stack._add_stack_event("ROLLBACK_COMPLETE", resource_status_reason=reason)


def _map(value: object, name: str) -> Json:
    if not isinstance(value, dict):
        raise RefusedError("InvalidInputException", f"{name} is not a map")
    return value


def _converted(shape: Shape, value: Any, path: str) -> Any:  # noqa: ANN401  # what the shape says
    """Write a property as the API does: other capitals, typed values, and no wrapping around lists in lists."""
    if shape.type_name == "structure" and isinstance(value, dict):
        members = {name.lower(): name for name in shape.members}
        unknown = [name for name in value if name.lower() not in members]
        if unknown:
            raise RefusedError("InvalidInputException", f"{path} has no property {unknown[0]} in the sandbox")
        return {
            members[name.lower()]: _converted(shape.members[members[name.lower()]], part, f"{path}.{name}")
            for name, part in value.items()
            if part is not None
        }
    if shape.type_name == "list" and isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()  # Ec2TagGroup, OnPremisesTagGroup
    if shape.type_name == "list" and isinstance(value, list):
        return [_converted(shape.member, part, path) for part in value if part is not None]
    if shape.type_name == "boolean" and value in ("true", "false"):
        return value == "true"
    if shape.type_name in ("integer", "long") and isinstance(value, str) and value.isdecimal():
        return int(value)
    return str(value) if shape.type_name == "string" and isinstance(value, int) else value
