"""The calls of CodeDeploy and IAM that registration needs, with errors that a person understands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from agent.fleet.checks import IAM_PATH, Tag
from agent.fleet.errors import RegistrationError

POLICY = "codedeploy-agent"


class ApiOptions(NamedTuple):
    """Whom to ask, and as whom; what is None is found as the AWS command line finds it."""

    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None


class Api:
    """CodeDeploy and IAM, asked with the operator's own credentials (never with those of the host)."""

    def __init__(self, options: ApiOptions) -> None:
        # Heavy, and only for these two commands.
        import boto3  # type: ignore[import-untyped]
        import botocore.exceptions  # type: ignore[import-untyped]

        self._error: Any = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)
        try:
            session = boto3.session.Session(region_name=options.region, profile_name=options.profile)
            self._codedeploy: Any = session.client("codedeploy", endpoint_url=options.endpoint_url)
            self._iam: Any = session.client("iam", endpoint_url=options.endpoint_url)
        except botocore.exceptions.NoRegionError as error:
            raise RegistrationError(
                "The AWS region is missing.",
                remedy="Pass --region, set AWS_DEFAULT_REGION, or pass a --profile that has a region.",
            ) from error
        except (*self._error, ValueError) as error:  # the library's for an endpoint that is not a URL
            raise RegistrationError(
                f"The AWS client cannot be set up: {str(error).rstrip('.')}.",
                remedy="Correct --profile or --endpoint-url, or the AWS configuration of this account.",
            ) from error
        self.region: str = session.region_name

    def _call(self, client: Any, method: str, **arguments: object) -> dict[str, Any]:  # noqa: ANN401
        try:
            return dict(getattr(client, method)(**arguments))
        except self._error as error:
            answer = getattr(error, "response", None) or {}  # an answer that was lost is None
            code = answer.get("Error", {}).get("Code", "")
            raise ApiError(f"{method} failed: {error}", code=code) from error

    def register(self, name: str, arn: str, *, session: bool) -> None:
        """Register an instance under the ARN of a user or a session. Raises ApiError."""
        which = "iamSessionArn" if session else "iamUserArn"
        self._call(self._codedeploy, "register_on_premises_instance", instanceName=name, **{which: arn})

    def deregister(self, name: str) -> None:
        """Deregister an instance. Raises ApiError."""
        self._call(self._codedeploy, "deregister_on_premises_instance", instanceName=name)

    def instance(self, name: str) -> dict[str, Any] | None:
        """What the service knows of an instance; None where it knows none that is registered. Raises ApiError."""
        try:
            found = self._call(self._codedeploy, "get_on_premises_instance", instanceName=name)["instanceInfo"]
        except ApiError as error:
            if error.service_code == "InstanceNotRegisteredException":
                return None
            raise
        return None if found.get("deregisterTime") else dict(found)

    def add_tags(self, name: str, tags: Sequence[Tag]) -> None:
        """Tag an instance. Raises ApiError."""
        self._tags("add_tags_to_on_premises_instances", name, tags)

    def remove_tags(self, name: str, tags: Sequence[Tag]) -> None:
        """Take tags from an instance. Raises ApiError."""
        self._tags("remove_tags_from_on_premises_instances", name, tags)

    def _tags(self, method: str, name: str, tags: Sequence[Tag]) -> None:
        self._call(self._codedeploy, method, tags=[tag.as_shape() for tag in tags], instanceNames=[name])

    def create_user(self, name: str) -> str:
        """Make an IAM user for an instance; give its ARN. Raises ApiError."""
        return str(self._call(self._iam, "create_user", Path=IAM_PATH, UserName=name)["User"]["Arn"])

    def create_key(self, user: str) -> tuple[str, str]:
        """Make an access key; give its id and its secret. Raises ApiError."""
        key = self._call(self._iam, "create_access_key", UserName=user)["AccessKey"]
        return str(key["AccessKeyId"]), str(key["SecretAccessKey"])

    def allow_reading(self, user: str, buckets: Sequence[str], *, partition: str) -> None:
        """Let a user fetch revisions from these buckets, from all where none is named. Raises ApiError."""
        arns = [f"arn:{partition}:s3:::{bucket}{rest}" for bucket in buckets for rest in ("", "/*")] or ["*"]
        statement = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": arns}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._call(self._iam, "put_user_policy", UserName=user, PolicyName=POLICY, PolicyDocument=document)

    def has_user(self, user: str) -> bool:
        """Whether there is an IAM user of this name; asked with what removing it needs anyway. Raises ApiError."""
        return self._call_if_there("list_access_keys", UserName=user) is not None

    def delete_user(self, user: str) -> None:
        """Remove a user with its keys and inline policies; what is gone already is not an error. Raises ApiError."""
        for key in (self._call_if_there("list_access_keys", UserName=user) or {}).get("AccessKeyMetadata", ()):
            self._call_if_there("delete_access_key", UserName=user, AccessKeyId=key["AccessKeyId"])
        for policy in (self._call_if_there("list_user_policies", UserName=user) or {}).get("PolicyNames", ()):
            self._call_if_there("delete_user_policy", UserName=user, PolicyName=policy)
        self._call_if_there("delete_user", UserName=user)

    def _call_if_there(self, method: str, **arguments: object) -> dict[str, Any] | None:
        """Ask IAM; None where it knows nothing of that name."""
        try:
            return self._call(self._iam, method, **arguments)
        except ApiError as error:
            if error.service_code == "NoSuchEntity":
                return None
            raise


class ApiError(RegistrationError):
    """A call was refused or did not arrive; ``service_code`` is the service's word for it, or empty."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.service_code = code
