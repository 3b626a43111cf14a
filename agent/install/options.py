"""The settings that concern an Install."""

from __future__ import annotations

from typing import NamedTuple


class InstallOptions(NamedTuple):
    """What the settings say about Installs: each is declared here alone, and all are handed on as one value.

    A name is that of the setting, without its ``_in_bundle``.
    """

    follow_directory_symlinks: bool = True
    reject_path_traversal: bool = False
    reject_unsafe_permissions: bool = False
    reject_unconfined_selinux: bool = False
    reject_symlink_permission_targets: bool = False
    follow_unsafe_links: bool = False
    state_file_mode: int = 0o644
    state_directory_mode: int = 0o755
    tracking_name: str = "ongoing-deployment"
