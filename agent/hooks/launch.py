"""How a script's process is made: which program as which user, and the steps from the fork to the exec."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from agent.hooks.accounts import Account, find_account
from agent.hooks.environment import DEPLOYMENT_VARIABLES, HOST_VARIABLES

STEP_DIRECTORY = "directory"
STEP_USER = "user"
STEP_EXEC = "exec"

CATCHABLE = tuple(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
"""The numbers of all signals whose handling can be changed."""

_SHELL = "/bin/sh"
_ELF = b"\x7fELF"
# Both open the session that PAM has for su; runuser is there where a system has left out su.
LOGIN_PROGRAMS = ("su", "runuser")
# Programs that stand in the place of a shell so that nobody logs in.
_NO_SHELLS = frozenset({"false", "git-shell", "halt", "nologin", "shutdown", "sync", "true"})
_NEEDS_BACKSLASH = re.compile(r"(?![\w/.,:=@%+-])[\x00-\x7f]", re.ASCII)  # a class up to U+10FFFF compiles for 3 ms


class NoSudoError(Exception):
    """Only sudo could change to the user, and it is not installed."""


class User(NamedTuple):
    """Who a script runs as, and how it becomes that account; ``account`` is None where nothing was asked for.

    ``login`` is the program that logs in to the account, ``sudo`` are the words before the command, and with ``switch``
    the process changes its user itself.
    """

    account: Account | None = None
    switch: bool = False
    sudo: tuple[str, ...] = ()
    login: str = ""


NOBODY = User()
"""Who runs a script for which nobody was asked for: the agent's own account."""


class Launch(NamedTuple):
    """Everything that the new process needs, looked up beforehand: after the fork nothing asks the name service."""

    arguments: list[bytes]
    environment: Mapping[bytes, bytes]
    directory: bytes
    umask: int
    switch_to: Account | None = None
    sudo: tuple[bytes, ...] = ()
    core_limits: tuple[int, int] | None = None
    login: bool = False


def choose_user(*, runas: str | None, sudo: bool, login: bool) -> User:
    """Decide how a script becomes the user that ``runas`` and ``sudo`` of the AppSpec ask for.

    ``runas`` wins where both are given, as in the official agent's ``sudo su USER``; ``sudo`` alone means root. An
    agent that is root logs in to the account if ``login`` is set and the host has su or runuser, and changes the user
    itself if not; any other agent asks sudo, without a password and without a shell. Raises LookupError for an unknown
    user and NoSudoError.
    """
    desired = runas or ("root" if sudo else None)
    if desired is None:
        return NOBODY
    account = find_account(desired)
    if login and os.geteuid() == 0:
        program = next(filter(None, map(_find_program, LOGIN_PROGRAMS)), None)
        if program is not None:
            return User(account, login=program)
    if os.geteuid() == account.uid:
        return User(account)
    if os.geteuid() == 0:
        return User(account, switch=True)
    program = _find_program("sudo")
    if program is None:
        raise NoSudoError
    return User(account, sudo=(program, "-n", "-H", "-u", account.name))


def plan_launch(
    path: str,
    user: User,
    environment: Mapping[str, str],
    *,
    directory: str,
    umask: int,
    core_limit: int | None = None,
) -> Launch:
    """Lay down how the script at ``path`` is started."""
    arguments = [path]
    if user.account is not None and user.login:
        arguments = _log_in(user.login, user.account, path)
    if user.sudo:
        kept = [name for name in (*DEPLOYMENT_VARIABLES, *HOST_VARIABLES) if name in environment]
        arguments = [*user.sudo, "--preserve-env=" + ",".join(kept), "--", path]
    return Launch(
        arguments=[os.fsencode(argument) for argument in arguments],
        environment={os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
        directory=os.fsencode(directory),
        umask=umask,
        switch_to=user.account if user.switch else None,
        sudo=tuple(os.fsencode(word) for word in user.sudo),
        core_limits=None if core_limit is None else _core_limits(core_limit),
        login=bool(user.login),
    )


def _core_limits(soft: int) -> tuple[int, int]:
    """Return the soft limit with this process's hard limit, which may be lower by now."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    infinity = resource.RLIM_INFINITY
    return (soft if hard == infinity or (soft != infinity and soft <= hard) else hard), hard


def _log_in(program: str, account: Account, path: str) -> list[str]:
    """Return the command that runs a script in a session of the account, by its own shell if it has one."""
    # A backslash means the same to every shell that accounts have, csh and fish too, but before the end of a line.
    shell, command = account.shell, _NEEDS_BACKSLASH.sub(r"\\\g<0>", path)
    forced = [] if is_usable(shell) else ["-s", _SHELL]
    if "\n" in path:
        from shlex import quote  # so rare that no other event pays for it

        forced, command = ["-s", _SHELL], quote(path)
    return [program, *forced, "-c", command, "--", account.name]


def is_usable(shell: str) -> bool:
    """Return whether a shell of the user database runs commands, so that it is not there to keep people out."""
    return os.path.basename(shell) not in _NO_SHELLS and os.path.isfile(shell) and os.access(shell, os.X_OK)


def become_script(launch: Launch, *, stdout: int, stderr: int, failure: int) -> NoReturn:
    """Turn this freshly forked process into the script; descriptor 0 is /dev/null already.

    What cannot be done is written to the close-on-exec pipe ``failure`` as the step and the error number.
    """
    step = STEP_DIRECTORY
    try:
        os.setsid()
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.chdir(launch.directory)
        os.umask(launch.umask)
        if launch.core_limits is not None:
            resource.setrlimit(resource.RLIMIT_CORE, launch.core_limits)
        step = STEP_USER
        if launch.switch_to is not None:
            _switch_to(launch.switch_to)
        step = STEP_EXEC
        reset_signals()
        _exec(launch)
    except OSError as error:
        os.write(failure, f"{step} {error.errno or errno.EINVAL}".encode())
    except ValueError:  # a NUL in a name or a value
        os.write(failure, f"{step} {errno.EINVAL}".encode())
    finally:
        os._exit(127)


def reset_signals() -> None:
    """Give this process the signal handling of a fresh one: everything default, nothing blocked."""
    for number in CATCHABLE:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _switch_to(account: Account) -> None:
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def _exec(launch: Launch) -> None:
    program = launch.arguments[0]
    try:
        os.execve(program, launch.arguments, launch.environment)
    except OSError as error:
        if error.errno != errno.ENOEXEC or starts_with(program, _ELF):
            raise
    # A script without a "#!" line, and an empty one too: the shell reads it, as a shell would have done.
    os.execve(_SHELL, [os.fsencode(_SHELL), *launch.arguments], launch.environment)


def starts_with(path: bytes, magic: bytes) -> bool:
    """Whether a file begins with these bytes; False if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(descriptor, len(magic)) == magic
    finally:
        os.close(descriptor)


def _find_program(name: str) -> str | None:
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None
