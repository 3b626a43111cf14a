"""The promise for untrusted text, kept in a process of its own that may not have more memory than that."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEBIBYTE = 1 << 20

PROGRAM = """
import resource, sys
from agent.appspec.parse import check

data = sys.stdin.buffer.read()
# What the interpreter and the text itself take is part of the promise.
resource.setrlimit(resource.RLIMIT_AS, ({address_space}, {address_space}))
# A parser that is stuck is ended by the kernel and not waited for.
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
appspec, problems = check(data, filename="f")
errors = [problem for problem in problems if problem.severity == "error"]
# Not getrusage: its peak includes that of the test process before the exec.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(bool(appspec), len(errors), int(status["VmHWM"].split()[0]) // 1024)
"""

HEAD = b"version: 0.0\nos: linux\n"
FULL = 2 * MEBIBYTE - 100


def filled(piece: bytes, *, head: bytes = HEAD, tail: bytes = b"\n") -> bytes:
    return head + piece * ((FULL - len(head)) // len(piece)) + tail


def bomb() -> bytes:
    lines = [b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    for number in range(1, 40):
        lines.append(b"a%d: &a%d [%s]" % (number, number, b",".join([b"*a%d" % (number - 1)] * 10)))
    return HEAD + b"\n".join(lines)


REFUSED = {
    "an alias bomb": bomb(),
    "scripts times events": HEAD
    + b"s: &s\n"
    + b"- location: x\n" * 2000
    + b"hooks:\n"
    + b"".join(b"  E%d: *s\n" % number for number in range(2000)),
    "depth": b"[" * FULL,
    "depth in blocks": b"- " * (FULL // 2),
    "depth of maps": b"{" * FULL,
    "depth of keys": b"? " * (FULL // 2),
    "many texts": filled(b"a,", head=b"[", tail=b"]"),
    "many maps": filled(b"{},", head=b"[", tail=b"]"),
    "many directives": b"".join(b"%%TAG !a%d! x\n" % number for number in range(60_000)) + b"---\n",
    "many tabs": filled(b"\t- a\n"),
    "too long": b"#" * (8 * MEBIBYTE),
    "many wrong entries": HEAD + b"files:\n" + b"- a\n" * 190_000,
    "colons": filled(b":", head=b"a"),
    "quotes that never end": filled(b"a\n", head=b'"'),
}

ACCEPTED = {
    "one long text": filled(b"a", head=HEAD + b"x: "),
    "a long timeout": HEAD + b"hooks:\n  AfterInstall:\n  - location: x\n    timeout: " + b"9" * 1_000_000 + b"\n",
    "a long range": HEAD
    + b"permissions:\n- object: x\n  context: {type: t, range: 's0:"
    + b",".join([b"c1"] * 500_000)
    + b"'}\n",
    "a long range of runs": HEAD
    + b"permissions:\n- object: x\n  context: {type: t, range: 's0:"
    + b",".join([b"c0.c1023"] * 200_000)
    + b"'}\n",
    "spaces that only look like some": filled("# \u00a0".encode(), head=HEAD + b"x: '", tail=b"'\n"),
    "unknown keys": HEAD + b"".join(b"appl%035d: x\n" % number for number in range(40_000)),
    "duplicate keys": HEAD + b"a: x\n" * 90_000,
    "doubled acls": HEAD + b"permissions:\n- object: x\n  acls:\n" + b"  - u:a:r\n" * 180_000,
    "many anchors": HEAD + b"".join(b"k%d: &k%d v\n" % (number, number) for number in range(90_000)),
    "unicode breaks": HEAD + b'x: "' + "\u2028".encode() * 600_000 + b'"\n',
    "as many entries as are allowed": HEAD
    + b"permissions:\n"
    + b"".join(b"- object: /srv/application/%08d\n  owner: games\n  mode: 640\n" % number for number in range(28_000)),
}


def run(data: bytes) -> tuple[bool, int, int]:
    program = PROGRAM.format(address_space=192 * MEBIBYTE)
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    accepted, errors, peak = done.stdout.decode().split()
    return accepted == "True", int(errors), int(peak)


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_hostile_text_is_refused_within_memory_and_time(data):
    accepted, errors, peak = run(data)
    assert not accepted
    assert 0 < errors <= 101
    assert peak < 100


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_large_text_is_read_within_memory_and_time(data):
    accepted, errors, peak = run(data)
    assert (accepted, errors) == (True, 0)
    assert peak < 100
