import os
import threading

from agent.cli.output import Writer


def test_a_pipe_that_was_made_non_blocking_loses_nothing():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = b"x" * 1_000_000
    received = bytearray()

    def read():
        while len(received) < len(data):
            received.extend(os.read(reader, 65536))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    Writer(writer).data(data)
    thread.join()
    assert bytes(received) == data


def test_a_closed_reader_is_no_error_and_is_not_tried_again():
    reader, writer = os.pipe()
    os.close(reader)
    out = Writer(writer)
    out.line("lost")
    os.close(writer)
    out.line("lost too")


def test_bytes_that_are_not_utf8_come_out_as_they_were():
    reader, writer = os.pipe()
    Writer(writer).line(os.fsdecode(b"f\xff"))
    assert os.read(reader, 10) == b"f\xff\n"
