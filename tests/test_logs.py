import json
import logging
import os
import re
import subprocess
import sys

import pytest

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


IDS = {"deployment": "d-ABC", "group": "g-1", "event": "AfterInstall", "command": "hc/1"}


def in_a_process(code, *arguments, **options):
    """Run code in a fresh process: what is bound for a process cannot be unbound."""
    start = "import sys, logging\nbefore = set(sys.modules)\nfrom agent import logs\n"
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
    assert one.endswith(": one deployment=d-ABC group=g-1 event=AfterInstall command=hc/1")
    assert two.endswith(": two deployment=d-ABC group=g-1 event=AfterInstall command=hc/1")


def test_json_lines_carry_the_ids_as_keys_and_keep_their_own(tmp_path):
    code = """
logs.set_up(sys.argv[1], program_name="x", daily=True, log_format="json")
logs.bind(deployment="d-ABC", group="")
with logs.bound(event="Install", message="forged", deployment="d-OTHER"):
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
logs.set_up(sys.argv[1], program_name="x")
with structlog.contextvars.bound_contextvars(deployment="d-ABC"):
    logging.getLogger("agent.a").info("inside")
"""
    in_a_process(code, tmp_path / "agent.log")
    assert (tmp_path / "agent.log").read_text().endswith(": inside deployment=d-ABC\n")


def test_a_process_that_binds_nothing_does_not_load_structlog(tmp_path):
    code = """
logs.set_up(sys.argv[1], program_name="x", daily=True)
logging.getLogger("agent.a").info("sent", extra=logs.ids(command="hc 1", event=""))
print([name for name in ("structlog", "asyncio", "subprocess", "dataclasses") if name in {*sys.modules} - before])
"""
    assert in_a_process(code, tmp_path / "agent.log").stdout == "[]\n"
    assert (tmp_path / "agent.log").read_text().endswith(': sent command="hc 1"\n')


def test_binding_does_not_load_what_only_a_terminal_needs(tmp_path):
    code = "logs.bind(command='x')\nprint([name for name in sys.modules if name.split('.')[0] == 'rich'])"
    assert in_a_process(code).stdout == "[]\n"


def test_an_id_cannot_break_a_line_apart(log_file):
    logs.set_up(str(log_file), program_name="x")
    logging.getLogger("agent").info("text", extra=logs.ids(command='a\nb="c" d'))
    (line,) = log_file.read_text().splitlines()
    assert line.endswith(r'text command="a\nb=\"c\" d"')


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_in_a_line_moves_the_cursor_of_whoever_reads_it(log_file, log_format):
    logs.set_up(str(log_file), program_name="x", log_format=log_format)
    user = "root\x1b[2J\x9b1A\x08\u202etoor"
    logging.getLogger("agent").info("as user %s", user, extra=logs.ids(command="\x1b]0;x\x07"))
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
