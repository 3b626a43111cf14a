"""From the agent's settings to the options of each room; those know nothing of the configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.config.settings import Settings
from agent.runtime.host import layout_of

# A command needs one of these rooms, rarely two: each function imports its own.
if TYPE_CHECKING:
    from agent.bundle.unpack import UnpackOptions
    from agent.hooks.runner import HookOptions
    from agent.install.options import InstallOptions


def unpack_options(settings: Settings) -> UnpackOptions:
    """What the settings say about bundles."""
    from agent.bundle.unpack import UnpackOptions

    return UnpackOptions(
        max_size=settings.archive_max_extraction_size,
        reject_symlinks=settings.reject_symlinks_in_bundle,
        reject_path_traversal=settings.reject_path_traversal_in_bundle,
        reject_unsafe_permissions=settings.reject_unsafe_permissions_in_bundle,
        ignore_ownership=settings.ignore_ownership_in_bundle,
        directory_mode=layout_of(settings).modes.passage,
    )


def hook_options(settings: Settings) -> HookOptions:
    """What the settings say about lifecycle event scripts."""
    from agent.hooks.runner import HookOptions

    return HookOptions(
        login_session=settings.runas_session == "pam",
        wait_for_outputs=settings.hook_outputs_left_open == "wait",
        restrict_env_to_allowlist=settings.restrict_hook_env_to_allowlist,
        strip_loader_env=settings.strip_loader_env_in_hooks,
        reject_path_traversal=settings.reject_path_traversal_in_bundle,
        reject_scripts_writable_by_others=settings.reject_scripts_writable_by_others,
    )


def install_options(settings: Settings) -> InstallOptions:
    """What the settings say about Installs."""
    from agent.install.options import InstallOptions

    modes = layout_of(settings).modes
    return InstallOptions(
        follow_directory_symlinks=settings.directory_symlinks == "copy",
        reject_path_traversal=settings.reject_path_traversal_in_bundle,
        reject_unsafe_permissions=settings.reject_unsafe_permissions_in_bundle,
        reject_unconfined_selinux=settings.reject_unconfined_selinux_in_bundle,
        reject_symlink_permission_targets=settings.reject_symlink_permission_targets,
        follow_unsafe_links=settings.unsafe_links == "follow",
        state_file_mode=modes.state_file,
        state_directory_mode=modes.instructions,
        tracking_name=settings.ongoing_deployment_tracking,
    )
