"""Single runs of what the bench measures, each in a directory of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from content import Revision
from measure import BenchError, Measurement, measure

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMALL_EXAMPLE = os.path.join(PROJECT, "appspec-examples", "static-site", "version-1")


@dataclass
class Place:
    """Where is measured, and how: a name for the table, a directory, and whether measured runs are removed.

    ``programs`` is the directory of our programs, ``other`` that of another version's, which then replaces the floors.
    """

    name: str
    directory: str
    remove_runs: bool
    programs: str
    other: str | None
    other_target: float
    runs: int
    scale: float
    very_many_kinds: tuple[str, ...]
    many_files: dict[str, float] = field(default_factory=dict)
    _made: int = 0

    @contextmanager
    def fresh(self, *, few: bool = False) -> Iterator[str]:
        """Make a new directory for one run.

        What earlier runs have left to the disk is written first, so that each pays for itself. The directory is
        removed afterwards where that is quick: on a tmpfs, or if the run makes few files.
        """
        os.sync()
        self._made += 1
        path = os.path.join(self.directory, f"run-{self._made:04}")
        os.mkdir(path)
        yield path
        if self.remove_runs or few:
            shutil.rmtree(path)


def nothing(place: Place) -> Measurement:
    """Start an interpreter that does nothing."""
    with place.fresh(few=True) as work:
        return measure([os.path.join(place.programs, "python"), "-c", "pass"], directory=work)


def small_example(place: Place, programs: str) -> Measurement:
    """Deploy the small example with these programs."""
    with place.fresh(few=True) as work:
        revision = os.path.join(work, "revision")
        shutil.copytree(SMALL_EXAMPLE, revision)
        for directory, _, names in os.walk(revision):
            for name in names:
                _replace(os.path.join(directory, name), "/srv/example", work)
        return _deploy(programs, revision, "directory", work)


def _replace(path: str, old: str, new: str) -> None:
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace(old, new))


def floor(place: Place, revision: Revision, location: str, *, again: bool = False) -> Measurement:
    """Run the floor of a revision; ``again``: a second time over the same files, which is then measured."""
    with place.fresh(few=revision.files.few) as beside:
        if again:
            measure(revision.floor(location), directory=beside)
            os.rename(os.path.join(beside, "archive"), os.path.join(beside, "first-archive"))
        return measure(revision.floor(location), directory=beside)


def deployed(place: Place, revision: Revision, location: str, programs: str, *, again: bool = False) -> Measurement:
    """Deploy a revision with these programs; ``again``: a second time over itself, which is then measured.

    Raises BenchError when the destination has more or fewer files than the revision.
    """
    with place.fresh(few=revision.files.few) as work:
        if again:
            _deploy(programs, location, revision.kind, work)
        measurement = _deploy(programs, location, revision.kind, work)
        destination = os.path.join(work, revision.destination)
        _check(destination, revision)
        os.rename(destination, os.path.join(work, "deployed"))  # out of the way of a run that installs there
    return measurement


def _deploy(programs: str, location: str, kind: str, work: str) -> Measurement:
    settings = os.path.join(work, "codedeployagent.yml")
    with open(settings, "w") as file:
        file.write(f"---\n:root_dir: {work}/root\n:log_dir: {work}/log\n:pid_dir: {work}/pid\n")
    program = os.path.join(programs, "codedeploy-local")
    return measure([program, "-c", settings, "-l", location, "-t", kind], directory=work)


def _check(deployed: str, revision: Revision) -> None:
    found = sum(len(names) for _, _, names in os.walk(deployed))
    if found != revision.files.count:
        raise BenchError(f"{found} files were deployed instead of {revision.files.count}")
