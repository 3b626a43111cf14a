"""A setting that refuses something reaches every room that refuses it, under one name."""

from __future__ import annotations

from typing import Any

import pytest

from agent.config.settings import Settings
from agent.runtime.options import hook_options, install_options, unpack_options

ROOMS = {"bundle": unpack_options, "hooks": hook_options, "install": install_options}


def changed(before: Any, after: Any) -> set[str]:
    return {name for name in before._fields if getattr(before, name) != getattr(after, name)}


@pytest.mark.parametrize(
    ("setting", "value", "fields"),
    [
        ("reject_path_traversal_in_bundle", True, {f"{room}.reject_path_traversal" for room in ROOMS}),
        (
            "reject_unsafe_permissions_in_bundle",
            True,
            {"bundle.reject_unsafe_permissions", "install.reject_unsafe_permissions"},
        ),
        ("reject_unconfined_selinux_in_bundle", True, {"install.reject_unconfined_selinux"}),
        ("reject_symlink_permission_targets", True, {"install.reject_symlink_permission_targets"}),
        ("reject_symlinks_in_bundle", True, {"bundle.reject_symlinks"}),
        ("reject_scripts_writable_by_others", True, {"hooks.reject_scripts_writable_by_others"}),
        ("ignore_ownership_in_bundle", True, {"bundle.ignore_ownership"}),
        ("archive_max_extraction_size", 1, {"bundle.max_size"}),
        ("restrict_hook_env_to_allowlist", True, {"hooks.restrict_env_to_allowlist"}),
        ("strip_loader_env_in_hooks", True, {"hooks.strip_loader_env"}),
        ("ongoing_deployment_tracking", "elsewhere", {"install.tracking_name"}),
    ],
)
def test_a_setting_reaches_the_rooms_that_heed_it_and_changes_nothing_else(
    setting: str, value: object, fields: set[str]
) -> None:
    before, after = Settings(), Settings()._replace(**{setting: value})
    assert {
        f"{room}.{field}" for room, options in ROOMS.items() for field in changed(options(before), options(after))
    } == fields


@pytest.mark.parametrize(
    ("setting", "values", "field"),
    [
        ("directory_symlinks", ("copy", "keep"), "follow_directory_symlinks"),
        ("unsafe_links", ("follow", "refuse"), "follow_unsafe_links"),
    ],
)
def test_a_choice_for_install_is_one_switch_there(setting: str, values: tuple[str, str], field: str) -> None:
    yes, no = (install_options(Settings()._replace(**{setting: value})) for value in values)
    assert (getattr(yes, field), getattr(no, field)) == (True, False)
    assert changed(yes, no) == {field}
