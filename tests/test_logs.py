import json
import logging
import os
import re

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
