"""Cutting output into lines loses and adds nothing."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from agent.hooks.output import LONGEST_PIECE, LineSplitter, Sinks


def test_a_script_is_announced_on_one_line_that_moves_no_cursor():
    heard = []

    class Sink:
        def header(self, text):
            heard.append(text)

    Sinks([Sink()]).header("Script - scripts/a\x1b[2J\n[stdout]b.sh")
    assert heard == [r"Script - scripts/a\x1b[2J\n[stdout]b.sh"]


def split(chunks):
    splitter = LineSplitter()
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    return [*pieces, splitter.finish()]


def test_a_line_is_held_back_until_it_is_complete():
    splitter = LineSplitter()
    assert list(splitter.feed(b"one\ntw")) == [b"one\n"]
    assert list(splitter.feed(b"o")) == []
    assert list(splitter.feed(b"\n\nthree")) == [b"two\n", b"\n"]
    assert splitter.finish() == b"three"
    assert splitter.finish() == b""


def test_only_a_newline_ends_a_line():
    assert split([b"10%\r20%\r\x0b\x0c\x85\n"]) == [b"10%\r20%\r\x0b\x0c\x85\n", b""]


CHUNKS = st.lists(
    st.one_of(st.binary(max_size=30), st.sampled_from([b"\n", b"x" * LONGEST_PIECE, b"y" * (LONGEST_PIECE - 1)])),
    max_size=12,
)


@given(CHUNKS)
def test_every_byte_arrives_once_in_order_and_in_bounded_pieces(chunks):
    pieces = split(chunks)
    assert b"".join(pieces) == b"".join(chunks)
    for piece in pieces:
        assert len(piece) <= LONGEST_PIECE
        assert b"\n" not in piece[:-1]
    for piece in pieces[:-1]:
        assert piece.endswith(b"\n") or len(piece) == LONGEST_PIECE


class FileSink:
    def __init__(self, path):
        self.path = path

    def header(self, text):
        self.output("", text.encode() + b"\n")

    def output(self, stream, data):
        with open(self.path, "ab", buffering=0) as file:
            file.write(data)


def test_a_full_disk_costs_a_sink_what_is_written_then_and_the_others_nothing(tmp_path, caplog):
    other, sink = tmp_path / "other", tmp_path / "sink"
    sinks = Sinks([FileSink(sink), FileSink(other)])
    sinks.header("one")
    os.rename(sink, tmp_path / "kept")
    os.symlink("/dev/full", sink)
    sinks.output("stdout", b"two\n")
    sinks.header("three")
    os.rename(tmp_path / "kept", sink)
    sinks.output("stdout", b"four\n")
    assert other.read_text() == "one\ntwo\nthree\nfour\n"
    assert sink.read_text() == "one\nfour\n"
    assert [record.getMessage().count("FileSink") for record in caplog.records] == [1]
