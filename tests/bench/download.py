"""Speed and memory of a download from S3, beside `aws s3 cp` and one plain GET of the same object.

    python tests/bench/download.py --aws .venv-aws/bin/aws
    python tests/bench/download.py --size 64 --runs 1            MiB; without --aws only the plain GET is compared

The server is a process of its own on this host that honours ranges, so nothing waits for a network. Each row is the
median of several runs of whole processes that take turns, with the most memory that one of them held. The target: at
least 0.9 of the speed of the faster of the others, and less than 64 MiB.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from measure import BenchError, Measurement, measure

MIB = 1 << 20
SPEED_TARGET = 0.9
PEAK_TARGET = 64

# One process that sends a file by ranges; the kernel moves the bytes, so that it is not the server that is measured.
_SERVER = """
import os, re, socketserver, sys
path, size = sys.argv[1], os.path.getsize(sys.argv[1])
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            method, head = line.split()[0], {}
            while (line := self.rfile.readline()).strip():
                name, _, value = line.partition(b":")
                head[name.lower()] = value.strip()
            asked = re.fullmatch(rb"bytes=(\\d+)-(\\d*)", head.get(b"range", b""))
            start, end = 0, size
            if asked:
                start, end = int(asked[1]), min(int(asked[2] or size), size - 1) + 1
            status = b"206 Partial Content\\r\\nContent-Range: bytes %d-%d/%d" % (start, end - 1, size)
            self.wfile.write(
                b"HTTP/1.1 %b\\r\\nContent-Length: %d\\r\\nETag: \\"bench\\"\\r\\nAccept-Ranges: bytes\\r\\n"
                b"Last-Modified: Mon, 23 Nov 2026 00:00:00 GMT\\r\\n\\r\\n"
                % (status if asked else b"200 OK", end - start)
            )
            if method == b"HEAD":
                continue
            with open(path, "rb") as file:
                while start < end:
                    start += os.sendfile(self.connection.fileno(), file.fileno(), start, end - start)
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    def handle_error(self, request, client_address):
        pass
with Server(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""

_OURS = """
import sys
from agent.bundle.fetch import FetchOptions
from agent.bundle.s3 import fetch_s3
from agent.deployment.spec import BundleType, S3Revision
from agent.network.credentials import Credentials
from agent.network.http import HttpClient
options = FetchOptions(HttpClient(), lambda: Credentials("A", "S"), "us-east-1", s3_endpoint=sys.argv[1])
fetch_s3(S3Revision("bench", "bundle.tar", BundleType.TAR), sys.argv[2], options=options)
"""

_PLAIN = """
import http.client, sys, urllib.parse
connection = http.client.HTTPConnection(urllib.parse.urlsplit(sys.argv[1]).netloc)
connection.request("GET", "/bench/bundle.tar")
with connection.getresponse() as response, open(sys.argv[2], "wb", buffering=0) as file:
    while piece := response.read(262144):
        file.write(piece)
"""


class DownloadRow(NamedTuple):
    """One way of downloading: its median in seconds, and its peak in MiB."""

    name: str
    seconds: float
    peak_mib: float


def download_rows(directory: str, *, size: int, runs: int, aws: str | None = None) -> list[DownloadRow]:
    """Measure downloads of ``size`` bytes into ``directory``; ours is the first row."""
    ways = {
        "ours": [sys.executable, "-c", _OURS],
        "plain GET": [sys.executable, "-I", "-S", "-c", _PLAIN],
        **({"aws s3 cp": [os.path.abspath(aws)]} if aws else {}),
    }
    taken: dict[str, list[Measurement]] = {name: [] for name in ways}
    bundle = os.path.join(directory, "bundle")
    with open(bundle, "wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))
    with _serving(bundle) as url:
        for run in range(runs):
            for name, command in ways.items():
                target = os.path.join(directory, f"{name}-{run}")
                taken[name].append(_measured(_completed(command, url, target), directory, target, size))
    return [
        DownloadRow(name, statistics.median(m.seconds for m in found), max(m.peak_kib for m in found) / 1024)
        for name, found in taken.items()
    ]


def _completed(command: Sequence[str], url: str, target: str) -> list[str]:
    if len(command) > 1:
        return [*command, url, target]
    keys = ("AWS_ACCESS_KEY_ID=A", "AWS_SECRET_ACCESS_KEY=S", "AWS_CONFIG_FILE=/nonexistent")
    arguments = ("--endpoint-url", url, "--region", "us-east-1", "s3", "cp", "s3://bench/bundle.tar", target, "--quiet")
    return ["env", *keys, *command, *arguments]


def _measured(command: Sequence[str], directory: str, target: str, size: int) -> Measurement:
    taken = measure(command, directory=directory)
    if os.path.getsize(target) != size:
        raise BenchError(f"{target} is not whole")
    os.unlink(target)
    return taken


@contextmanager
def _serving(path: str) -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", _SERVER, path], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def main() -> int:
    """Print the comparison; 1 when ours is too slow or too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", default="/dev/shm", help="where to download to")
    parser.add_argument("--aws", help="the program aws, to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="codedeploy-bench-", dir=options.directory) as directory:
        rows = download_rows(directory, size=options.size * MIB, runs=options.runs, aws=options.aws)
    for row in rows:
        print(f"{row.name:<12} {row.seconds:>7.3f} s {options.size / row.seconds:>7.0f} MiB/s {row.peak_mib:>6.0f} MiB")
    speed = min(row.seconds for row in rows[1:]) / rows[0].seconds
    met = speed >= SPEED_TARGET and rows[0].peak_mib < PEAK_TARGET
    verdict = "met" if met else "MISSED"
    print(f"ours has {speed:.2f} of the faster one's speed (target {SPEED_TARGET}): {verdict}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
