import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.deployment.outcome import PAYLOAD_LIMIT, Outcome, failure, success
from agent.errors import AgentError, AppSpecError, DiagnosticCode, Problem, ScriptError

ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=300),
    st.builds(
        lambda piece, times: piece * times,
        st.text(st.characters(exclude_categories=()), max_size=9),
        st.integers(0, 9000),
    ),
)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
@example("s" * 9000, "\x00" * 9000, "\x01\n" * 9000)
@example("", "", "\n" * 9000)
@example("\U0001f600" * 9000, "\ud800" * 9000, "\udcff" * 9000)
@example("", "", "x" * PAYLOAD_LIMIT)
def test_a_payload_is_valid_json_within_the_limit_whatever_was_written(script_name, message, log):
    payload = Outcome(DiagnosticCode.SCRIPT_FAILED, script_name, message, log).payload()
    assert len(payload) <= PAYLOAD_LIMIT
    assert list(json.loads(payload.encode().decode())) == ["error_code", "script_name", "message", "log"]


@given(st.text(st.sampled_from("ab\n"), max_size=30_000), st.text(st.sampled_from("m\x00"), max_size=2000))
def test_the_log_keeps_its_end_and_begins_with_a_whole_line_where_it_can(log, message):
    kept = json.loads(Outcome(DiagnosticCode.SCRIPT_FAILED, "s", message, log).payload())["log"]
    assert log.endswith(kept)
    before = log[: len(log) - len(kept)]
    assert before == "" or before.endswith("\n") or "\n" not in kept[:-1]


def test_a_log_that_is_too_long_fills_what_there_is_room_for():
    payload = Outcome(DiagnosticCode.SCRIPT_FAILED, "s", "m", "line\n" * 9000).payload()
    assert PAYLOAD_LIMIT - 10 < len(payload) <= PAYLOAD_LIMIT


def test_what_fits_is_sent_unchanged_in_the_official_form():
    log = "LifecycleEvent - BeforeInstall\nScript - scripts/h.sh\n[stdout]out1\n[stderr]ümlaut \x1b[0m"
    outcome = Outcome(DiagnosticCode.SCRIPT_FAILED, "scripts/h.sh", "It failed.", log)
    assert json.loads(outcome.payload()) == {
        "error_code": 4,
        "script_name": "scripts/h.sh",
        "message": "It failed.",
        "log": log,
    }
    assert "ümlaut" in outcome.payload()


def test_a_success_is_to_the_letter_what_programs_read():
    assert success().payload() == '{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}'
    assert success("BundleSource=downloaded").message == "Succeeded: BundleSource=downloaded"
    assert (success().status, success().succeeded) == ("Succeeded", True)


def test_a_failed_script_gives_its_code_name_and_log():
    error = ScriptError("It exited with 3.", code=DiagnosticCode.SCRIPT_FAILED, script_name="a.sh", log="[stdout]x\n")
    outcome = failure(error)
    assert (outcome.error_code, outcome.script_name, outcome.log) == (4, "a.sh", "[stdout]x\n")
    assert (outcome.status, outcome.succeeded) == ("Failed", False)


@pytest.mark.parametrize(
    "error",
    [AgentError("It broke.", remedy="Fix it."), AppSpecError([Problem("appspec.yml", 3, 1, "It broke.", "Fix it.")])],
)
def test_any_other_failure_is_code_5_and_says_what_to_do(error):
    outcome = failure(error)
    assert (outcome.error_code, outcome.script_name) == (5, "")
    assert "It broke. Fix it." in outcome.message
