"""Where the lines of the agent's processes go."""

from __future__ import annotations

import os
from pathlib import Path

from agent.runtime.log_files import JOURNAL_SOCKET, journal_socket


def test_the_journal_is_used_only_where_systemd_has_connected_stderr_to_it(tmp_path: Path) -> None:
    with open(tmp_path / "stderr", "wb") as file:
        status = os.fstat(file.fileno())
        ours = f"{status.st_dev}:{status.st_ino}"
        assert journal_socket({"JOURNAL_STREAM": ours}, file.fileno()) == JOURNAL_SOCKET
        assert journal_socket({"JOURNAL_STREAM": f"{ours}1"}, file.fileno()) == ""
        assert journal_socket({}, file.fileno()) == ""
    assert journal_socket({"JOURNAL_STREAM": ours}, 999) == ""
