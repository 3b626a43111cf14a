"""What the local command is asked for: its checks, and the deployment specification that comes of it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from agent.appspec.names import candidates
from agent.config.settings import Settings
from agent.deployment.lifecycle import LIFECYCLE
from agent.deployment.parse import safe_component
from agent.deployment.spec import (
    BundleType,
    DeploymentSpecification,
    GitHubRevision,
    LocalRevision,
    Revision,
    S3Revision,
)
from agent.errors import AppSpecMissingError, UsageError

DEFAULT_GROUP = "default-local-deployment-group"
DEFAULT_GROUP_NAME = "LocalFleet"
DEFAULT_EVENTS = tuple(event.name for event in LIFECYCLE)

# Events that may run before the revision is on the host, and before its files are installed (official rules).
_BEFORE_DOWNLOAD = ("BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop")
_BEFORE_INSTALL = (*_BEFORE_DOWNLOAD, "DownloadBundle", "BeforeInstall")

_EVENT_NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
_GITHUB = (
    re.compile(
        r"https://github\.com/(?P<account>[\w.-]+)/(?P<repository>[\w.-]+?)(\.git)?(/(tree|commit)/(?P<commit>[^?#\s]+))?/?"
    ),
    re.compile(
        r"https://api\.github\.com/repos/(?P<account>[\w.-]+)/(?P<repository>[\w.-]+)/(?P<form>tarball|zipball)"
        r"(/(?P<commit>[^?#\s]+))?"
    ),
)
_S3 = re.compile(r"s3://(?P<bucket>[^/?]+)/(?P<key>[^?]+)(\?(?P<query>.*))?")


class LocalRequest(NamedTuple):
    """The local command's options as typed; the defaults are the official ones."""

    location: str
    bundle_type: str = "directory"
    file_exists_behavior: str = "DISALLOW"
    group: str = DEFAULT_GROUP
    group_name: str = DEFAULT_GROUP_NAME
    application_name: str | None = None
    events: str = ""
    appspec_filename: str = "appspec.yml"
    github_token: str | None = None


class LocalDeployment(NamedTuple):
    """A checked request: what to deploy, and the events to run, in their order."""

    spec: DeploymentSpecification
    events: tuple[str, ...]

    @property
    def custom_events(self) -> frozenset[str]:
        """Events that are not in the lifecycle table."""
        return frozenset(self.events) - frozenset(DEFAULT_EVENTS)


def check_request(request: LocalRequest, *, directory: str) -> LocalDeployment:
    """Check everything that can be checked without changing anything, in the official command's order.

    ``directory`` is where relative locations begin. Raises UsageError, AppSpecMissingError, SpecificationError.
    """
    bundle_type = _bundle_type(request.bundle_type)
    revision = _revision(request.location, bundle_type, directory)
    if isinstance(revision, LocalRevision) and bundle_type is BundleType.DIRECTORY:
        _check_appspec(revision.location, request.appspec_filename)
    else:
        candidates(request.appspec_filename)
    events = order_events(request.events)
    spec = DeploymentSpecification(
        deployment_id=new_deployment_id(),
        deployment_group_id=safe_component(request.group, "deployment group"),
        deployment_group_name=request.group_name,
        application_name=request.location if request.application_name is None else request.application_name,
        revision=revision,
        appspec_filename=request.appspec_filename,
        file_exists_behavior=request.file_exists_behavior.upper(),
        all_possible_lifecycle_events=tuple(dict.fromkeys((*DEFAULT_EVENTS, *events))),
        github_access_token=request.github_token,
    )
    return LocalDeployment(spec, events)


