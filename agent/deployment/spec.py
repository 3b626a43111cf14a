"""What one deployment asks of this host, as the service or the local command gives it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class BundleType(str, Enum):
    """How a revision is packed."""

    TAR = "tar"
    TGZ = "tgz"
    ZIP = "zip"
    DIRECTORY = "directory"


class S3Revision(NamedTuple):
    """A bundle in S3."""

    bucket: str
    key: str
    bundle_type: BundleType
    version: str | None = None
    etag: str | None = None


class GitHubRevision(NamedTuple):
    """A commit on GitHub, fetched as an archive."""

    account: str
    repository: str
    commit_id: str
    bundle_type: BundleType


class LocalRevision(NamedTuple):
    """A directory or archive on this host; ``location`` is absolute."""

    location: str
    bundle_type: BundleType


Revision = S3Revision | GitHubRevision | LocalRevision


class DeploymentSpecification(NamedTuple):
    """A deployment as this host sees it; ids are safe single path components.

    ``file_exists_behavior`` is upper-cased but not checked: a wrong value matters only where a file is in the way."""

    deployment_id: str
    deployment_group_id: str
    deployment_group_name: str
    application_name: str
    revision: Revision
    deployment_creator: str = "user"
    deployment_type: str = "IN_PLACE"
    appspec_filename: str = "appspec.yml"
    file_exists_behavior: str = "DISALLOW"
    all_possible_lifecycle_events: tuple[str, ...] | None = None
    github_access_token: str | None = None
    reuse_archive_from: str | None = None

    def __repr__(self) -> str:
        """Show what may be logged: everything but the token."""
        shown = self._asdict() | {"github_access_token": self.github_access_token and "(hidden)"}
        return f"DeploymentSpecification({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
