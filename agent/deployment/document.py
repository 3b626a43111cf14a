"""The deployment specification of the service, from its JSON text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from agent.deployment.parse import safe_component
from agent.deployment.spec import (
    BundleType,
    DeploymentSpecification,
    GitHubRevision,
    LocalRevision,
    Revision,
    S3Revision,
)
from agent.errors import SpecificationError

_REMEDY = (
    "The service writes the specification, so create the deployment again; if this stays, see whether there is a "
    "newer agent, and where deploy_control_endpoint leads."
)
_ARCHIVES = (BundleType.TAR, BundleType.TGZ, BundleType.ZIP)
_REVISION_TYPES = ("S3", "GitHub", "Local File", "Local Directory")
# Neither paths nor environment variables can hold a NUL, nor UTF-8 half a character.
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
# What can stand in a header.
_TOKEN = re.compile(r"[\x21-\x7e]+")
_LONGEST_SHOWN = 60


def parse_specification(data: bytes) -> DeploymentSpecification:
    """Read the specification of a deployment from the content of its envelope, JSON in UTF-8.

    Keys that nobody here knows are ignored. Raises SpecificationError, which names everything that is wrong. Whether
    the name of the AppSpec file leads out of the revision is for whoever looks for the file.
    """
    problems: list[str] = []
    fields = _Fields(_document(data), "", problems)
    deployment_id = _component(_last_part(fields.required("DeploymentId")), "deployment id", problems)
    group_id = _component(fields.required("DeploymentGroupId"), "deployment group id", problems)
    overrides = fields.members("AgentActionOverrides").members("AgentOverrides")
    specification = DeploymentSpecification(
        deployment_id=deployment_id,
        deployment_group_id=group_id,
        deployment_group_name=fields.required("DeploymentGroupName"),
        application_name=fields.required("ApplicationName"),
        revision=_revision(fields.members("Revision", required=True)),
        deployment_creator=fields.optional("DeploymentCreator") or "user",
        deployment_type=fields.optional("DeploymentType") or "IN_PLACE",
        appspec_filename=fields.optional("AppSpecFilename") or "appspec.yml",
        file_exists_behavior=(overrides.optional("FileExistsBehavior") or "DISALLOW").upper(),
        all_possible_lifecycle_events=fields.texts("AllPossibleLifecycleEvents") or None,
        github_access_token=_token(fields),
        reuse_archive_from=fields.optional("ReuseArchiveFromDeploymentId"),
    )
    if problems:
        raise _error(problems)
    return specification


class _Fields:
    """The members of one JSON object; what is wrong with them goes to ``problems`` under their full names.

    A member that is null counts as missing, as it does with the official agents.
    """

    def __init__(self, found: Mapping[str, object], place: str, problems: list[str]) -> None:
        self._found = found
        self._place = place
        self._problems = problems

    def required(self, key: str) -> str:
        """A text that must be there and not be empty; empty itself where there is a problem."""
        count = len(self._problems)
        text = self.optional(key)
        if text is None and count == len(self._problems):
            self.problem(key, "is missing or empty")
        return text or ""

    def optional(self, key: str) -> str | None:
        """A text, None where it is missing or empty."""
        value = self._found.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.problem(key, f"is {_kind(value)} and not text")
        elif _UNUSABLE.search(value):
            self.problem(key, "holds a NUL or half a character")
        else:
            return value
        return None

    def members(self, key: str, *, required: bool = False) -> _Fields:
        """The members of an object, none where it is missing."""
        value = self._found.get(key)
        if isinstance(value, dict):
            return _Fields(value, f"{self._place}{key}.", self._problems)
        if value is not None:
            self.problem(key, f"is {_kind(value)} and not an object")
        elif required:
            self.problem(key, "is missing")
        # What an absent object lacks is not worth another line.
        return _Fields({}, f"{self._place}{key}.", [])

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts, None where it is missing."""
        value = self._found.get(key)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(item, str) and not _UNUSABLE.search(item) for item in value):
            return tuple(value)
        self.problem(key, "is not a list of texts")
        return None

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """A text that must be one of some; empty where there is a problem."""
        text = self.required(key)
        if text in choices:
            return text
        if text:
            self.problem(key, f'is "{_shown(text)}" and none of {", ".join(choices)}')
        return ""

    def problem(self, key: str, clause: str) -> None:
        """Note what is wrong with a member."""
        self._problems.append(f"{self._place}{key} {clause}")


def _document(data: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _error([f"it is not JSON in UTF-8 ({_shown(str(error))})"]) from error
    if not isinstance(found, dict):
        raise _error([f"it is {_kind(found)} and not an object"])
    return found


def _revision(fields: _Fields) -> Revision:
    """The revision that RevisionType names; objects of other types beside it are ignored."""
    kind = fields.choice("RevisionType", _REVISION_TYPES)
    if not kind:
        return LocalRevision("", BundleType.DIRECTORY)  # Never seen: there is a problem.
    if kind == "S3":
        inner = fields.members("S3Revision", required=True)
        return S3Revision(
            bucket=inner.required("Bucket"),
            key=inner.required("Key"),
            bundle_type=_bundle_type(inner, _ARCHIVES),
            version=inner.optional("Version"),
            etag=inner.optional("ETag"),
        )
    if kind == "GitHub":
        return _github(fields.members("GitHubRevision", required=True))
    inner = fields.members("LocalRevision", required=True)
    location = inner.required("Location")
    if location and not location.startswith("/"):
        inner.problem("Location", f'is "{_shown(location)}" and not an absolute path')
    return LocalRevision(location, _bundle_type(inner, tuple(BundleType)))


def _github(fields: _Fields) -> GitHubRevision:
    """A commit on GitHub; a bundle type may be missing, and then means tar, as with the official agents."""
    return GitHubRevision(
        account=fields.required("Account"),
        repository=fields.required("Repository"),
        commit_id=fields.required("CommitId"),
        bundle_type=_bundle_type(fields, _ARCHIVES, default=BundleType.TAR),
    )


def _bundle_type(fields: _Fields, allowed: Sequence[BundleType], *, default: BundleType | None = None) -> BundleType:
    if default is not None and fields.optional("BundleType") is None:
        return default
    return BundleType(fields.choice("BundleType", [kind.value for kind in allowed]) or allowed[0])


def _component(text: str, what: str, problems: list[str]) -> str:
    """An id that is safe as a file name; empty where it is missing, which was noted already."""
    try:
        return text and safe_component(text, what)
    except SpecificationError as error:
        problems.append(error.message.rstrip("."))
        return text


def _last_part(deployment_id: str) -> str:
    """The id of a deployment that is named by its ARN; whatever is no such ARN as it is."""
    last = deployment_id.rpartition("/")[2]
    return last if last and deployment_id.startswith("arn:") else deployment_id


def _token(fields: _Fields) -> str | None:
    token = fields.optional("GitHubAccessToken")
    if token is not None and not _TOKEN.fullmatch(token):
        fields.problem("GitHubAccessToken", "holds a space or a character that no token has")
        return None
    return token


def _error(problems: Sequence[str]) -> SpecificationError:
    return SpecificationError(f"The deployment specification cannot be used: {'; '.join(problems)}.", remedy=_REMEDY)


def _kind(value: object) -> str:
    """What JSON calls a value."""
    if isinstance(value, str):
        return "a text"
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "an object", list: "a list", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(text: str) -> str:
    """A stranger's text, short and on one line."""
    cut = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."
    return "".join(character if character.isprintable() else "?" for character in cut)
