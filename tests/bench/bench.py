"""Speed and memory of whole deployments, beside the plain commands that move the same files.

    make bench                                  everything; ten minutes or more, by the disk
    make bench BENCH="--items a,b --runs 3"     only some of it
    make bench BENCH="--scale 0.1"              with a tenth of the files (the targets are meant for 1)

Each line is one item in one place: the median of several runs of ours and of its floor, their ratio, the target for
that ratio, and the largest amount of memory that a process of ours held. Ours and the floor take turns, every run
writes to fresh folders and begins when the disk has written all that came before (the floor leaves that to whoever
comes next, ours waits for the disk), and no tree of many files is deleted on the disk before the last run: that slows
down what comes after.

  (a) the small example; floor: an interpreter that does nothing
  (b) 10,000 files of 4 KiB from a folder, a tgz and a zip; floor: tar -x or unzip, then cp -a (a folder: cp -a twice)
  (c) 100,000 files of 1 KiB from a tgz; floor as for (b); besides, against (b) itself
  (d) one file of 1 GiB in a tar; floor as for (b)
  (e) the files of (b), each given owner, group and mode, by one entry or by an own one; against (b) without that
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from content import Files, Revision, no_permissions, one_entry_each, one_entry_for_all
from measure import BenchError, Measurement, measure

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMALL_EXAMPLE = os.path.join(PROJECT, "appspec-examples", "static-site", "version-1")
KINDS = ("directory", "tgz", "zip")
MIB = 1024


@dataclass
class Row:
    """One line of the result. ``target`` bounds the ratio, ``peak_target`` the memory in MiB; None: nothing to meet."""

    item: str
    place: str
    ours: float
    floor: float
    against: str
    target: float | None
    peak_mib: float
    peak_target: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.floor

    @property
    def met(self) -> bool:
        in_time = self.target is None or self.ratio <= self.target
        return in_time and (self.peak_target is None or self.peak_mib < self.peak_target)

    def __str__(self) -> str:
        target = "-" if self.target is None else f"{self.target:.2f}"
        peak = f"{self.peak_mib:.0f} MiB" + (f" (< {self.peak_target:.0f})" if self.peak_target else "")
        verdict = "-" if self.target is None and self.peak_target is None else "met" if self.met else "MISSED"
        return (
            f"{self.item:<48} {self.place:<5} {self.ours:>8.3f} s {self.floor:>8.3f} s {self.ratio:>6.2f} {target:>6} "
            f" {peak:<16} {verdict:<7} {self.against}"
        )


@dataclass
class Place:
    """Where is measured: a name for the table, a folder, and whether a run is removed when it has been measured."""

    name: str
    folder: str
    remove_runs: bool
    programs: str
    runs: int
    scale: float
    very_many_kinds: tuple[str, ...]
    many_files: dict[str, float] = field(default_factory=dict)
    _made: int = 0

    def fresh(self) -> str:
        """A new folder for one run; what earlier runs have left to the disk is written, so each pays for itself."""
        os.sync()
        self._made += 1
        path = os.path.join(self.folder, f"run-{self._made:04}")
        os.mkdir(path)
        return path

    def done_with(self, folder: str, *, large: bool = False) -> None:
        if self.remove_runs or large:
            shutil.rmtree(folder)

    def deploy(self, location: str, kind: str, work: str) -> Measurement:
        settings = os.path.join(work, "codedeployagent.yml")
        with open(settings, "w") as file:
            file.write(f"---\n:root_dir: {work}/root\n:log_dir: {work}/log\n:pid_dir: {work}/pid\n")
        program = os.path.join(self.programs, "codedeploy-local")
        return measure([program, "-c", settings, "-l", location, "-t", kind], folder=work)


def small_example(place: Place) -> Iterator[Row]:
    ours, floors = [], []
    for _ in range(max(place.runs, 5)):
        work = place.fresh()
        revision = os.path.join(work, "revision")
        shutil.copytree(SMALL_EXAMPLE, revision)
        for folder, _, names in os.walk(revision):
            for name in names:
                _replace(os.path.join(folder, name), "/srv/example", work)
        floors.append(measure([os.path.join(place.programs, "python"), "-c", "pass"], folder=work))
        ours.append(place.deploy(revision, "directory", work))
        place.done_with(work)
    yield _row("(a) the small example", place, ours, _median(floors), "python -c pass", 10)


def _replace(path: str, old: str, new: str) -> None:
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace(old, new))


def many_files(place: Place) -> Iterator[Row]:
    files = Files(round(10_000 * place.scale), 4096)
    target = 1.3 if place.name == "disk" else 2.5
    made = place.fresh()
    for kind in KINDS:
        name = f"(b) {files.count} x 4 KiB, {kind}"
        row = _compare(place, name, Revision(files, kind), made, target, runs=place.runs)
        place.many_files[kind] = row.ours
        yield row
    place.done_with(made)


def very_many_files(place: Place) -> Iterator[Row]:
    files = Files(round(100_000 * place.scale), 1024)
    target = 1.4 if place.name == "disk" else None  # where no disk is waited for, the interpreter shows
    made = place.fresh()
    for kind in place.very_many_kinds:
        name = f"(c) {files.count} x 1 KiB, {kind}"
        row = _compare(place, name, Revision(files, kind), made, target, runs=min(place.runs, 3))
        yield row
        if kind in place.many_files:
            yield Row(name, place.name, row.ours, place.many_files[kind], f"(b) {kind}", 12, row.peak_mib)
    place.done_with(made)


def one_large_file(place: Place) -> Iterator[Row]:
    files = Files(1, round((1 << 30) * place.scale))
    name = f"(d) one file of {files.size >> 20} MiB, tar"
    made = place.fresh()
    revision = Revision(files, "tar")
    yield _compare(place, name, revision, made, 1.15, runs=min(place.runs, 3), peak_target=64, large=True)
    place.done_with(made, large=True)


def permissions(place: Place) -> Iterator[Row]:
    files = Files(round(10_000 * place.scale), 4096)
    variants = {"none": no_permissions, "one entry with **": one_entry_for_all, "an entry for each": one_entry_each}
    # The entries of real AppSpecs name whole paths, so every run installs there, and is moved out of the way.
    destination = os.path.join(place.folder, "deployed")
    made = {name: place.fresh() for name in variants}
    for kind in KINDS:
        taken: dict[str, list[Measurement]] = {name: [] for name in variants}
        revisions = {name: Revision(files, kind, entries, destination) for name, entries in variants.items()}
        locations = {name: revision.make(made[name]) for name, revision in revisions.items()}
        for _ in range(place.runs):
            for name, revision in revisions.items():
                work = place.fresh()
                taken[name].append(place.deploy(locations[name], kind, work))
                _check(destination, revision)
                os.rename(destination, os.path.join(work, "deployed"))
                place.done_with(work)
        plain = _median(taken.pop("none"))
        for name, ours in taken.items():
            yield _row(f"(e) {files.count} x 4 KiB, {kind}, {name}", place, ours, plain, f"(b) {kind}", 1.3)
    for folder in made.values():
        place.done_with(folder)


def _compare(
    place: Place,
    name: str,
    revision: Revision,
    made: str,
    target: float | None,
    *,
    runs: int,
    peak_target: float | None = None,
    large: bool = False,
) -> Row:
    ours, floors = [], []
    location = revision.make(made)
    for _ in range(runs):
        beside = place.fresh()
        floors.append(measure(revision.floor(location), folder=beside))
        place.done_with(beside, large=large)
        work = place.fresh()
        ours.append(_deployed(place, revision, location, work))
        place.done_with(work, large=large)
    return _row(name, place, ours, _median(floors), "the floor", target, peak_target)


def _deployed(place: Place, revision: Revision, location: str, work: str) -> Measurement:
    measurement = place.deploy(location, revision.kind, work)
    _check(os.path.join(work, "deployed"), revision)
    return measurement


def _check(deployed: str, revision: Revision) -> None:
    found = sum(len(names) for _, _, names in os.walk(deployed))
    if found != revision.files.count:
        raise BenchError(f"{found} files were deployed instead of {revision.files.count}")


def _median(measurements: list[Measurement]) -> float:
    return statistics.median(measurement.seconds for measurement in measurements)


def _row(
    name: str,
    place: Place,
    ours: list[Measurement],
    floor: float,
    against: str,
    target: float | None,
    peak_target: float | None = None,
) -> Row:
    peak = max(measurement.peak_kib for measurement in ours) / MIB
    return Row(name, place.name, _median(ours), floor, against, target, peak, peak_target)


ITEMS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "a": small_example,
    "b": many_files,
    "c": very_many_files,
    "d": one_large_file,
    "e": permissions,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="a,b,c,d,e", help="which items, with commas between them")
    parser.add_argument("--places", default="tmpfs,disk", help="tmpfs, disk, or both")
    parser.add_argument("--tmpfs", default="/dev/shm", metavar="FOLDER", help="a folder on a tmpfs")
    parser.add_argument("--disk", default="/var/tmp", metavar="FOLDER", help="a folder on the disk")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the median counts")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the files to take")
    parser.add_argument(
        "--very-many",
        default="tgz",
        metavar="KINDS",
        help="what (c) unpacks: some of directory, tgz, zip (removing so many files takes the disk minutes)",
    )
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    programs = os.path.dirname(sys.executable)
    print(
        f"{'item':<48} {'place':<5} {'ours':>10} {'other':>10} {'ratio':>6} {'target':>6}  {'peak':<16} {'':<7} other"
    )
    kinds = tuple(options.very_many.split(","))
    missed = 0
    for name in options.places.split(","):
        with tempfile.TemporaryDirectory(prefix="codedeploy-bench-", dir=getattr(options, name)) as folder:
            place = Place(name, folder, name == "tmpfs", programs, options.runs, options.scale, kinds)
            for item in options.items.split(","):
                for row in ITEMS[item](place):
                    print(row, flush=True)
                    missed += not row.met
    print(f"{missed} of the targets were missed" if missed else "every target was met")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
