"""How soon a fresh host takes part in deployments: from switching it on to its agent's first poll.

    sudo .venv/bin/python tests/bench/boot.py

It boots hosts, so it needs root and the programs of docs/test-hosts.md; with --where-possible it says what is missing
and ends well without them, as a part of make bench.

On each host cloud-init runs the user data of userdata/codedeploy-agent.sh, with the wheelhouse on the host's disk as
in an image that it was baked into; all of the installation is in the time. A second figure is for an image that has
the agent itself.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "tests" / "helpers"), str(PROJECT)]

from agent_hosts import Fleet, Site, running_site  # noqa: E402 - found by the line above
from agent_wheelhouse import user_data, wheelhouse  # noqa: E402
from booted_host import BootedHost  # noqa: E402
from cloud_seed import seed, wait_for_cloud_init  # noqa: E402
from guards import lacking, lacking_tool  # noqa: E402
from host_lab import NEEDED  # noqa: E402

TARGET = 30.0
"""Seconds from boot to first poll, installation included."""
ARCHIVE = "/var/lib/codedeploy-agent.tar.gz"


def with_wheelhouse(fleet: Fleet, image: str) -> BootedHost:
    """A host whose image has the wheelhouse."""
    host = fleet.create("baked", f"{image}-cloud-init", installed=False)
    host.put(ARCHIVE, wheelhouse().archive)
    seed(host, user_data(wheelhouse(), AGENT_SOURCE=ARCHIVE, AGENT_CONFIG=fleet.site.config))
    return host


def with_agent(fleet: Fleet, image: str) -> BootedHost:
    """A host whose image has the agent."""
    return fleet.create("baked", image)


def measure(site: Site, directory: Path, image: str, runs: int) -> Iterator[str]:
    """Boot hosts of both kinds one after the other; gives a line for each."""
    for make, what in ((with_wheelhouse, "wheelhouse in the image"), (with_agent, "agent in the image")):
        taken = []
        for number in range(runs):
            with Fleet(site, directory / f"{image}-{number}").opened() as fleet:
                host = make(fleet, image)
                fleet.register(host)
                began = time.monotonic()
                host.start(wait=False)
                fleet.wait_for_poll(host)
                taken.append(time.monotonic() - began)
                host.wait_until_running()  # and nothing went wrong meanwhile
                if make is with_wheelhouse:
                    wait_for_cloud_init(host)
        found = statistics.median(taken)
        name = f"{image}: boot to first poll, {what}"
        yield f"{name:<58} {found:>9.3f} s    at most {TARGET:<6g} {'met' if found <= TARGET else 'MISSED'}"


def missing() -> list[str]:
    """What this machine lacks to boot hosts."""
    reasons = [(lacking if mark.name == "needs" else lacking_tool)(want) for mark in NEEDED for want in mark.args]
    return [reason.removeprefix("needs ") for reason in reasons if reason]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="debian12,debian13", help="which systems, with commas between them")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which the median counts")
    parser.add_argument("--where-possible", action="store_true", help="end well where hosts cannot be booted")
    options = parser.parse_args()
    if reasons := missing():
        print(f"boot to first poll: NOT MEASURED, as booting hosts needs {', '.join(reasons)}", flush=True)
        return 0 if options.where_possible else 1
    with tempfile.TemporaryDirectory(prefix="codedeploy-bench-") as directory:
        wheelhouse()  # made before, where the network is
        with running_site(Path(directory)) as site:
            for image in options.images.split(","):
                for line in measure(site, Path(directory), image, options.runs):
                    print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
