"""Folders are checked before work starts."""

import pytest

from gan3d.data import Showers, check_folder, temporary_folder, write_showers, written_aside
from gan3d.data.aside import format_bytes, remove_leftovers
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
