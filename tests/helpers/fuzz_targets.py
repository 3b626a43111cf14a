"""What is fuzzed: for each target the inputs to begin with, the words of its format, and what must always hold.

A check takes any bytes and lets the agent's own code read them. It fails where that code raises another error than
those that it documents, does too much work, or changes anything outside its directory.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.appspec.parse import FORMAT
from agent.appspec.parse import check as check_appspec
from agent.bundle.unpack import UnpackOptions, unpack
from agent.deployment.document import parse_specification
from agent.errors import BundleError, SpecificationError
from agent.install.cleanup import plan_cleanup
from agent.install.cleanup_list import CleanupFile, digest, other_lists
from agent.install.host import HostFiles
from agent.network.http import HttpClient, NetworkError
from agent.sandbox.envelopes import EnvelopeSigner
from agent.trust.envelope import SignerPolicy, TrustError, open_envelope
from bundle_archives import BLOCK, Zip, directory, entry, hard_link, pax, symlink, tar, with_checksum
from bundle_box import tree
from envelope_forge import DOCUMENT, NOW, armour, ec_key, party, signed
from work import work_of

STEPS, STEPS_A_BYTE = 200_000, 3000
"""The most work for one input: at all, and for each of its bytes."""

MOST_WRITTEN = 1 << 20
CUT = b"\n--8<--\n"
"""Between the files of an input that stands for several."""


class Target(NamedTuple):
    """One thing to fuzz; ``check`` is called with an empty directory of its own for all inputs."""

    name: str
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes]
    check: Callable[[Path, bytes], None]


def _limit(data: bytes) -> int:
    return STEPS + STEPS_A_BYTE * len(data)


# -- the signed envelope, and the specification in it


def _envelopes() -> list[bytes]:
    signer = party()
    messages = [
        signed(signer),
        signed(signer, by_key_identifier=True),
        signed(signer, pss=True),
        signed(signer, bare=True),
        signed(party(key=ec_key())),
    ]
    return [
        EnvelopeSigner.make().seal(DOCUMENT).encode(),
        *[armour(message).encode() for message in messages],
        *messages,
    ]


def _check_envelope(_: Path, data: bytes) -> None:
    opened: list[bytes] = []
    policies = [SignerPolicy(), SignerPolicy(fingerprints=(party().fingerprint,))]

    def use() -> None:
        # Bytes that are not PEM stand for what is within it, where most of what can go wrong is.
        text = data.decode("latin-1") if data.lstrip().startswith(b"-----") else armour(data)
        for policy in policies:
            with contextlib.suppress(TrustError):
                opened.append(open_envelope("PKCS7/JSON", text, policy=policy, now=NOW))

    work_of(use, most=_limit(data))
    assert set(opened) <= {DOCUMENT}, "a message was opened that nobody has signed"


_SPECIFICATION = {
    "DeploymentId": "arn:aws:codedeploy:eu-central-1:123456789012:deployment/d-ABCDEFGHI",
    "DeploymentGroupId": "0f1e2d3c-0000-4000-8000-000000000000",
    "DeploymentGroupName": "web",
    "ApplicationName": "site",
    "DeploymentCreator": "user",
    "AgentActionOverrides": {"AgentOverrides": {"FileExistsBehavior": "OVERWRITE"}},
    "AllPossibleLifecycleEvents": ["Install", "ValidateService"],
}
_REVISIONS = [
    {"RevisionType": "S3", "S3Revision": {"Bucket": "b", "Key": "k.zip", "BundleType": "zip", "ETag": "e"}},
    {
        "RevisionType": "GitHub",
        "GitHubRevision": {"Account": "a", "Repository": "r", "CommitId": "c" * 40, "BundleType": "tar"},
    },
    {"RevisionType": "Local File", "LocalRevision": {"Location": "/srv/a.tgz", "BundleType": "tgz"}},
]


def _specifications() -> list[bytes]:
    return [json.dumps({**_SPECIFICATION, "Revision": revision}).encode() for revision in _REVISIONS]


def _check_specification(_: Path, data: bytes) -> None:
    def use() -> None:
        found = parse_specification(data)
        for name in (found.deployment_id, found.deployment_group_id):
            assert name not in ("", ".", "..")
            assert "/" not in name
            assert "\0" not in name

    work_of(use, most=_limit(data), refuses=SpecificationError)


# -- archives


def _tars() -> list[bytes]:
    version = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")]
    plain = tar(
        directory(b"./"),
        entry(b"appspec.yml", b"version: 0.0\n"),
        entry(b"d/f", b"x" * 700),
        symlink(b"d/l", b"f"),
        hard_link(b"d/h", b"d/f"),
        pax([(b"path", b"long/" * 40 + b"n"), (b"mtime", b"5.5"), (b"size", b"3")]) + entry(b"x", b"abc"),
        entry(b"L", b"gnu/" * 30 + b"\0", kind=b"L") + entry(b"x", b"y"),
    )
    holes = tar(
        pax([(b"comment", b"c")], kind=b"g"),
        pax([(b"GNU.sparse.map", b"0,2,5,2"), (b"GNU.sparse.size", b"7")]) + entry(b"t", b"abcd"),
        pax(version) + entry(b"u", b"2\n1\n2\n5\n1\n".ljust(512, b"\0") + b"abc"),
        entry(
            b"s", b"ab", kind=b"S", sparse=b"%011o\0%011o\0" % (2, 2) + bytes(73) + b"%011o\0" % 9, magic=b"ustar  \0"
        ),
    )
    return [plain, holes, gzip.compress(plain, 1), gzip.compress(holes, 1)]


def _zips() -> list[bytes]:
    small = (
        Zip()
        .add(b"appspec.yml", b"version: 0.0\n")
        .add(b"d/", mode=0o40755)
        .add(b"d/f", b"x" * 700, extra=struct.pack("<HHBi", 0x5455, 5, 1, 5))
        .add(b"d/l", b"f", mode=0o120777, method=0)
    )
    return [small.data(), Zip().add(b"stored", b"y" * 300, method=0).data(comment=b"a comment"), Zip().data()]


def _check_archive(directory: Path, data: bytes, kinds: Sequence[str]) -> None:
    outside, inside, archive = directory / "outside", directory / "inside", directory / "archive"
    for made in (outside, inside):
        made.mkdir(exist_ok=True)
    (outside / "precious").write_text("untouched")
    before = tree(outside)
    archive.write_bytes(data)
    target = inside / "revision"
    options = UnpackOptions(max_size=MOST_WRITTEN, ignore_ownership=True)
    for kind in kinds:
        old = sorted(os.listdir(inside))
        unpacked: list[bool] = []

        def use(kind: str = kind, unpacked: list[bool] = unpacked) -> None:
            unpack(str(archive), kind, str(target), options=options)
            unpacked.append(True)

        work_of(use, most=_limit(data), refuses=BundleError)
        assert tree(outside) == before, "something outside the directory was changed"
        assert sorted(os.listdir(inside)) == (["revision"] if unpacked else old), "something was left behind"
        assert sorted(os.listdir(directory)) == ["archive", "inside", "outside"]
        if unpacked:
            written = sum(len(what[-1]) for what in tree(target).values() if isinstance(what[-1], bytes))
            assert written <= MOST_WRITTEN


def _check_tar(directory: Path, data: bytes) -> None:
    _check_archive(directory, data, ("tar", "tgz"))
    right = _with_right_checksums(data)
    if right != data:
        _check_archive(directory, right, ("tar",))


def _with_right_checksums(data: bytes) -> bytes:
    """A header that was changed is mostly refused for its checksum, and nothing behind it is tried."""
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    return b"".join(
        with_checksum(block) if len(block) == BLOCK and block[257:262] == b"ustar" else block for block in blocks
    )


# -- the AppSpec

_APPSPEC = b"""\
version: 0.0
os: linux
files:
  - source: /app
    destination: /srv/app
  - {source: "b c", destination: '/srv/b'}