def new_deployment_id() -> str:
    """An id such as ``d-7XK2Q9B4T-local``, in the official form."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "d-" + "".join(letters[byte % len(letters)] for byte in os.urandom(9)) + "-local"


def order_events(text: str) -> tuple[str, ...]:
    """The events to run for the text of ``--events``; an empty one means all of them in their usual order.

    DownloadBundle comes first where it is not named, and Install right after it. Raises UsageError for a name
    that is none, or an event before DownloadBundle or Install that needs what these bring.
    """
    events = text.rstrip(",").split(",") if text.rstrip(",") else []
    if not events:
        return DEFAULT_EVENTS
    for event in events:
        if not _EVENT_NAME.fullmatch(event):
            raise UsageError(
                f'"{event}" in --events is not the name of a lifecycle event.',
                remedy="Write names such as AfterInstall, separated by commas without spaces.",
            )
    _check_order(events, "DownloadBundle", _BEFORE_DOWNLOAD)
    _check_order(events, "Install", _BEFORE_INSTALL)
    if "DownloadBundle" not in events:
        events.insert(0, "DownloadBundle")
    if "Install" not in events:
        events.insert(events.index("DownloadBundle") + 1, "Install")
    return tuple(events)


def _check_order(events: list[str], step: str, allowed: tuple[str, ...]) -> None:
    earlier = events[: events.index(step)] if step in events else []
    wrong = [event for event in earlier if event not in allowed]
    if wrong:
        raise UsageError(
            f"--events puts {wrong[0]} before {step}, which it needs.",
            remedy=f"Only {', '.join(allowed)} may stand before {step}.",
        )


def _bundle_type(text: str) -> BundleType:
    try:
        return BundleType(text)
    except ValueError:
        raise UsageError(
            f'"{text}" is not a type of bundle.', remedy=f"Use {', '.join(kind.value for kind in BundleType)}."
        ) from None


def _revision(location: str, bundle_type: BundleType, directory: str) -> Revision:
    if location.startswith("s3://"):
        return _s3_revision(location, bundle_type)
    if location.startswith("https://"):
        return _github_revision(location, bundle_type)
    if location.startswith("http://"):
        raise UsageError(
            f"The location {location} is plain http, so another host on the way can change the bundle.",
            remedy="Use an https location.",
        )
    return _local_revision(location, bundle_type, directory)


def _local_revision(location: str, bundle_type: BundleType, directory: str) -> LocalRevision:
    if not location:
        raise UsageError(
            "The location is empty.",
            remedy="Leave --bundle-location away to deploy the current directory, or name one.",
        )
    path = _absolute(location, directory)
    if not os.path.lexists(path):
        remedy = "Give the path of a directory or archive, s3://bucket/key, or https://github.com/owner/repository."
        if "://" in location:
            remedy = f"It is taken as a path; this kind of URL is not supported. {remedy}"
        raise UsageError(f"The location {location} does not exist.", remedy=remedy)
    is_directory = os.path.isdir(path)
    if bundle_type is BundleType.DIRECTORY and not is_directory:
        raise UsageError(
            f"The location {location} is a file, but the type is directory.",
            remedy="Give the archive's type with --type: tar, tgz or zip.",
        )
    if bundle_type is not BundleType.DIRECTORY and is_directory:
        raise UsageError(
            f"The location {location} is a directory, but the type is {bundle_type.value}.",
            remedy="Give the path of an archive, or use --type directory.",
        )
    return LocalRevision(path, bundle_type)


def _absolute(location: str, directory: str) -> str:
    path = os.path.join(directory, location)
    # "link/.." does not mean the same as text and on the disk, so only paths without it are tidied.
    return path if ".." in path.split("/") else os.path.normpath(path)


def _check_appspec(directory: str, requested: str) -> None:
    """Refuse a directory without the AppSpec file that was asked for.

    A deployment falls back to the usual names, but somebody who names another one here means that one, and the
    official command refuses it too.
    """
    from agent.steps.revision import check_requested, find_appspec  # brings the YAML parser, which --help does without

    try:
        found = find_appspec(directory, requested)
    except AppSpecMissingError as error:
        remedy = "Start the command in a directory that has one, or name such a directory with --bundle-location."
        raise AppSpecMissingError(error.message, remedy=remedy) from error
    check_requested(found, requested)


def _s3_revision(location: str, bundle_type: BundleType) -> S3Revision:
    match = _S3.fullmatch(location)
    if match is None:
        raise UsageError(f"{location} names no object in S3.", remedy="Write s3://bucket/key.")
    if bundle_type is BundleType.DIRECTORY:
        raise UsageError("A bundle in S3 is an archive.", remedy="Give its type with --type: tar, tgz or zip.")
    query = dict(part.partition("=")[::2] for part in (match["query"] or "").split("&"))
    if "%" in (match["query"] or ""):
        from urllib.parse import unquote  # few locations need it

        query = {name: unquote(value) for name, value in query.items()}
    return S3Revision(
        match["bucket"], match["key"], bundle_type, version=query.get("versionId"), etag=query.get("etag")
    )


def _github_revision(location: str, bundle_type: BundleType) -> GitHubRevision:
    for pattern in _GITHUB:
        match = pattern.fullmatch(location)
        if match is not None:
            form = match.groupdict().get("form")
            tar = form == "tarball" or (form is None and bundle_type in (BundleType.TAR, BundleType.TGZ))
            kind = BundleType.TAR if tar else BundleType.ZIP
            return GitHubRevision(match["account"], match["repository"], match["commit"] or "HEAD", kind)
    raise UsageError(
        f"{location} is not a repository on GitHub, and nothing else can be fetched by https.",
        remedy=(
            "Write https://github.com/owner/repository, with /tree/branch or /commit/id behind it if need be, or"
            " https://api.github.com/repos/owner/repository/tarball/commit (or zipball)."
        ),
    )


def moving_traffic(deployment: LocalDeployment, settings: Settings) -> LocalDeployment:
    """Return the deployment without the four traffic events: their scripts run where the traffic is moved.

    Raises UsageError where the settings do not name the group, or an event is missing that moves it.
    """
    from agent.traffic.policy import SERVICE_EVENTS, policy_of  # most deployments are spared the import

    name = deployment.spec.deployment_group_name
    policy = policy_of(settings.traffic_control, name)
    if policy is None:
        groups = ", ".join((settings.traffic_control or {}).get("groups", {})) or "none"
        raise UsageError(
            f'--traffic was given, and the setting traffic_control does not name the deployment group "{name}".',
            remedy=f"Choose a group with --deployment-group-name; it names {groups}.",
        )
    missing = [event for event in (policy.block_before, policy.allow_after) if event not in deployment.events]
    if missing:
        raise UsageError(
            f"--traffic was given, and --events leaves {' and '.join(missing)} out, where traffic is moved.",
            remedy="Add it, or leave --traffic out.",
        )
    return deployment._replace(events=tuple(event for event in deployment.events if event not in SERVICE_EVENTS))
