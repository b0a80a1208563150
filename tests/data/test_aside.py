"""Folders are checked before work starts."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from gan3d.data import Showers, check_folder, temporary_folder, write_showers, written_aside
from gan3d.data.aside import format_bytes, remove_leftovers
from gan3d.data.new_file import held_signals
from gan3d.errors import DataError


def test_a_folder_is_checked_without_being_made(tmp_path):
    check_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is not a folder"):
        check_folder(tmp_path / "file" / "b")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(DataError, match="cannot be written to"):
        check_folder(tmp_path / "a")


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 MB"), (3.214e6, "3.21 MB"), (999.6e6, "1 GB"), (12.3e9, "12.3 GB")]
)
def test_sizes_are_in_mb_below_1_gb(count, said):
    assert format_bytes(count) == said


def test_only_what_nobody_writes_any_more_is_removed(tmp_path):
    path = tmp_path / "a.h5"
    for name in (".a.h5.abcd1234", ".axh5.abcd1234", ".b.h5.abcd1234", ".a.h5.note"):
        (tmp_path / name).touch()
    with written_aside(path) as aside:
        assert remove_leftovers([path]) == 1
        assert aside.exists()
        aside.write_text("whole")
    assert path.read_text() == "whole"
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        ".a.h5.note", ".axh5.abcd1234", ".b.h5.abcd1234", "a.h5",
    ]  # fmt: skip


def test_a_temporary_folder_takes_those_of_killed_processes_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder("gan3d-a-") as living:
        (living / "file").touch()
        for name in ("gan3d-a-killed", "gan3d-b-killed"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").touch()
        with temporary_folder("gan3d-a-") as other:
            assert {each.name for each in tmp_path.iterdir()} == {
                living.name, other.name, "gan3d-b-killed",
            }  # fmt: skip
            assert (living / "file").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["gan3d-b-killed"]


def test_writing_a_file_removes_what_a_killed_writer_of_it_left(tmp_path, sample_showers):
    ecal, target = sample_showers
    (tmp_path / ".a.h5.abcd1234").touch()
    showers = Showers(ecal[:1], target[:1, 1])
    write_showers(tmp_path / "a.h5", [showers], attributes={})
    assert [each.name for each in tmp_path.iterdir()] == ["a.h5"]


def test_a_hidden_file_that_is_removed_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    make, made = tempfile.mkstemp, []

    def meets_another(**settings):
        handle, name = make(**settings)
        made.append(name)
        if len(made) == 1:
            assert remove_leftovers([tmp_path / "a"]) == 1
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", meets_another)
    with written_aside(tmp_path / "a") as aside:
        aside.write_text("whole")
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_folders_of_others_and_links_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "precious").mkdir()
    (tmp_path / "gan3d-a-link").symlink_to(tmp_path / "precious")
    with temporary_folder("gan3d-a-"):
        pass
    assert sorted(each.name for each in tmp_path.iterdir()) == ["gan3d-a-link", "precious"]
    (tmp_path / "gan3d-a-link").unlink()
    (tmp_path / "gan3d-a-other").mkdir()
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    with temporary_folder("gan3d-a-"):
        pass
    assert sorted(each.name for each in tmp_path.iterdir()) == ["gan3d-a-other", "precious"]


def test_a_folder_that_another_command_removes_meanwhile_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "glob", lambda *_: [tmp_path / "gan3d-a-gone"])
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    with temporary_folder("gan3d-a-") as folder:
        assert folder.parent == tmp_path


class Interrupted(KeyboardInterrupt):
    pass


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def interrupt(request):
    """Send the signal, whose handler raises `Interrupted`."""

    def raise_(*_):
        raise Interrupted

    before = signal.signal(request.param, raise_)
    yield lambda: os.kill(os.getpid(), request.param)
    signal.signal(request.param, before)


def test_a_signal_while_the_hidden_file_is_made_leaves_nothing(tmp_path, monkeypatch, interrupt):
    make = tempfile.mkstemp

    def interrupted(**options):
        made = make(**options)
        interrupt()
        return made

    monkeypatch.setattr("tempfile.mkstemp", interrupted)
    with pytest.raises(Interrupted), written_aside(tmp_path / "a.h5"):
        pytest.fail("goes on")
    assert not list(tmp_path.iterdir())


def test_a_second_signal_while_the_hidden_file_is_removed_leaves_nothing(
    tmp_path, monkeypatch, interrupt
):
    unlink = Path.unlink

    def interrupted(path, **options):
        interrupt()
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(Interrupted), written_aside(tmp_path / "a.h5"):
        interrupt()
    assert not list(tmp_path.iterdir())


def test_signals_that_are_held_come_afterwards_and_handlers_stay(interrupt):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    done = []
    with pytest.raises(Interrupted):  # noqa: PT012
        with held_signals():
            interrupt()
            done.append("the rest")
        done.append("what follows")
    assert done == ["the rest"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_handlers_stay_when_a_signal_comes_before_all_can_be_held(monkeypatch, interrupt):
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    install, calls = signal.signal, []

    def interrupted(number, handler):
        calls.append(number)
        if len(calls) == 2:
            interrupt()
        return install(number, handler)

    monkeypatch.setattr("signal.signal", interrupted)
    with pytest.raises(Interrupted), held_signals():
        pass
    assert [signal.getsignal(number) for number in numbers] == before
