"""The tail that an operator reads in the console after a failure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.hooks.diagnostics import LIMIT, DiagnosticsTail
from agent.hooks.output import LONGEST_PIECE


def test_everything_is_kept_as_long_as_it_fits():
    tail = DiagnosticsTail()
    tail.header("LifecycleEvent - BeforeInstall")
    tail.header("Script - scripts/h.sh")
    for stream, data in [("stdout", b"out1\n"), ("stderr", b"err1\n"), ("stdout", b"nonl")]:
        tail.output(stream, data)
    assert tail.text() == (
        "LifecycleEvent - BeforeInstall\nScript - scripts/h.sh\n[stdout]out1\n[stderr]err1\n[stdout]nonl"
    )


def test_of_many_lines_the_last_ones_are_kept_whole():
    tail = DiagnosticsTail()
    for number in range(500):
        tail.output("stdout", b"line %d\n" % number)
    lines = tail.text().splitlines()
    assert lines == [f"[stdout]line {number}" for number in range(500 - len(lines), 500)]
    assert LIMIT - len("[stdout]line 400\n") < len(tail.text()) <= LIMIT


def test_a_last_line_that_is_too_long_leaves_its_end():
    tail = DiagnosticsTail()
    tail.output("stdout", b"before\n")
    tail.output("stderr", b"x" * 5000 + b" the reason\n")
    assert tail.text().startswith("[stderr]...xxx")
    assert tail.text().endswith("xxx the reason\n")
    assert len(tail.text()) == LIMIT


def test_a_line_that_is_too_long_leaves_its_end_before_later_lines():
    tail = DiagnosticsTail()
    tail.output("stdout", b"x" * 5000 + b" end\n")
    tail.output("stdout", b"failed\n")
    assert tail.text().endswith("xxx end\n[stdout]failed\n")
    assert len(tail.text()) == LIMIT


def test_a_line_in_pieces_is_one_line():
    tail = DiagnosticsTail()
    tail.output("stdout", b"x" * LONGEST_PIECE)
    tail.output("stderr", b"between\n")
    tail.output("stdout", b"abc")
    tail.output("stdout", b"def\n")
    assert tail.text().count("[stdout]") == 1
    assert tail.text().endswith("xxxabcdef\n")


def test_the_next_script_does_not_continue_a_line_of_the_last():
    tail = DiagnosticsTail()
    tail.output("stdout", b"nonl")
    tail.header("Script - b.sh")
    tail.output("stdout", b"first\n")
    assert tail.text() == "[stdout]nonlScript - b.sh\n[stdout]first\n"


PIECES = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=40), st.sampled_from([0, 0, 0, 30, 3000]))
)


@given(PIECES)
def test_whatever_is_written_the_tail_is_text_within_its_limit_and_ends_like_the_output(pieces):
    tail = DiagnosticsTail()
    last = b""
    for stream, data, padding in pieces:
        last = data.replace(b"\n", b"") + b"\xe2" * padding + b"\n"
        tail.output(stream, last)
    text = tail.text()
    assert len(text.encode("utf-8")) <= LIMIT
    assert text.endswith(last.decode("utf-8", "replace")[-600:])
