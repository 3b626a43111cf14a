import json
import logging
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
import structlog

from agent import logs


@pytest.fixture
def log_file(tmp_path):
    yield tmp_path / "agent.log"
    logs.set_up(None, program_name="x", verbose=False)


def write(log_file, **options):
    logs.set_up(str(log_file), **{"program_name": "codedeploy-agent", "verbose": False, **options})
    logger = logging.getLogger("agent.some.room")
    logger.debug("in detail")
    logger.info("one %s", "two")
    logger.warning("broken\nline \udcff")
    return log_file.read_bytes().decode()


def test_lines_have_the_official_form(log_file):
    lines = write(log_file).splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{stamp} INFO  \[codedeploy-agent\({os.getpid()}\)\]: one two", lines[0])
    assert re.fullmatch(rf"{stamp} WARN  \[codedeploy-agent\(\d+\)\]: broken line \\udcff", lines[1])
    assert len(lines) == 2


def test_verbose_logs_details_too(log_file):
    assert "DEBUG [codedeploy-agent(" in write(log_file, verbose=True)


def test_json_lines_can_be_parsed_each(log_file):
    first, second = (json.loads(line) for line in write(log_file, log_format="json").splitlines())
    assert (first["level"], first["message"], first["logger"]) == ("info", "one two", "agent.some.room")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert second["message"] == "broken\nline \udcff"


@pytest.mark.parametrize(("restricted", "mode"), [(False, 0o644), (True, 0o640)])
def test_who_may_read_the_log_does_not_depend_on_the_umask(log_file, restricted, mode):
    before = os.umask(0)
    try:
        write(log_file, restricted=restricted)
    finally:
        os.umask(before)
    assert os.stat(log_file).st_mode & 0o777 == mode


def test_a_log_that_cannot_be_written_fails_nothing(log_file):
    log_file.mkdir()
    logs.set_up(str(log_file), program_name="x", verbose=True)
    logging.getLogger("agent").error("nobody hears this")
    assert os.listdir(log_file) == []


def test_a_traceback_stays_on_the_line_of_its_record(log_file):
    logs.set_up(str(log_file), program_name="x", verbose=False)
    try:
        raise ValueError("deep inside")
    except ValueError:
        logging.getLogger("agent").exception("failed")
    (line,) = log_file.read_text().splitlines()
    assert line.endswith("ValueError: deep inside")


IDS = {"deployment": "d-ABC", "group": "g-1", "lifecycle_event": "AfterInstall", "command": "hc/1"}


def in_a_process(code, *arguments, **options):
    """Run code in a fresh process: what is bound for a process cannot be unbound."""
    start = "import sys, logging\nfrom agent import logs\n"
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, **options)


def test_every_line_of_a_command_names_it_in_threads_too(tmp_path):
    code = f"""
import threading
logs.set_up(sys.argv[1], program_name="x", daily=True)
log = logging.getLogger("agent.a")
log.info("before")
logs.bind(**{IDS})
log.info("one")
thread = threading.Thread(target=log.info, args=("two",))
thread.start()
thread.join()
"""
    in_a_process(code, tmp_path / "agent.log")
    before, one, two = (tmp_path / "agent.log").read_text().splitlines()
    assert before.endswith(": before")
    assert one.endswith(": one event=AfterInstall command=hc/1 deployment=d-ABC group=g-1")
    assert two.endswith(": two event=AfterInstall command=hc/1 deployment=d-ABC group=g-1")


def test_json_lines_carry_the_ids_as_keys_and_keep_their_own(tmp_path):
    code = """
import structlog
logs.set_up(sys.argv[1], program_name="x", daily=True, log_format="json")
logs.bind(deployment="d-ABC", group="")
ids = {"lifecycle_event": "Install", "message": "forged", "deployment": "d-OTHER"}
with structlog.contextvars.bound_contextvars(**ids):
    logging.getLogger("agent.a").info("inside")
logging.getLogger("agent.a").info("outside")
"""
    in_a_process(code, tmp_path / "agent.log")
    inside, outside = (json.loads(line) for line in (tmp_path / "agent.log").read_text().splitlines())
    assert (inside["deployment"], inside["event"], inside["message"]) == ("d-OTHER", "Install", "inside")
    assert (outside["deployment"], outside["message"]) == ("d-ABC", "outside")
    assert not {"event", "group"} & set(outside)


