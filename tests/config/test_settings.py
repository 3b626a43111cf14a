import pytest

from agent.config.parse import parse
from agent.config.settings import RETIRED, TABLE, Settings
from agent.config.table import shown

# What the official agents use where the file says nothing.
OFFICIAL_DEFAULTS = {
    "program_name": "codedeploy-agent",
    "log_dir": "/var/log/aws/codedeploy-agent",
    "pid_dir": "/opt/codedeploy-agent/state/.pid",
    "root_dir": "/opt/codedeploy-agent/deployment-root",
    "ongoing_deployment_tracking": "ongoing-deployment",
    "verbose": False,
    "wait_between_runs": 30,
    "wait_after_error": 30,
    "http_read_timeout": 80,
    "kill_agent_max_wait_time_seconds": 7200,
    "max_revisions": 5,
    "on_premises_config_file": "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml",
    "proxy_uri": None,
    "use_fips_mode": False,
    "enable_auth_policy": False,
    "enable_deployments_log": True,
    "deploy_control_endpoint": None,
    "s3_endpoint_override": None,
    "disable_imds_v1": False,
    "enable_command_port": False,
    "enable_archive_reuse": True,
    "log_aws_wire": False,
    "disable_core_dumps": True,
    "archive_max_extraction_size": None,
    "reject_symlinks_in_bundle": False,
    "reject_path_traversal_in_bundle": False,
    "reject_unsafe_permissions_in_bundle": False,
    "reject_unconfined_selinux_in_bundle": False,
    "reject_symlink_permission_targets": False,
    "ignore_ownership_in_bundle": False,
    "restrict_agent_dir_permissions": False,
    "restrict_log_dir_permissions": False,
    "restrict_hook_env_to_allowlist": False,
    "strip_loader_env_in_hooks": False,
    "disable_powershell_profile_in_hooks": False,
}


def test_every_official_key_is_there_with_its_official_default():
    assert {key: getattr(Settings(), key) for key in OFFICIAL_DEFAULTS} == OFFICIAL_DEFAULTS


def test_keys_that_are_not_official_say_so():
    ours = {key for key, row in TABLE.items() if row.since == "this agent"}
    assert ours == set(TABLE) - set(OFFICIAL_DEFAULTS)


def test_no_key_is_both_read_and_retired():
    assert not set(TABLE) & set(RETIRED)


@pytest.mark.parametrize("key", TABLE)
def test_the_default_as_shown_can_be_written_into_the_file(key):
    row = TABLE[key]
    settings, warnings = parse(f"{key}: {shown(row.default)}".encode(), filename="agent.yml")
    assert getattr(settings, key) == row.default
    assert warnings == ()
