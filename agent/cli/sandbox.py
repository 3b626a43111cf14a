"""``codedeploy-agent sandbox``: a CodeDeploy-compatible service on this machine, to try and test with."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import stat
import sys
from importlib.util import find_spec

from agent.cli.option_types import filled, region
from agent.cli.output import Writer
from agent.filesystem.reasons import place_and_reason, remedy_for
from agent.sandbox.errors import SandboxError

_EPILOG = (
    "The state is in memory and ends with the command. It is a tool for trying, developing and testing: "
    "do not let it be reached from a network that others use."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to a parser."""
    parser.add_argument("--port", metavar="N", type=_port, default=0, help="TCP port (default: one that is free)")
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        type=filled,
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--directory",
        metavar="DIR",
        type=filled,
        help="directory for sandbox.json, env.sh and the rest (default: a new one, removed at the end)",
    )
    parser.add_argument(
        "--region", metavar="NAME", type=region, default="us-east-1", help="region to be (default: us-east-1)"
    )
    parser.add_argument("--tls", action="store_true", help="serve https, with a certificate authority in DIR/ca.pem")
    parser.add_argument("--verbose", action="store_true", help="log every call, not only those that are refused")
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; give the exit status."""
    # Looked for and not imported, before anything is written: importing it takes longer than refusing a directory.
    if missing := [name for name in ("moto", "flask") if find_spec(name) is None]:
        raise SandboxError(
            f"The sandbox needs the package moto with its server; {' and '.join(missing)} cannot be imported.",
            remedy="Run \"make demo-setup\" in a clone of the project, or pip install '.[sandbox]' in an environment.",
        )
    _configure_log(verbose=options.verbose)
    try:
        return _run_in_directory(options)
    except OSError as error:
        raise SandboxError(f"{place_and_reason(error)}.", remedy=remedy_for(error)) from error


def _run_in_directory(options: argparse.Namespace) -> int:
    if options.directory is not None:
        from agent.filesystem.locks import FileLock, LockTimeoutError
        from agent.sandbox.files import LOCK

        directory = os.path.abspath(options.directory)
        _check_way(directory)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _check_owner(directory)
        _check_content(directory)
        lock = FileLock(os.path.join(directory, LOCK), purpose="the sandbox of this directory")
        try:
            lock.acquire(limit=0)
        except LockTimeoutError as error:
            raise SandboxError(
                f"Another sandbox uses the directory {directory}.",
                remedy="Stop that sandbox, or choose another directory with --directory.",
            ) from error
        try:
            return _serve(options, directory)
        finally:
            lock.release()
    import tempfile

    with tempfile.TemporaryDirectory(prefix="codedeploy-sandbox-") as directory:
        return _serve(options, directory)


def _check_owner(directory: str) -> None:
    """Refuse a directory that others may write to: they could change what an agent is told to run, perhaps as root."""
    found = os.stat(directory)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise SandboxError(
            f"Other users may write to {directory}.",
            remedy=f"Choose another directory, or chmod 700 it if it is yours: {directory}",
        )


def _check_way(directory: str) -> None:
    """Refuse a path that somebody else decides, before anything is made or written: by a link, as one below /tmp may
    be, or by a directory in which another user may put something else in the place of what is ours.
    """
    path = directory
    while path != "/":
        found = os.lstat(path) if os.path.lexists(path) else None
        if found is not None and stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
            raise SandboxError(
                f"{path} is a link of another user.", remedy="Choose another directory with --directory."
            )
        path = os.path.dirname(path)
    for path in {os.path.realpath(os.path.dirname(directory)), os.path.dirname(os.path.realpath(directory))}:
        _check_directories_above(path)


def _check_directories_above(path: str) -> None:
    while path != "/":
        if os.path.isdir(path):
            found = os.stat(path)
            loose = found.st_mode & 0o1002 == 0o002  # writable for all, and not sticky
            if loose or found.st_uid not in (0, os.geteuid()):
                raise SandboxError(
                    f"Other users may change what is in {path}.",
                    remedy="Choose a directory elsewhere with --directory.",
                )
        path = os.path.dirname(path)


def _check_content(directory: str) -> None:
    """Refuse a directory with files that would be overwritten, and removed at the end, though no sandbox made them."""
    from agent.sandbox import files

    there = [name for name in files.WRITTEN if os.path.lexists(os.path.join(directory, name))]
    if there and not os.path.exists(os.path.join(directory, files.LOCK)):
        raise SandboxError(
            f"{directory} has files of its own: {', '.join(there)}.", remedy="Choose an empty directory."
        )


def _serve(options: argparse.Namespace, directory: str) -> int:
    from agent.sandbox import files
    from agent.sandbox.engine.records import Scope
    from agent.sandbox.sandbox import Sandbox

    # Blocked before there are threads: all of them inherit it, and the signal waits for sigwait.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    if not _is_loopback(options.listen):
        Writer(2).line(
            f"warning: the sandbox listens on {options.listen}. Whoever has its key can make agents run programs "
            + ("as root. " if options.tls else "as root, and http hides nothing. Agents elsewhere need https: --tls. ")
            + "Use it in a network that is yours alone."
        )
    scope = Scope(region=options.region)
    sandbox = Sandbox(listen=options.listen, port=options.port, tls=options.tls, scope=scope)
    sandbox.start()
    try:
        files.write_files(directory, sandbox.access, sandbox.signer.certificate_pem, sandbox.ca_pem)
        Writer(1).line(_welcome(directory, sandbox.access.url))
        if sandbox.urls_elsewhere:
            Writer(1).line(_elsewhere(sandbox.access.url, sandbox.urls_elsewhere))
        signal.sigwait(signals)
    finally:
        files.remove_files(directory)
        sandbox.stop()
    return 0


def _welcome(directory: str, url: str) -> str:
    return f"""The sandbox answers at {url} until you press Ctrl-C. Its state is in memory only.

In another terminal:
    . {directory}/env.sh
    aws deploy list-applications

A host, and an agent on this machine for it:
    cd {directory} && aws deploy register --instance-name web-1 --tags Key=Role,Value=web
    codedeploy-agent start --config-file {directory}/codedeployagent.yml

For programs: {directory}/sandbox.json"""


def _elsewhere(url: str, others: list[str]) -> str:
    return (
        f"\nOther machines reach the sandbox at {' or '.join(others)}.\n"
        f"In a copy of env.sh or codedeployagent.yml for them, write that instead of {url}."
    )


def _configure_log(*, verbose: bool) -> None:
    import logging

    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text}")
    return int(text)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"
