"""Every setting of the agent: its key, kind, unit, default and meaning, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from agent.config.kinds import BOOL, COMPONENT, COUNT, FINGERPRINTS, PATH, SECONDS, SIZE, TRAFFIC, URL, Kind, choice
from agent.errors import ConfigError, Problem, ProblemsError

OFFICIAL_1 = "1.x"
OFFICIAL_2 = "2.x"
OURS = "this agent"


_NOTES: list[tuple[Kind, object, str, str]] = []
"""What is said of each setting, in the order of the fields."""


def _setting(kind: Kind, default: object, since: str, meaning: str) -> Any:  # noqa: ANN401 - each field's own type
    """Note what is said of a setting and give its default."""
    _NOTES.append((kind, default, since, meaning))
    return default


class Settings(NamedTuple):
    """The settings of one agent, checked.

    Keys, kinds and defaults are those of the official agents (1.8.1 and 2.1.0) where ``since`` names one.
    Times are in seconds, sizes in bytes; paths are absolute.
    """

    # Names and places
    program_name: str = _setting(COMPONENT, "codedeploy-agent", OFFICIAL_1, "names the agent's log files")
    log_dir: str = _setting(PATH, "/var/log/aws/codedeploy-agent", OFFICIAL_1, "holds the agent's own logs")
    pid_dir: str = _setting(PATH, "/opt/codedeploy-agent/state/.pid", OFFICIAL_1, "holds the process id file")
    root_dir: str = _setting(
        PATH, "/opt/codedeploy-agent/deployment-root", OFFICIAL_1, "holds revisions, instructions and deployment logs"
    )
    ongoing_deployment_tracking: str = _setting(
        COMPONENT, "ongoing-deployment", OFFICIAL_1, "directory below root_dir with a file for each command in progress"
    )
    on_premises_config_file: str = _setting(
        PATH,
        "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml",
        OFFICIAL_1,
        "identity and credentials of a host outside EC2",
    )
    # Polling
    wait_between_runs: float = _setting(SECONDS, 30, OFFICIAL_1, "time between two polls, at moments of the host's own")
    wait_after_error: float = _setting(SECONDS, 30, OFFICIAL_1, "kept for old files; pauses grow by a formula instead")
    http_read_timeout: float = _setting(SECONDS, 80, OFFICIAL_1, "limit for a whole answer of the command service")
    kill_agent_max_wait_time_seconds: float = _setting(
        SECONDS, 7200, OFFICIAL_1, "how long a deployment may go on after the agent was stopped"
    )
    command_stall_seconds: float = _setting(
        SECONDS, 7200, OURS, "how long a command may make no progress before its worker ends it as failed"
    )
    fork_server_idle_seconds: float = _setting(
        SECONDS, 60, OURS, "how long the process that workers are forked from stays after a command"
    )
    # Reaching the services
    proxy_uri: str | None = _setting(URL, None, OFFICIAL_1, "proxy for everything but instance metadata")
    deploy_control_endpoint: str | None = _setting(
        URL, None, OFFICIAL_1, "replaces the command service's endpoint of the region; http on loopback only"
    )
    s3_endpoint_override: str | None = _setting(URL, None, OFFICIAL_1, "replaces the S3 endpoint of the region")
    github_endpoint_override: str | None = _setting(
        URL, None, OURS, "replaces https://api.github.com, for an enterprise server or a mirror"
    )
    download_minimum_rate: int = _setting(
        SIZE, 1024, OURS, "bytes a second; a connection that brings less over a minute of a download is given up"
    )
    ca_bundle: str | None = _setting(
        PATH, None, OURS, "PEM file with the certificates to trust, instead of the system's"
    )
    deployment_signer_ca_file: str | None = _setting(
        PATH, None, OURS, "PEM file with the issuers whose signature on a deployment is accepted"
    )
    deployment_signer_fingerprints: tuple[str, ...] = _setting(
        FINGERPRINTS, (), OURS, "certificates whose signature on a deployment is accepted, and no others"
    )
    use_fips_mode: bool = _setting(BOOL, False, OFFICIAL_1, "use FIPS endpoints")
    enable_auth_policy: bool = _setting(BOOL, False, OFFICIAL_1, "use the command service's secure endpoint")
    disable_imds_v1: bool = _setting(BOOL, False, OFFICIAL_1, "ask for instance metadata with a token only")
    enable_command_port: bool = _setting(BOOL, False, OFFICIAL_2, "no effect: codedeploy-agent status tells as much")
    # Logs
    verbose: bool = _setting(BOOL, False, OFFICIAL_1, "log debug lines too")
    enable_deployments_log: bool = _setting(BOOL, True, OFFICIAL_1, "write one log of all deployments below root_dir")
    log_aws_wire: bool = _setting(BOOL, False, OFFICIAL_1, "log requests to AWS, without secrets")
    log_format: str = _setting(
        choice("text", "json"), "text", OURS, "text: the official agent's lines; json: one object a line"
    )
    # Revisions
    max_revisions: int = _setting(COUNT, 5, OFFICIAL_1, "revisions kept for each deployment group")
    deployment_root_max_size: int | None = _setting(
        SIZE,
        None,
        OURS,
        "size of root_dir beyond which a download removes the oldest revisions, see below; empty: none",
    )
    enable_archive_reuse: bool = _setting(BOOL, True, OFFICIAL_2, "reuse an unpacked revision when the service says so")
    archive_max_extraction_size: int | None = _setting(
        SIZE, None, OFFICIAL_2, "largest unpacked bundle, with what is skipped in it; empty: none"
    )
    lock_wait_seconds: float = _setting(
        SECONDS, 7200, OURS, "how long a deployment waits for another one of its group, or for an Install"
    )
    # What a bundle may do
    reject_symlinks_in_bundle: bool = _setting(BOOL, False, OFFICIAL_2, "refuse bundles with symbolic or hard links")
    reject_path_traversal_in_bundle: bool = _setting(
        BOOL, False, OFFICIAL_2, 'refuse absolute paths and ".." in bundles and AppSpec files'
    )
    reject_unsafe_permissions_in_bundle: bool = _setting(
        BOOL, False, OFFICIAL_2, "refuse setuid and setgid in bundles and AppSpec files"
    )
    reject_unconfined_selinux_in_bundle: bool = _setting(
        BOOL, False, OFFICIAL_2, "refuse the SELinux types unconfined_t, kernel_t and init_t"
    )
    reject_symlink_permission_targets: bool = _setting(
        BOOL, False, OFFICIAL_2, "refuse permissions for symbolic links, never follow them"
    )
    ignore_ownership_in_bundle: bool = _setting(BOOL, False, OFFICIAL_2, "unpacked files belong to the agent's user")
    directory_symlinks: str = _setting(
        choice("copy", "keep"),
        "copy",
        OURS,
        "a symbolic link to a directory is installed as a copy of the directory (as official) or stays a link",
    )
    unsafe_links: str = _setting(
        choice("refuse", "follow"),
        "refuse",
        OURS,
        "a link or directory of one account that leads to what another one owns: refused, or followed as official",
    )
    # Hooks
    hook_outputs_left_open: str = _setting(
        choice("ignore", "wait"),
        "ignore",
        OURS,
        "a script that ends while a child holds its output: judged at once, or waited for as the official agent does",
    )
    runas_session: str = _setting(
        choice("pam", "none"),
        "pam",
        OURS,
        "a script with runas or sudo runs in a login session, as with su (as official), or only as the user",
    )
    restrict_hook_env_to_allowlist: bool = _setting(
        BOOL, False, OFFICIAL_2, "hooks get PATH, HOME, USER and the deployment's variables only"
    )
    strip_loader_env_in_hooks: bool = _setting(
        BOOL, False, OFFICIAL_2, "hooks do not get LD_PRELOAD, LD_LIBRARY_PATH and LD_AUDIT"
    )
    reject_scripts_writable_by_others: bool = _setting(
        BOOL, False, OURS, "an agent that runs as root refuses scripts that other accounts may change; false: it warns"
    )
    disable_powershell_profile_in_hooks: bool = _setting(BOOL, False, OFFICIAL_2, "for Windows only, no effect here")
    # Monitoring
    metrics_file: str | None = _setting(
        PATH, None, OURS, "file for the textfile collector of Prometheus' node_exporter, see docs/monitoring"
    )
    on_event_command: str | None = _setting(
        PATH,
        None,
        OURS,
        "program that hears of each deployment's start and end and of failed events, see docs/running.md",
    )
    on_event_user: str | None = _setting(
        COMPONENT, None, OURS, "account that on_event_command runs as; empty: the agent's"
    )
    on_event_timeout_seconds: float = _setting(
        SECONDS, 30, OURS, "how long on_event_command and what it starts may run"
    )
    # Load balancers
    traffic_control: dict[str, Any] | None = _setting(
        TRAFFIC, None, OURS, "load balancers that this host leaves during deployments, see docs/traffic.md"
    )
    # The agent itself
    restrict_agent_dir_permissions: bool = _setting(
        BOOL,
        False,
        OFFICIAL_2,
        "other users can list no directory of the agent's below root_dir and read no file of it, see below",
    )
    restrict_log_dir_permissions: bool = _setting(
        BOOL, False, OFFICIAL_2, "what lies below log_dir cannot be read by other users"
    )
    disable_core_dumps: bool = _setting(
        BOOL, True, OFFICIAL_2, "the agent leaves no core dump behind; what its scripts start may"
    )


RETIRED: dict[str, str] = {
    "children": "there is one process for each command",
    "wait_between_spawning_children": "there is one process for each command",
    "shared_dir": "nothing is shared between processes by directory",
    "user": "the service manager chooses the user",
    "group": "the service manager chooses the group",
    "instance_service_region": "the region comes from instance metadata or the on-premises file",
    "instance_service_endpoint": "use deploy_control_endpoint",
    "instance_service_port": "use deploy_control_endpoint",
    "codedeploy_test_profile": "an http endpoint is accepted on loopback",
    "ssl_verify_peer": "certificates are always verified",
}
"""Keys that older official agents read and nothing reads now, each with why; accepted in silence."""


class Row(NamedTuple):
    """One setting as the table shows it; ``default`` is the typed value, None where there is none."""

    key: str
    kind: Kind
    default: object
    since: str
    meaning: str


TABLE: dict[str, Row] = {
    name: Row(name, kind, default, since, meaning)
    for name, (kind, default, since, meaning) in zip(Settings._fields, _NOTES, strict=True)
}


class SettingsError(ProblemsError, ConfigError):
    """The configuration file has problems; all of them are listed with their lines.

    ``usable`` are the settings without those that have problems: they say where the agent's own files are.
    """

    heading = "problems were found in the configuration file"

    def __init__(self, problems: Sequence[Problem], usable: Settings) -> None:
        super().__init__(problems)
        self.usable = usable
