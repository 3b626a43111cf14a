"""Bringing interrupted Installs to their end: ``python -m agent.worker.recovery``, the settings on standard input.

The supervisor has it done when it starts, so that a host that lost its power during an Install is whole again before
anybody asks for the next one.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from agent.config.settings import Settings
from agent.errors import AgentError
from agent.install.installer import recover
from agent.runtime.host import layout_of
from agent.runtime.log_files import set_up_logs
from agent.runtime.options import install_options
from agent.runtime.own_directories import own_directories_are_safe
from agent.store.locks import install_lock

_log = logging.getLogger("agent.worker.recovery")  # __name__ is "__main__" here


def main() -> int:
    """Recover every interrupted Install below the root directory; log problems, for the next Install to try again."""
    settings = Settings(**json.load(sys.stdin))
    if not own_directories_are_safe(settings):
        return 1
    os.umask(0o022)
    set_up_logs(settings)
    layout = layout_of(settings)
    try:
        with install_lock(layout):
            for text in recover(layout.root_dir, options=install_options(settings)):
                _log.warning("%s", text)
    except (AgentError, OSError) as error:
        _log.error("An interrupted Install could not be brought to its end: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
