"""Where the installed agent lies on a host, or below another root directory."""

from __future__ import annotations

import os
from typing import NamedTuple

HOME = "/opt/codedeploy-agent"
VERSIONS = f"{HOME}/versions"
CURRENT = f"{HOME}/current"
BIN = f"{HOME}/bin"
MANIFEST = f"{HOME}/installed.json"
LOCK = f"{HOME}/.install.lock"
RESTART_DUE = f"{HOME}/.restart-due"
"""There from before another version is chosen until the service runs with it."""
TAKEOVER = f"{HOME}/takeover"
TAKEOVER_OPEN = f"{TAKEOVER}/open"
"""Names the backup from which things must still be put back; there only while an official agent is being removed."""
DEPLOYMENT_ROOT = f"{HOME}/deployment-root"
STATE = f"{HOME}/state"
VERSION_FILE = f"{HOME}/.version"
SETTINGS_DIRECTORY = "/etc/codedeploy-agent"
CONFIG_DIRECTORY = f"{SETTINGS_DIRECTORY}/conf"
CONFIG = f"{CONFIG_DIRECTORY}/codedeployagent.yml"
OLD_CONFIG = f"{HOME}/conf/codedeployagent.yml"
ON_PREMISES = f"{CONFIG_DIRECTORY}/codedeploy.onpremises.yml"
LOGS = "/var/log/aws/codedeploy-agent"
INSTALL_LOG = "/var/log/codedeploy-agent-install.log"
SERVICE = "codedeploy-agent.service"
UNITS = "/etc/systemd/system"
UNIT = f"{UNITS}/{SERVICE}"
DROP_INS = f"{UNIT}.d"
RESTART_STEPS = f"{DROP_INS}/10-restart-steps.conf"

PROGRAMS = ("codedeploy-agent", "codedeploy-local")
"""The console scripts; they lie in the ``bin`` of each version and are linked from where people look for them."""

_PAGES = ("man8/codedeploy-agent.8", "man1/codedeploy-local.1", "man5/codedeployagent.yml.5")
SHARED = {
    **{f"/usr/local/share/man/{page}": f"share/man/{page}" for page in _PAGES},
    **{f"/usr/local/share/{path}": f"share/{path}" for path in map("bash-completion/completions/{}".format, PROGRAMS)},
    **{f"/usr/local/share/{path}": f"share/{path}" for path in map("zsh/site-functions/_{}".format, PROGRAMS)},
    **{f"/usr/share/{path}": f"share/{path}" for path in map("fish/vendor_completions.d/{}.fish".format, PROGRAMS)},
}
"""The manual and the shells' completions: where each is looked for, and its path in a version's directory.

fish does not look below /usr/local unless XDG_DATA_DIRS says so.
"""


class Places(NamedTuple):
    """The host's files, seen below ``root`` (``/`` for the host itself)."""

    root: str = "/"

    def at(self, path: str) -> str:
        """The place of an absolute path below the root; absolute, as programs are run from another directory."""
        return os.path.join(os.path.abspath(self.root), path.lstrip("/"))

    @property
    def is_host(self) -> bool:
        """Whether this is the running host itself, so that its service manager may be spoken to."""
        return os.path.realpath(self.root) == "/"

    def link_target(self, link: str, path: str) -> str:
        """What a link must say to lead to ``path``, both absolute: relative, so that it holds below any root.

        A link's directory may be a link itself, as /bin is on most systems.
        """
        directory = os.path.realpath(self.at(os.path.dirname(link)))
        return os.path.relpath(os.path.join(os.path.realpath(self.root), path.lstrip("/")), directory)

    def holder(self, path: str) -> str | None:
        """The path if something is there, also a dangling link; None if not."""
        return path if os.path.lexists(self.at(path)) else None
