"""A terminal in which a reader types the commands of a document."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import secrets
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

HANGS_AFTER = 180.0  # seconds; far longer than any command takes on a busy machine
SIZE = (50, 100)  # lines, columns


class Terminal:
    """A shell that keeps its directory and variables from one block of commands to the next."""

    def __init__(self, directory: Path, tree: Path, environment: Mapping[str, str], user: int | None) -> None:
        directory.mkdir(mode=0o755)
        self._script = directory / "typed.sh"
        self._end = re.compile(rf"\n\[{(mark := secrets.token_hex(8))} (\d+)\]\n")
        self._screen, tty = pty.openpty()
        termios.tcsetwinsize(tty, SIZE)
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=tty,
            stderr=tty,
            cwd=tree,
            env=environment,
            start_new_session=True,
            **({} if user is None else {"user": user, "group": user, "extra_groups": []}),  # type: ignore[arg-type]
        )
        os.close(tty)
        self._printed = b""
        self._news = threading.Condition()
        self._drainer = threading.Thread(target=self._drain, daemon=True)
        self._drainer.start()
        self._enter(f"say_end() {{ printf '\\n[%s %s]\\n' {mark} $?; }}; trap say_end EXIT\n")

    def run(self, commands: str) -> tuple[int, str]:
        """Run these commands; return the exit status and all that they have printed."""
        printed = self._type(commands, lambda _: False)
        end = self._end.search(printed)
        assert end, f"still running after {HANGS_AFTER:g} s: {commands}\n{printed}"
        return int(end[1]), printed[: end.start()]

    def run_until(self, commands: str, seen: Callable[[str], bool]) -> str:
        """Run commands that stay; return what they have printed as soon as it is what the reader waits for."""
        return self._type(commands, seen)

    def close(self) -> None:
        """Press Ctrl-C, and end what does not heed it."""
        assert self._shell.stdin
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.close()
        for number in (signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._shell.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._shell.wait(30)

    def _type(self, commands: str, seen: Callable[[str], bool]) -> str:
        """Type commands; return what is printed until it has been seen, or until they end."""
        self._printed = b""
        self._script.write_text(commands)
        self._enter(f"source {self._script} </dev/null; say_end\n")
        with self._news:
            self._news.wait_for(lambda: seen(self._text()) or self._end.search(self._text()), HANGS_AFTER)
            return self._text()

    def _enter(self, line: str) -> None:
        assert self._shell.stdin
        self._shell.stdin.write(line.encode())
        self._shell.stdin.flush()

    def _text(self) -> str:
        return self._printed.decode(errors="replace").replace("\r\n", "\n")

    def _drain(self) -> None:
        """Take what is printed off the terminal, until every process has closed it."""
        with contextlib.suppress(OSError):  # the way in which a terminal says so
            while data := os.read(self._screen, 65536):
                with self._news:
                    self._printed += data
                    self._news.notify_all()
        os.close(self._screen)
