"""Folders are checked before work starts."""

import pytest

from gan3d.data import check_folder
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
