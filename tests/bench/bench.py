"""Speed and memory of whole deployments, beside the plain commands that move the same files.

    make bench                                  everything; ten minutes or more, by the disk
    make bench BENCH="--items a,b --runs 3"     only some of it
    make bench BENCH="--scale 0.1"              with a tenth of the files (the targets are meant for 1)
    make bench BENCH="--against ../before/.venv/bin"      beside another version instead of the floor

Each line is one item in one place: the median of several runs of ours and of its floor, their ratio, the target for
that ratio, and the largest amount of memory that a process of ours held. Ours and the floor take turns, and the order
changes from round to round. Every run writes to fresh directories and begins when the disk has written all that came
before (the floor leaves that to whoever comes next, ours waits for the disk), and no tree of many files is deleted on
the disk before the last run: that slows down what comes after.

With --against, the other version's codedeploy-local deploys the same in the place of the floor, and every line has the
target of --target. Both versions are compiled first, so that neither compiles itself while it is measured.

  (a) the small example; floor: an interpreter that does nothing
  (b) 10,000 files of 4 KiB from a directory, a tgz and a zip; floor: tar -x or unzip, then cp -a
  (c) 100,000 files of 1 KiB from a tgz; floor as for (b); besides, against (b) itself
  (d) one file of 1 GiB in a tar; floor as for (b)
  (e) the files of (b), each given owner, group and mode, by one entry or by an own one; against (b) without that
  (f) the files of (b) deployed again over themselves, from a tgz and a directory, where only the second deployment is
      measured; floor: as for (b), over the files that the same command has copied there. It has no target, as cp writes
      into the files that are there, while a deployment replaces them
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import fresh
from content import Files, Revision, no_permissions, one_entry_each, one_entry_for_all
from fresh import Place
from measure import Measurement

KINDS = ("directory", "tgz", "zip")
PERMISSIONS = {"one entry with **": one_entry_for_all, "an entry for each": one_entry_each}
MIB = 1024
# Compiles the version that an interpreter imports, also where PYTHONDONTWRITEBYTECODE is set, and prints where it is.
_COMPILE = "import agent, compileall; compileall.compile_dir(*agent.__path__, quiet=2); print(*agent.__path__)"


@dataclass
class Row:
    """One line of the result. ``target`` bounds the ratio, ``peak_target`` the memory in MiB; None: nothing to meet."""

    item: str
    place: str
    ours: float
    other: float
    against: str
    target: float | None
    peak_mib: float
    peak_target: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.other

    @property
    def verdict(self) -> str:
        if self.target is None and self.peak_target is None:
            return "-"
        in_time = self.target is None or self.ratio <= self.target
        return "met" if in_time and (self.peak_target is None or self.peak_mib < self.peak_target) else "MISSED"

    def __str__(self) -> str:
        target = "-" if self.target is None else f"{self.target:.2f}"
        peak = f"{self.peak_mib:.0f} MiB" + (f" (< {self.peak_target:.0f})" if self.peak_target else "")
        return (
            f"{self.item:<48} {self.place:<5} {self.ours:>8.3f} s {self.other:>8.3f} s {self.ratio:>6.2f} {target:>6} "
            f" {peak:<16} {self.verdict:<7} {self.against}"
        )


class Other(NamedTuple):
    """What ours is measured beside: its name, one run of it, and the target for the ratio."""

    name: str
    run: Callable[[], Measurement]
    target: float | None


def small_example(place: Place) -> Iterator[Row]:
    nothing = Other("python -c pass", partial(fresh.nothing, place), 10)
    yield _compare(
        place, "(a) the small example", partial(fresh.small_example, place), nothing, runs=max(place.runs, 5)
    )


def many_files(place: Place) -> Iterator[Row]:
    files = Files(round(10_000 * place.scale), 4096)
    target = 1.3 if place.name == "disk" else 2.5
    with place.fresh() as made:
        for kind in KINDS:
            name = f"(b) {files.count} x 4 KiB, {kind}"
            row = _beside_floor(place, name, Revision(files, kind), made, target, runs=place.runs)
            place.many_files[kind] = row.ours
            yield row


def very_many_files(place: Place) -> Iterator[Row]:
    files = Files(round(100_000 * place.scale), 1024)
    target = 1.4 if place.name == "disk" else None  # where no disk is waited for, the interpreter shows
    with place.fresh() as made:
        for kind in place.very_many_kinds:
            name = f"(c) {files.count} x 1 KiB, {kind}"
            row = _beside_floor(place, name, Revision(files, kind), made, target, runs=min(place.runs, 3))
            yield row
            if kind in place.many_files and place.other is None:
                yield Row(name, place.name, row.ours, place.many_files[kind], f"(b) {kind}", 12, row.peak_mib)


def one_large_file(place: Place) -> Iterator[Row]:
    files = Files(1, round((1 << 30) * place.scale))
    name = f"(d) one file of {files.size >> 20} MiB, tar"
    with place.fresh(few=True) as made:
        revision = Revision(files, "tar")
        yield _beside_floor(place, name, revision, made, 1.15, runs=min(place.runs, 3), peak_target=64)


def permissions(place: Place) -> Iterator[Row]:
    files = Files(round(10_000 * place.scale), 4096)
    with place.fresh() as made:
        for kind in KINDS:
            plain = partial(_deployer(place, files, kind, no_permissions, made), place.programs)
            for name, entries in PERMISSIONS.items():
                item = f"(e) {files.count} x 4 KiB, {kind}, {name}"
                deploy = _deployer(place, files, kind, entries, made)
                yield _compare(place, item, deploy, Other(f"(b) {kind}", plain, 1.3), runs=place.runs)


def _deployer(
    place: Place, files: Files, kind: str, entries: Callable[[Files, str], str], made: str
) -> Callable[[str], Measurement]:
    # The entries of real AppSpecs name whole paths, so every run installs there, and is moved out of the way.
    revision = Revision(files, kind, entries, os.path.join(place.directory, "deployed"))
    location = revision.make(os.path.join(made, entries.__name__))
    return partial(fresh.deployed, place, revision, location)


def deployed_again(place: Place) -> Iterator[Row]:
    files = Files(round(10_000 * place.scale), 4096)
    with place.fresh() as made:
        for kind in ("tgz", "directory"):
            name = f"(f) {files.count} x 4 KiB, {kind}, again"
            yield _beside_floor(place, name, Revision(files, kind), made, None, runs=place.runs, again=True)


def _beside_floor(
    place: Place,
    name: str,
    revision: Revision,
    made: str,
    target: float | None,
    *,
    runs: int,
    peak_target: float | None = None,
    again: bool = False,
) -> Row:
    location = revision.make(made)
    floor = Other("the floor", partial(fresh.floor, place, revision, location, again=again), target)
    deploy = partial(fresh.deployed, place, revision, location, again=again)
    return _compare(place, name, deploy, floor, runs=runs, peak_target=peak_target)


def _compare(
    place: Place,
    name: str,
    deploy: Callable[[str], Measurement],
    other: Other,
    *,
    runs: int,
    peak_target: float | None = None,
) -> Row:
    """Measure what ``deploy`` does with our programs, beside the other version if there is one, else ``other``."""
    if place.other is not None:
        other = Other("the other version", partial(deploy, place.other), place.other_target)
    ours, others = _in_turns(runs, partial(deploy, place.programs), other.run)
    peak = max(measurement.peak_kib for measurement in ours) / MIB
    return Row(name, place.name, _median(ours), _median(others), other.name, other.target, peak, peak_target)


def _in_turns(
    runs: int, ours: Callable[[], Measurement], other: Callable[[], Measurement]
) -> tuple[list[Measurement], list[Measurement]]:
    taken: tuple[list[Measurement], list[Measurement]] = ([], [])
    turns = [(ours, taken[0]), (other, taken[1])]
    for _ in range(runs):
        for run, measurements in turns:
            measurements.append(run())
        turns.reverse()  # so that neither always runs after the other
    return taken


def _median(measurements: list[Measurement]) -> float:
    return statistics.median(measurement.seconds for measurement in measurements)


ITEMS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "a": small_example,
    "b": many_files,
    "c": very_many_files,
    "d": one_large_file,
    "e": permissions,
    "f": deployed_again,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default=",".join(ITEMS), help="which items, with commas between them")
    parser.add_argument("--places", default="tmpfs,disk", help="tmpfs, disk, or both")
    parser.add_argument("--tmpfs", default="/dev/shm", metavar="DIRECTORY", help="a directory on a tmpfs")
    parser.add_argument("--disk", default="/var/tmp", metavar="DIRECTORY", help="a directory on the disk")
    parser.add_argument(
        "--runs",
        type=int,
        default=5,
        help="runs of each, of which the median counts; (a) takes at least 5, (c) and (d) take at most 3",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the files to take")
    parser.add_argument(
        "--very-many",
        default="tgz",
        metavar="KINDS",
        help="what (c) unpacks: some of directory, tgz, zip (removing so many files takes the disk minutes)",
    )
    parser.add_argument(
        "--against",
        metavar="PROGRAMS",
        help="the directory of another version's codedeploy-local and python, such as another checkout's .venv/bin",
    )
    parser.add_argument(
        "--target", type=float, default=1.05, metavar="RATIO", help="the largest ratio that --against accepts (1.05)"
    )
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    options = parser.parse_args()
    if options.against is not None:
        options.against = os.path.abspath(options.against)  # runs have working directories of their own
        for name in ("codedeploy-local", "python"):
            if not os.access(os.path.join(options.against, name), os.X_OK):
                parser.error(
                    f"{options.against} has no program {name}. Pass another checkout's .venv/bin to --against."
                )
    return options


def compiled(programs: str) -> str:
    """Compile the version that these programs run, and return the directory of its sources."""
    # Isolated, or it would import the version of the working directory.
    command = [os.path.join(programs, "python"), "-I", "-c", _COMPILE]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def summary(verdicts: list[str]) -> str:
    judged = len(verdicts) - verdicts.count("-")
    missed = verdicts.count("MISSED")
    if not judged:
        return "nothing that was measured has a target"
    return (
        f"{missed} of {judged} targets were missed" if missed else f"all targets that were measured were met: {judged}"
    )


def main() -> int:
    options = arguments()
    programs = os.path.dirname(sys.executable)
    ours = compiled(programs)
    if options.against is not None:
        print(f"ours:  {ours}\nother: {compiled(options.against)}")
    print(
        f"{'item':<48} {'place':<5} {'ours':>10} {'other':>10} {'ratio':>6} {'target':>6}  {'peak':<16} {'':<7} other"
    )
    verdicts = []
    for name in options.places.split(","):
        with tempfile.TemporaryDirectory(prefix="codedeploy-bench-", dir=getattr(options, name)) as directory:
            place = Place(
                name,
                directory,
                remove_runs=name == "tmpfs",
                programs=programs,
                other=options.against,
                other_target=options.target,
                runs=options.runs,
                scale=options.scale,
                very_many_kinds=tuple(options.very_many.split(",")),
            )
            for item in options.items.split(","):
                for row in ITEMS[item](place):
                    print(row, flush=True)
                    verdicts.append(row.verdict)
    print(summary(verdicts))
    return 1 if "MISSED" in verdicts and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
