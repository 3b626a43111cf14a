import os
import queue
import threading

import pytest

from agent.daemon.watch import FileWatch


@pytest.fixture
def watch():
    """Start a watch; gives a function that waits for the next call and gives its paths."""
    watches = []

    def start(*paths, **options):
        calls = queue.Queue()
        options = {"look_interval": 3600, "look_often_interval": 0.02, "quiet": 0.02, **options}
        watches.append(FileWatch([str(path) for path in paths], calls.put, **options))
        return calls.get

    yield start
    for each in watches:
        each.close()


def replace(path, text):
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.rename(temporary, path)


def test_a_file_that_is_written_in_place_is_noticed(tmp_path, watch):
    path = tmp_path / "agent.yml"
    path.write_text("a")
    wait = watch(path)
    path.write_text("ab")
    assert wait() == (str(path),)


def test_a_file_that_is_replaced_is_noticed_every_time(tmp_path, watch):
    path = tmp_path / "agent.yml"
    path.write_text("a")
    wait = watch(path)
    for text in ("b", "c", "d"):
        replace(path, text)
        assert wait() == (str(path),)


def test_a_file_that_comes_later_and_goes_away_is_noticed(tmp_path, watch):
    path = tmp_path / "agent.yml"
    wait = watch(path)
    path.write_text("a")
    assert wait() == (str(path),)
    path.unlink()
    assert wait() == (str(path),)


def test_a_file_that_comes_into_a_watched_directory_is_noticed(tmp_path, watch):
    directory = tmp_path / "agent.d"
    directory.mkdir()
    wait = watch(directory)
    (directory / "10-site.yml").write_text("a")
    assert wait() == (str(directory),)


def test_a_directory_that_comes_later_is_found(tmp_path, watch):
    path = tmp_path / "conf" / "agent.yml"
    wait = watch(path)
    path.parent.mkdir()
    path.write_text("a")
    assert wait() == (str(path),)
    replace(path, "b")
    assert wait() == (str(path),)


def test_a_directory_that_is_replaced_is_watched_again(tmp_path, watch):
    path = tmp_path / "conf" / "agent.yml"
    path.parent.mkdir()
    path.write_text("a")
    wait = watch(path)
    path.unlink()
    path.parent.rmdir()
    assert wait() == (str(path),)
    path.parent.mkdir()
    path.write_text("b")
    assert wait() == (str(path),)


def test_a_link_that_is_switched_in_the_directory_is_noticed(tmp_path, watch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "agent.yml").write_text(name)
    os.symlink("one", tmp_path / "data")
    os.symlink("data/agent.yml", tmp_path / "agent.yml")
    wait = watch(tmp_path / "agent.yml")
    os.symlink("two", tmp_path / "data.new")
    os.rename(tmp_path / "data.new", tmp_path / "data")
    assert wait() == (str(tmp_path / "agent.yml"),)


def test_what_inotify_cannot_see_is_found_by_looking(tmp_path, watch):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "credentials"
    target.write_text("a")
    (tmp_path / "here").mkdir()
    os.symlink(target, tmp_path / "here" / "credentials")
    wait = watch(tmp_path / "here" / "credentials", look_interval=0.02)
    target.write_text("ab")
    assert wait() == (str(tmp_path / "here" / "credentials"),)


def test_two_files_in_two_directories_are_told_apart_and_strangers_are_ignored(tmp_path, watch):
    first, second = tmp_path / "a" / "x", tmp_path / "b" / "y"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text("")
    wait = watch(first, second)
    (tmp_path / "a" / "stranger").write_text("")
    second.write_text("changed")
    assert wait() == (str(second),)


def test_a_callback_that_fails_does_not_end_the_watch(tmp_path):
    path = tmp_path / "agent.yml"
    calls = queue.Queue()

    def fail(paths):
        calls.put(paths)
        raise ValueError("a defect")

    watch = FileWatch([str(path)], fail, quiet=0.02)
    try:
        for text in ("a", "ab"):
            path.write_text(text)
            assert calls.get() == (str(path),)
    finally:
        watch.close()


def test_closing_leaves_no_thread_and_no_descriptor(tmp_path):
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    watch = FileWatch([str(tmp_path / "a" / "x"), str(tmp_path / "b" / "y")], print)
    watch.close()
    assert (set(os.listdir("/proc/self/fd")), threading.active_count()) == before