def test_what_structlog_itself_binds_is_logged_too(tmp_path):
    code = """
import structlog
logs.set_up(sys.argv[1], program_name="x", daily=True)
with structlog.contextvars.bound_contextvars(deployment="d-ABC"):
    logging.getLogger("agent.a").info("inside")
"""
    in_a_process(code, tmp_path / "agent.log")
    assert (tmp_path / "agent.log").read_text().endswith(": inside deployment=d-ABC\n")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_is_the_same_whichever_kind_of_logger_and_log_it_comes_from(log_file, log_format):
    for make, daily in ((logging.getLogger, True), (structlog.stdlib.get_logger, True), (logging.getLogger, False)):
        logs.set_up(str(log_file), program_name="x", daily=daily, log_format=log_format)
        logger = make("agent.a")
        logger.warning("%d of %s\nfiles", 2, "three")
        logger.debug("not in the log")
        try:
            raise ValueError("deep inside")
        except ValueError:
            logger.exception("failed")
        logger.error("no %d", "number")
        logger.error("found %s", Unspeakable())
        logger.error(Unspeakable())
    lines = [re.sub(r"[\d:.T-]{19,}Z?|line \d+", "", line) for line in log_file.read_text().splitlines()]
    assert len(lines) == 15
    assert lines[:5] == lines[5:10] == lines[10:]
    assert "2 of three" in lines[0]
    assert "ValueError: deep inside" in lines[1]


def test_an_id_bound_to_a_logger_is_on_its_lines_alone(log_file):
    logs.set_up(str(log_file), program_name="x", daily=True)
    log = structlog.stdlib.get_logger("agent.a")
    log.bind(lifecycle_event="Install", command="hc 1", deployment="").info("sent %s", "twice")
    log.info("idle")
    sent, idle = log_file.read_text().splitlines()
    assert sent.endswith(': sent twice event=Install command="hc 1"')
    assert idle.endswith(": idle")


class Unspeakable:
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("make", [logging.getLogger, structlog.stdlib.get_logger])
def test_a_value_that_cannot_be_shown_fails_nothing(log_file, log_format, make):
    logs.set_up(str(log_file), program_name="x", daily=True, log_format=log_format)
    make("agent.a").error("found %s", Unspeakable())
    make("agent.a").error(Unspeakable())
    structlog.stdlib.get_logger("agent.a").bind(command=Unspeakable()).error("about a command")
    with structlog.contextvars.bound_contextvars(command=Unspeakable()):
        make("agent.a").error("in a context")
    lines = log_file.read_text().splitlines()
    assert ["RuntimeError" in line for line in lines] == [True] * 4
    assert "found %s" in lines[0]
    assert "about a command" in lines[2]


def test_an_id_cannot_break_a_line_apart(log_file):
    logs.set_up(str(log_file), program_name="x", daily=True)
    structlog.stdlib.get_logger("agent").info("text", command='a\nb="c" d')
    (line,) = log_file.read_text().splitlines()
    assert line.endswith(r'text command="a\nb=\"c\" d"')


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_in_a_line_moves_the_cursor_of_whoever_reads_it(log_file, log_format):
    logs.set_up(str(log_file), program_name="x", daily=True, log_format=log_format)
    user = "root\x1b[2J\x9b1A\x08\u202etoor"
    structlog.stdlib.get_logger("agent").info("as user %s", user, command="\x1b]0;x\x07")
    (line,) = log_file.read_text().splitlines()
    assert line.isprintable()
    assert r"[2J" in line


def test_what_a_library_warns_of_goes_to_the_log(log_file):
    code = """
import datetime
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from agent.trust import certificates
logs.set_up(sys.argv[1], program_name="x")
key, day = ec.generate_private_key(ec.SECP256R1()), datetime.datetime(2026, 1, 1)
builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([])).serial_number(5)
made = builder.not_valid_before(day).not_valid_after(day).public_key(key.public_key()).sign(key, hashes.SHA256())
encoded = made.public_bytes(serialization.Encoding.DER)
certificates.load(encoded.replace(b"\\2\\1\\5", b"\\2\\1\\0", 1))
"""
    done = in_a_process(code, log_file)
    assert (done.stdout, done.stderr) == ("", "")
    (line,) = log_file.read_text().splitlines()
    assert "WARN" in line
    assert "serial number" in line


