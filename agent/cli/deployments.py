"""``codedeploy-agent deployments``: what deployments did, what differs between two, and which revisions are kept."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.cli.output import Writer, printable
from agent.errors import AgentError, UsageError

if TYPE_CHECKING:  # each action imports only what it needs, here and below
    from agent.config.settings import Settings
    from agent.store.layout import Layout

ACTIONS = ("list", "show", "diff", "prune", "retry-skip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the five actions and their options."""
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="what to do (list)")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="show, diff: the ids of deployments, or their beginnings; else: a deployment group's id or name",
    )
    parser.add_argument("--json", action="store_true", help="list, show, diff, prune: print one JSON object")
    parser.add_argument("--dry-run", action="store_true", help="prune: say what would go, and remove nothing")
    parser.add_argument("--keep", type=_count, metavar="N", help="prune: revisions that a group keeps (max_revisions)")
    parser.add_argument(
        "--event",
        choices=("ApplicationStop", "BeforeBlockTraffic", "AfterBlockTraffic"),
        default="ApplicationStop",
        metavar="EVENT",
        help="retry-skip: the event to skip once: ApplicationStop (the default), BeforeBlockTraffic, AfterBlockTraffic",
    )
    parser.add_argument("--cancel", action="store_true", help="retry-skip: skip nothing after all")
    parser.add_argument("--config-file", metavar="PATH", help="the agent's configuration file")
    parser.add_argument("--config_file", dest="config_file", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; 0. Raises UsageError, AgentError, ConfigError, OSError."""
    from agent.config.file import load
    from agent.runtime.host import layout_of

    _check_usage(options)
    settings = load(options.config_file).settings
    layout = layout_of(settings)
    action = {"list": _list, "show": _show, "diff": _diff, "prune": _prune, "retry-skip": _retry_skip}[options.action]
    return action(options, settings, layout)


def _check_usage(options: argparse.Namespace) -> None:
    names: Sequence[str] = options.names
    counts = {"list": (0, 1), "show": (1, 1), "diff": (2, 2), "prune": (0, 1), "retry-skip": (1, 1)}
    least, most = counts[options.action]
    if not least <= len(names) <= most:
        wants = {"show": "the id of a deployment", "diff": "the ids of two deployments", "retry-skip": "a group"}
        want = wants.get(options.action, "at most one group")
        raise UsageError(f"deployments {options.action} takes {want}.", remedy="codedeploy-agent deployments --help")
    for option, action in (("dry_run", "prune"), ("keep", "prune"), ("cancel", "retry-skip")):
        if getattr(options, option) and options.action != action:
            raise UsageError(f"--{option.replace('_', '-')} is for deployments {action}.")
    if options.json and options.action == "retry-skip":
        raise UsageError("deployments retry-skip prints no JSON.")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def _list(options: argparse.Namespace, settings: Settings, layout: Layout) -> int:
    from agent.cli.deployments_text import list_document, list_lines
    from agent.history.read import read_host

    history = read_host(layout, keep=settings.max_revisions)
    if options.names:
        from agent.history.find import find_group

        history = history._replace(groups=(find_group(history, options.names[0]),))
    _print(options, list_document(history), lambda: list_lines(history, settings.root_dir))
    return 0


def _show(options: argparse.Namespace, settings: Settings, layout: Layout) -> int:
    from agent.cli.deployments_text import show_document, show_lines
    from agent.history.find import find
    from agent.history.installed import installed_files
    from agent.history.read import read_host

    history = read_host(layout, keep=settings.max_revisions)
    found = find(history, options.names[0])
    try:
        files = installed_files(layout, found.group) if found.is_last_successful else None
    except (AgentError, OSError) as error:
        Writer(2).line(printable(f"note: {error}"))
        files = None
    log = layout.script_log(found.directory) if found.directory else ""
    log = log if os.path.exists(log) else ""
    document = show_document(found, files, log) | {"unseen": list(history.unseen)}
    _print(options, document, lambda: show_lines(found, files, log, history.unseen))
    return 0


def _diff(options: argparse.Namespace, settings: Settings, layout: Layout) -> int:
    from agent.cli.deployments_text import diff_lines
    from agent.history.compare import compare
    from agent.history.find import find
    from agent.history.read import read_host

    history = read_host(layout, keep=settings.max_revisions, measure=False)
    old, new = (find(history, name) for name in options.names)
    archives = []
    for one in (old, new):
        archive = layout.archive(one.directory) if one.directory else ""
        if not archive or not os.path.isdir(archive):
            raise AgentError(
                f"The revision of {one.deployment} is not on this host (any more), so it cannot be compared.",
                remedy="Retention removes old revisions, by max_revisions.",
            )
        archives.append(archive)
    found = compare(*archives, appspecs=(str(old.facts.get("appspec", "")), str(new.facts.get("appspec", ""))))
    document = {"old": old.deployment, "new": new.deployment, **found._asdict()}
    _print(options, document, lambda: diff_lines(old, new, found))
    return 0


def _prune(options: argparse.Namespace, settings: Settings, layout: Layout) -> int:
    from agent.cli.deployments_text import prune_lines
    from agent.history.prune import prune
    from agent.history.read import group_names
    from agent.runtime.own_directories import check_own_directories

    check_own_directories(settings)
    groups = [_group_id(options, settings, layout)] if options.names else group_names(layout)
    keep = options.keep or settings.max_revisions
    found = [prune(layout, group, keep=keep, dry_run=options.dry_run) for group in groups]
    document = {"dry_run": options.dry_run, "keep": keep, "groups": [one.document() for one in found]}
    _print(options, document, lambda: prune_lines(found, keep=keep, dry_run=options.dry_run))
    return 1 if any(one.failed for one in found) else 0


def _retry_skip(options: argparse.Namespace, settings: Settings, layout: Layout) -> int:
    from agent.filesystem.way import caller
    from agent.runtime.own_directories import check_own_directories
    from agent.store.skips import ask_for_skip, end_skip

    check_own_directories(settings)
    group, event, out = _group_id(options, settings, layout), options.event, Writer(1)
    if options.cancel:
        was_there = end_skip(layout, group, event)
        text = f"{event} of group {group} will not be skipped" + (
            "" if was_there else "; it would not have been either"
        )
        out.line(printable(f"{text}."))
        return 0
    ask_for_skip(layout, group, event, caller())
    out.line(printable(f"The next deployment of group {group} skips {event} of the earlier revision, once."))
    return 0


def _group_id(options: argparse.Namespace, settings: Settings, layout: Layout) -> str:
    from agent.history.find import find_group
    from agent.history.read import read_host

    return find_group(read_host(layout, keep=settings.max_revisions, measure=False), options.names[0]).group


def _print(options: argparse.Namespace, document: dict[str, Any], lines: Any) -> None:  # noqa: ANN401 - a callable
    out = Writer(1)
    if options.json:
        out.line(json.dumps(document, indent=2))
        return
    for line in lines():
        out.line(printable(line))