file_exists_behavior: OVERWRITE
permissions: &p
  - object: /srv/app
    pattern: "*.sh"
    except: [x]
    owner: root
    group: root
    mode: 0755
    acls: ["u:deploy:rw", d:g::r-x]
    context: {user: u, type: t, range: "s0-s0:c0.c5"}
    type: [file, directory]
hooks:
  AfterInstall:
    - location: scripts/a.sh
      timeout: 300
      runas: deploy
  ApplicationStart: []
more: *p
"""


def _appspecs() -> list[bytes]:
    merged = b"a: &a {x: 1}\nb:\n  <<: *a\n? [k]\n: |\n  text\n  more\n--- \n..."
    return [_APPSPEC, b"version: 0.0\nos: linux\n" + merged, _APPSPEC.decode().encode("utf-16")]


def _check_appspec(_: Path, data: bytes) -> None:
    def use() -> None:
        appspec, problems = check_appspec(data, filename="appspec.yml")
        errors = [problem for problem in problems if problem.severity == "error"]
        assert bool(errors) == (appspec is None)
        assert len(problems) <= 1000
        assert all(str(problem).isprintable() and len(str(problem)) < 2000 for problem in problems)
        assert appspec is None or len(appspec.permissions) + len(appspec.files) < FORMAT.max_nodes

    work_of(use, most=_limit(data))


# -- the head of an answer


def _answers() -> list[bytes]:
    return [
        b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n\r\nhello',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 307 Moved\r\nLocation: /x\r\nA: 1\r\n 2\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\n\r\nnothing to see",
    ]


_LONGEST_BODY = 10_000


def _check_answer(_: Path, data: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=_answer_once, args=(listening, data))
        server.start()
        client = HttpClient()
        try:
            work_of(lambda: _ask(client, listening.getsockname()[1]), most=_limit(data), refuses=NetworkError)
        finally:
            client.close()
            listening.shutdown(socket.SHUT_RDWR)  # the server may wait for another connection
            server.join()


def _ask(client: HttpClient, port: int) -> None:
    response = client.request("GET", f"http://127.0.0.1:{port}/", read_timeout=60)
    with response:
        assert 200 <= response.status <= 999
        assert all(name.isascii() and "\n" not in name + value for name, value in response.headers.items())
        assert len(response.read(_LONGEST_BODY)) <= _LONGEST_BODY


def _answer_once(listening: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(data)


# -- the clean-up list


def _lists() -> list[bytes]:
    names = ["/top/app", "/top/app/f", "/top/odd name", "semanage\0/top/app"]
    listed = "".join(f"{name}\n" for name in names).encode()
    instructions = [{"type": "copy", "source": "/s", "destination": name} for name in names[1:3]]
    instructions += [{"type": "mkdir", "directory": names[0]}, {"type": "semanage", "file": "/top/app"}]
    told = json.dumps({"instructions": instructions}).encode()
    extra = {"lists": {"DIGEST": {"odd": ["/top/a\n"], "directories": {"/top/app": [1, 2, 16384, 3]}}}}
    return [
        CUT.join([listed, told, b""]),
        CUT.join([listed, told, json.dumps(extra).encode()]),
        CUT.join([b"", b"", b""]),
    ]


def _check_list(directory: Path, data: bytes) -> None:
    listed, told, extra = [*data.split(CUT, 2), b"", b""][:3]
    top = directory / "top"
    instructions = directory / "instructions"
    for made in (top / "app", instructions, directory / "extra"):
        made.mkdir(parents=True, exist_ok=True)
    (top / "app" / "f").touch()
    file = CleanupFile(str(instructions / "g-cleanup"), str(directory / "extra" / "g.json"))
    place = os.fsencode(top)
    written = listed.replace(b"/top", place)
    Path(file.path).write_bytes(written)
    Path(file.instructions).write_bytes(told.replace(b"/top", place))
    # What is in the agent's own directory only the agent writes, but a power cut may tear it.
    Path(file.extra).write_bytes(extra.replace(b"/top", place).replace(b"DIGEST", digest(written).encode()))
    before = tree(directory)

    def use() -> None:
        paths = file.paths()
        assert all(path.removeprefix("semanage\0").startswith("/") for path in paths)
        assert not any("/../" in f"{path}/" or "\0" in path.removeprefix("semanage\0") for path in paths)
        identities = [one for one in file.directories().values() if one is not None]
        assert all(isinstance(number, int) for one in identities for number in one)
        found = plan_cleanup(paths, HostFiles())
        assert len(found.files) + len(found.directories) + len(found.rules) <= len(paths)
        other_lists(str(instructions), but="h")

    work_of(use, most=_limit(data))
    assert tree(directory) == before, "reading a list changed something"


TARGETS = (
    Target(
        "envelope",
        _envelopes,
        (
            b"\x30\x80",
            b"\x24\x80",
            b"\x00\x00",
            b"\x84\xff\xff\xff\xff",
            b"\x1f\xff",
            b"\x06\x09",
            b"\x31",
            b"\xa0\x80",
            b"-----BEGIN PKCS7-----",
            b"\n",
        ),
        _check_envelope,
    ),
    Target(
        "specification",
        _specifications,
        (b'"', b"{", b"}", b"[", b"null", b"\\u0000", b"\\ud800", b"../", b"/", b"1e999", b"true", b'"DeploymentId":'),
        _check_specification,
    ),
    Target(
        "tar",
        _tars,
        (
            b"../",
            b"/",
            b"\0",
            b"ustar\0" + b"00",
            b"7777777",
            b"\xff" * 8,
            b"GNU.sparse.map=",
            b"19 size=99\n",
            b"0,1,",
            b"\x1f\x8b\x08\0",
            bytes(512),
        ),
        _check_tar,
    ),
    Target(
        "zip",
        _zips,
        (
            b"PK\1\2",
            b"PK\3\4",
            b"PK\5\6",
            b"PK\6\6",
            b"PK\6\7",
            b"\xff" * 4,
            b"\xff\xff",
            b"../",
            b"\1\0\x08\0",
            bytes(4),
        ),
        lambda directory, data: _check_archive(directory, data, ("zip",)),
    ),
    Target(
        "YAML",
        _appspecs,
        (
            b"&a ",
            b"*a",
            b"<<: ",
            b"- ",
            b": ",
            b"? ",
            b"|\n",
            b"'",
            b'"',
            b"{",
            b"[",
            b"\t",
            b"!!x ",
            b"---\n",
            b"...\n",
            b"%YAML 1.2\n",
            b"\xff\xfe",
            b"\xe2\x80\xa8",
            b"0x1F",
            b"~",
        ),
        _check_appspec,
    ),
    Target(
        "HTTP head",
        _answers,
        (
            b"\r\n",
            b"\n",
            b" ",
            b"\t",
            b":",
            b"\0",
            b"HTTP/1.1 ",
            b"HTTP/2 ",
            b"100 ",
            b"204 ",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"ffffffffffffffff\r\n",
            b"-1",
            b"0\r\n",
            b"Connection: close\r\n",
        ),
        _check_answer,
    ),
    Target(
        "clean-up list",
        _lists,
        (
            CUT,
            b"/top",
            b"/top/app/../..",
            b"\n",
            b"\0",
            b" ",
            b"semanage\0",
            b"..",
            b'"destination":',
            b'"directory":',
            b'{"lists": {',
            b'"odd": ',
            b'"directories": ',
            b"null",
            b"[",
            b"{",
            b"1e9",
            b"\\ud800",
            b"\xff",
        ),
        _check_list,
    ),
)
"""All that is fuzzed, in this order."""
