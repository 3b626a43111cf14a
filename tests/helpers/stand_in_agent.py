"""A process that claims to be the running agent, by the real lock and pid file, and does nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

CODE = """
import signal, sys
from agent.daemon.pidfile import PidFile
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
with PidFile(sys.argv[1]):
    print("running", flush=True)
    signal.sigwait({signal.SIGUSR1 if "deaf" in sys.argv else signal.SIGTERM})
"""


@contextmanager
def running_agent(pid_dir: str | PathLike[str], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A stand-in that holds the lock until SIGTERM, or for ever with the option "deaf"; killed at the end."""
    with subprocess.Popen([sys.executable, "-c", CODE, str(pid_dir), *options], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"running\n"
            yield process
        finally:
            process.kill()