def test_warnings_of_libraries_are_in_the_log_and_their_chatter_is_not(log_file):
    code = """
import agent.network.http, agent.network.signing
logs.set_up(sys.argv[1], program_name="x", verbose=True)
for name in ("botocore.auth", "watchdog.observers", "somebody.else"):
    logging.getLogger(name).debug("signed with token")
    logging.getLogger(name).info("found credentials")
    logging.getLogger(name).warning("odd %s\\nthing", "very")
logging.getLogger("urllib3.connectionpool").warning("https://host/?token=1")
logs.set_up(None, program_name="x")
logging.getLogger("somebody.else").error("nowhere")
"""
    done = in_a_process(code, log_file)
    assert (done.stdout, done.stderr) == ("", "")
    lines = log_file.read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["odd very thing"] * 3


def test_a_message_whose_arguments_do_not_fit_stops_nothing(log_file):
    logs.set_up(str(log_file), program_name="x")
    logging.getLogger("agent").info("%d files", "many")
    assert "%d files ('many',)" in log_file.read_text()


def test_the_log_is_opened_afresh_on_request(log_file):
    logs.set_up(str(log_file), program_name="x", daily=True)
    logging.getLogger("agent").info("one")
    before = open_files()
    logs.reopen()
    assert str(log_file) in before
    assert str(log_file) not in open_files()
    logging.getLogger("agent").info("two")
    assert log_file.read_text().count("\n") == 2


def open_files():
    return [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]


def test_a_full_disk_stops_nothing_and_the_gap_is_told(log_file, capsys):
    logs.set_up(str(log_file), program_name="x", daily=True)
    logger = logging.getLogger("agent")
    logger.info("kept")
    moved = log_file.with_name("moved")
    os.rename(log_file, moved)
    log_file.mkdir()
    logger.info("lost")
    logger.info("lost too")
    log_file.rmdir()
    logger.info("again")
    first, second = log_file.read_text().splitlines()
    assert " WARN " in first
    assert "2 lines before this one could not be written" in first
    assert second.endswith("again")
    assert capsys.readouterr().err.count(str(log_file)) == 1


@pytest.fixture
def journal(tmp_path):
    """A socket as systemd's journal has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
        taking.bind(str(tmp_path / "journal"))
        taking.setblocking(False)
        yield taking


def entries(journal):
    """Every entry that the journal got, field by field."""
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(dict(line.split("=", 1) for line in journal.recv(1 << 20).decode().splitlines()))
    return found


def test_the_journal_has_what_a_person_must_see_with_the_ids_as_fields(log_file, journal):
    logs.set_up(str(log_file), program_name="codedeploy-agent", journal=journal.getsockname(), daily=True)
    logger = logging.getLogger("agent.a")
    with structlog.contextvars.bound_contextvars(**IDS):
        logger.info("in the file only")
        logger.info("AfterInstall started", extra=logs.TO_JOURNAL)
        logger.error("AfterInstall failed\nPRIORITY=0")
    logging.getLogger("some.library").warning("of a library")
    started, failed, library = entries(journal)
    ids = {"DEPLOYMENT_ID": "d-ABC", "DEPLOYMENT_GROUP": "g-1", "LIFECYCLE_EVENT": "AfterInstall", "COMMAND": "hc/1"}
    assert ids.items() <= started.items()
    assert ids.items() <= failed.items()
    assert (started["MESSAGE"], started["PRIORITY"]) == ("AfterInstall started", "6")
    assert (failed["MESSAGE"], failed["PRIORITY"]) == ("AfterInstall failed PRIORITY=0", "3")
    assert (library["MESSAGE"], library["PRIORITY"]) == ("of a library", "4")
    assert started["SYSLOG_IDENTIFIER"] == "codedeploy-agent"
    assert len(log_file.read_text().splitlines()) == 4
    assert "to_journal" not in log_file.read_text()


def test_a_journal_that_hangs_or_is_gone_costs_no_line_of_the_file(log_file, journal):
    logs.set_up(str(log_file), program_name="x", journal=journal.getsockname())
    for number in range(5000):  # more than a socket holds
        logging.getLogger("agent.a").warning("%d", number)
    journal.close()
    logging.getLogger("agent.a").warning("x" * 500_000)
    assert len(log_file.read_text().splitlines()) == 5001


def test_a_second_set_up_sends_an_entry_once(log_file, journal):
    for _ in range(2):
        logs.set_up(str(log_file), program_name="x", journal=journal.getsockname())
    logging.getLogger("agent.a").warning("once")
    assert len(entries(journal)) == 1
    assert logs.reach_journal()
    logs.set_up(str(log_file), program_name="x")
    assert not logs.reach_journal()
