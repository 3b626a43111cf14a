"""Install a revision's files: whole, or not at all.

The order is the promise. The clean-up list on disk names everything old and new before the first change and only the
new after the last; every temporary object is on the disk before the first name is exchanged, and every exchange before
the Install counts as done. Whatever interrupts it, ``recovery`` finds in the journal which way to go.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from agent.appspec.model import AppSpec
from agent.errors import InstallError
from agent.filesystem.boot import boot_id
from agent.filesystem.directories import Directories, MovedError
from agent.filesystem.durable import make_directory, write_durably
from agent.filesystem.helper_process import written_ahead
from agent.filesystem.kernel import Identity, identity
from agent.filesystem.reasons import place_and_reason, remedy_for
from agent.install.cleanup_list import digest, encode
from agent.install.commit import Committer, check_names
from agent.install.instructions import instructions
from agent.install.journal import COMMITTED, STAGED, InstallRecord, InstallStep, Journal, open_journals
from agent.install.labels import add_rules, label_installed, obsolete_rules, rules_of
from agent.install.options import InstallOptions
from agent.install.plan import ADJUST, IN_PLACE, REMOVE, REPLACE, RESET, SWAP, Operation, Plan, PlanRequest
from agent.install.planner import make_plan
from agent.install.recovery import changed_objects, directories_of, go_back, go_forward, left_alone
from agent.install.recovery import recover as recover_one
from agent.install.reset import read_metadata
from agent.install.stage import Stager
from agent.install.state import InstallState
from agent.install.transitions import Transitions, open_directories

_log = logging.getLogger(__name__)

_EXCHANGED = frozenset({REPLACE, SWAP, IN_PLACE, REMOVE})

_SOMEBODY_ELSE = "Something else writes to the destination: stop it before Install, for example in ApplicationStop."
_LATER = "The agent does it before the next command of the deployment group, or at its next start."
_TRY_AGAIN = "Repair the disk. The agent ends the interrupted Install at its next start or before the next deployment."


class InstallRequest(NamedTuple):
    """What is to be installed: ``archive`` is the unpacked revision, ``cwd`` what relative destinations start from."""

    group_id: str
    deployment_dir: str
    archive: str
    appspec: AppSpec
    file_exists_behavior: str
    cwd: str
    root_dir: str


def install(
    request: InstallRequest, *, options: InstallOptions, progress: Callable[[int, int], None] | None = None
) -> Plan:
    """Install the files of a revision and give the plan that was carried out.

    The caller holds the host-wide install lock. ``progress`` gets the number of entries built and their total.
    Raises InstallConflictError with all conflicts, or InstallError; in both cases the host is as it was, or, where
    even that failed, the message says so and the next recovery sees to it. What fails once the new files are in place
    is logged, and left to recovery.
    """
    state = _state(request.root_dir, options)
    with explained("preparing the Install"):
        done, failed = _recover_all(state, installing=request.group_id)
        for message in [*done, *failed]:
            _log.warning("%s", message)
        plan, transitions = _plan(request, state, options)
    with Directories(judge=transitions.judge) as directories:
        with explained("preparing the Install"):
            open_directories(plan, directories, transitions)
            make_directory(state.instructions_dir, mode=options.state_directory_mode)
            make_directory(state.journal_dir, mode=0o700)
            state.cleanup_file(request.group_id).adopt(plan.old_paths)
            write_durably(state.instructions(request.group_id), instructions(plan), mode=options.state_file_mode)
        journal = state.journal(request.group_id)
        with explained("writing the journal"):
            meanwhile = plan.listed_meanwhile()
            record = _record(request, plan, state, meanwhile, directories, transitions)
            journal.begin(record)
        installed = _Execution(plan, record, journal, state, directories).run(meanwhile, transitions.own, progress)
        _finish(record._replace(installed=installed), journal, state, directories)
    return plan


def _finish(record: InstallRecord, journal: Journal, state: InstallState, directories: Directories) -> None:
    """Do what is left after the commit; an error is a warning, because the new files are in place."""
    try:
        with explained("finishing the Install"):
            left = go_forward(record, journal, state, directories)
    except InstallError as error:
        _log.warning(
            "The new files are in place, so the Install has succeeded, but a rest is to be done. %s %s", error, _LATER
        )
        return
    if left:
        _log.warning("%s", left_alone(left))


def is_interrupted(request: InstallRequest, *, options: InstallOptions) -> bool:
    """Return whether an Install was interrupted, so that the host is between two revisions. Raises InstallError."""
    with explained("planning the Install"):
        return bool(list(open_journals(_state(request.root_dir, options).journal_dir)))


def plan_install(request: InstallRequest, *, options: InstallOptions, tolerant: bool = False) -> Plan:
    """Plan an Install without changing anything; a ``tolerant`` plan may have conflicts.

    Raises InstallConflictError with all conflicts, or InstallError.
    """
    with explained("planning the Install"):
        state = _state(request.root_dir, options)
        plan, transitions = _plan(request, state, options, tolerant=tolerant)
        if not plan.conflicts:
            with Directories(judge=transitions.judge) as directories:
                open_directories(plan, directories, transitions)
        return plan


def recover(root_dir: str, *, options: InstallOptions) -> list[str]:
    """Bring every interrupted Install below a root directory to its end; say what was done.

    The caller holds the host-wide install lock. Raises InstallError where the disk still refuses.
    """
    with explained("recovering an interrupted Install"):
        done, failed = _recover_all(_state(root_dir, options), installing="")
    if failed:
        raise InstallError("\n".join([*done, *failed]), remedy=_TRY_AGAIN)
    return done


def _recover_all(state: InstallState, *, installing: str) -> tuple[list[str], list[str]]:
    """Give every journal its turn; say what was done and what failed. Raises for the group that is installing only."""
    done, failed = [], []
    for journal in open_journals(state.journal_dir):
        try:
            text = recover_one(journal, state, installing=installing)
            done += [text] if text else []
        except (OSError, InstallError) as error:
            if journal.group == installing:
                raise
            failed.append(f"An interrupted Install of deployment group {journal.group} cannot be ended: {error}")
    state.sweep()
    return done, failed


def _state(root_dir: str, options: InstallOptions) -> InstallState:
    return InstallState(root_dir, options.state_file_mode, options.state_directory_mode)


def _plan(
    request: InstallRequest, state: InstallState, options: InstallOptions, *, tolerant: bool = False
) -> tuple[Plan, Transitions]:
    """Return the plan and the judge of its directories. Raises InstallConflictError, UnsafePathError, OSError."""
    behavior = request.appspec.file_exists_behavior
    cleanup = state.cleanup_file(request.group_id)
    transitions = Transitions(cleanup.directories(), follow=options.follow_unsafe_links)
    reserved = ("agent-state", "deployment-instructions", options.tracking_name)
    plan = make_plan(
        PlanRequest(
            appspec=request.appspec,
            archive=request.archive,
            behavior=behavior.value if behavior is not None else request.file_exists_behavior,
            cwd=request.cwd,
            old_paths=cleanup.paths(),
            group=request.group_id,
            instructions_dir=state.instructions_dir,
            token=os.urandom(4).hex(),
            options=options,
            reserved=[os.path.join(request.root_dir, name) for name in reserved],
            judge_link=transitions.judge_link,
            tolerant=tolerant,
        )
    )
    return plan, transitions


def _record(
    request: InstallRequest,
    plan: Plan,
    state: InstallState,
    meanwhile: list[str],
    directories: Directories,
    transitions: Transitions,
) -> InstallRecord:
    cleanup = state.cleanup_file(request.group_id)
    before = cleanup.content()
    steps = _steps(plan, directories, transitions)
    return InstallRecord(
        group=request.group_id,
        deployment_dir=request.deployment_dir,
        steps=steps,
        obsolete=plan.obsolete,
        cleanup_before=None if before is None else os.fsdecode(before),
        odd_before=cleanup.odd_paths(before),
        cleanup_after=plan.recorded,
        digests={"before": digest(before), "during": digest(encode(meanwhile))},
        rules=rules_of(plan),
        obsolete_rules=obsolete_rules(plan),
        boot=boot_id(),
        directories=dict(directories.identities),
        mounted=sorted(plan.mounts.intersection(directories.identities)),
        stages=plan.stages,
    )


def _steps(plan: Plan, directories: Directories, transitions: Transitions) -> list[InstallStep]:
    """Return the steps of a plan with what is at their paths now. Raises UnsafePathError, InstallError and OSError."""
    exchanged = {operation.path: operation.kind for operation in plan.operations if operation.kind in _EXCHANGED}
    before = directories.identities_of(exchanged)
    # Where an old file has gone meanwhile, the aim is reached.
    gone = [path for path, kind in exchanged.items() if kind != REMOVE and path not in before]
    if gone:
        raise MovedError(gone[0])
    return [
        _metadata_step(operation, directories, transitions)
        if operation.kind in (RESET, ADJUST)
        else InstallStep(
            operation.kind, operation.path, operation.temp, operation.backup, None, before.get(operation.path)
        )
        for operation in plan.operations
    ]


def _metadata_step(operation: Operation, directories: Directories, transitions: Transitions) -> InstallStep:
    """Return the step for an object that stays, with the metadata that it has."""
    with directories.pinned(operation.path) as pinned:
        if operation.kind == ADJUST:
            above = os.fstat(directories.open(os.path.dirname(operation.path)))
            transitions.judge_object(operation.path, above, os.fstat(pinned))
        return InstallStep(operation.kind, operation.path, old=read_metadata(pinned), before=identity("", pinned))


class _Execution:
    """Carries out one journalled plan."""

    def __init__(
        self, plan: Plan, record: InstallRecord, journal: Journal, state: InstallState, directories: Directories
    ) -> None:
        self._plan = plan
        self._record = record
        self._journal = journal
        self._cleanup = state.cleanup_file(record.group)
        self._directories = directories
        self._before = {step.path: step.before for step in record.steps if step.before is not None}
        self._unlinked: set[str] = set()

    def run(
        self,
        meanwhile: list[str],
        own: Mapping[str, Identity | None],
        progress: Callable[[int, int], None] | None,
    ) -> dict[str, Identity]:
        """Stage and commit, and give the new directories; on any failure, an interrupt too, undo all and raise."""
        try:
            with explained("installing"):
                self._cleanup.write(meanwhile, keep=[self._record.digests["before"]], directories=own)
                installed = self._stage(progress)
                self._commit()
                return installed
        except BaseException as error:
            self._undo(error)
            raise

    def _stage(self, progress: Callable[[int, int], None] | None) -> dict[str, Identity]:
        stager = Stager(self._plan, self._directories, progress, before=self._before)
        directories = directories_of(self._record)
        with written_ahead(directories) if stager.is_long else nullcontext():
            stager.run()
        self._unlinked = stager.unlinked
        add_rules(self._record.rules)
        self._directories.sync(directories)
        made = self._directories.inodes(step.temp for step in self._record.steps)
        self._journal.mark(STAGED, made=made, installed=stager.installed)
        return stager.installed

    def _commit(self) -> None:
        check_names(self._plan, self._directories)
        Committer(self._plan, self._directories, self._before, unlinked=self._unlinked).run()
        label_installed(self._plan)
        self._directories.sync(directories_of(self._record), objects=changed_objects(self._record))
        self._journal.mark(COMMITTED)

    def _undo(self, error: BaseException) -> None:
        try:
            record = self._journal.read()
            left = go_back(record, self._journal, self._cleanup, self._directories) if record is not None else []
        except (OSError, InstallError) as second:
            raise InstallError(
                f"{error} While undoing this: {second}. The host holds parts of both revisions.", remedy=_TRY_AGAIN
            ) from error
        if left:
            raise InstallError(f"{error} {left_alone(left)}", remedy=getattr(error, "remedy", "")) from error


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise InstallError for an OSError, with the path, the reason and what to do; ``doing`` completes "while"."""
    try:
        yield
    except OSError as error:
        remedy = _SOMEBODY_ELSE if error.errno == errno.EEXIST else remedy_for(error)
        raise InstallError(f"While {doing}: {place_and_reason(error)}.", remedy=remedy) from error
