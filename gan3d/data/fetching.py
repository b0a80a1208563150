"""Public data sets into a folder: whole, verified, and nothing fetched twice."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import pooch

from gan3d.data.aside import check_folder, make_folder, written_aside
from gan3d.data.download import (
    NotFoundError,
    NotReachedError,
    Patience,
    ResumingDownloader,
    get_text,
)
from gan3d.data.zenodo import ZENODO, PublicDataSet, RemoteFile, parse_record
from gan3d.errors import DataError, UsageError


class FetchObserver(Protocol):
    """Is told what goes on."""

    def verifying(self, file: RemoteFile) -> None:
        """A file that is already there is compared with its checksum."""

    def is_there(self, file: RemoteFile) -> None:
        """It has the right checksum and is not fetched again."""

    def differs(self, file: RemoteFile) -> None:
        """It has not, and will be replaced."""

    def downloading(self, file: RemoteFile, done_bytes: int) -> None:
        """So many bytes of the file have come."""

    def is_fetched(self, file: RemoteFile) -> None:
        """The file is whole, has the right checksum, and its name."""


@dataclass(frozen=True)
class Record:
    """What a data set consists of."""

    files: tuple[RemoteFile, ...]
    """Its files."""
    text: str
    """The record as it came, JSON."""
    kept: Path | None
    """Where it was kept, if Zenodo cannot be reached."""


def read_record(
    data_set: PublicDataSet,
    folder: Path | None = None,
    *,
    base_url: str = ZENODO,
    patience: Patience | None = None,
) -> Record:
    """Return the record of `data_set` at `base_url`, or else the one kept in `folder`.

    Raises DataError if neither is to be had, saying what to fetch by hand.
    """
    patience = patience or Patience()
    try:
        text = _ask(data_set, base_url.rstrip("/"), patience)
    except NotReachedError as error:
        kept = folder / data_set.record_name if folder else None
        if kept is None or not kept.is_file():
            raise DataError(
                f"{error}. Without internet: elsewhere, fetch the files of {data_set.address} and, "
                f"under the name {data_set.record_name}, "
                f"{ZENODO}/api/records/{data_set.record}; put them into "
                f"{folder or 'the folder'} and run this again, which verifies them"
            ) from error
        text = kept.read_text()
        return Record(parse_record(text, str(kept), base_url), text, kept)
    return Record(parse_record(text, data_set.address, base_url), text, None)


def fetch(
    data_set: PublicDataSet,
    folder: Path,
    observer: FetchObserver,
    *,
    patterns: Sequence[str] = (),
    base_url: str = ZENODO,
    patience: Patience | None = None,
) -> tuple[Path, ...]:
    """Bring the files of `data_set` whose names match one of `patterns` (none: all) to `folder`.

    Files that are there with the right checksum stay; others are replaced once they are whole.
    What a broken download has brought is kept, hidden, and the next one goes on from there. The
    record is kept beside the files.

    Raises UsageError for patterns that match nothing, DataError if the folder cannot be written
    to or has too little space, if Zenodo cannot be reached, refuses, or breaks off too often, and,
    after all files have been tried, for files that do not have the record's checksum: those do not
    get their names.
    """
    patience = patience or Patience()
    check_folder(folder)
    record = read_record(data_set, folder, base_url=base_url, patience=patience)
    wanted = choose(record.files, patterns)
    missing = [file for file in wanted if not _is_there(folder / file.name, file, observer)]
    if missing and record.kept:
        raise DataError(
            "\n".join(
                f"{folder / file.name}: {_fault(folder / file.name, file)}; Zenodo cannot be "
                f"reached: fetch {file.url} by hand"
                for file in missing
            )
        )
    _check_space(folder, missing)
    make_folder(folder)
    if not record.kept:
        with written_aside(folder / data_set.record_name) as aside:
            aside.write_text(record.text)
    damaged = []
    for file in missing:
        try:
            _download(file, folder, observer, patience)
        except ChecksumError as error:
            damaged.append(str(error))
    if damaged:
        raise ChecksumError("\n".join(damaged))
    return tuple(folder / file.name for file in wanted)


class ChecksumError(DataError):
    """What came is not what the record states."""


def choose(files: Sequence[RemoteFile], patterns: Sequence[str]) -> tuple[RemoteFile, ...]:
    """Return the files that match one of `patterns` (none: all); UsageError if one matches none."""
    for pattern in patterns:
        if not any(fnmatchcase(file.name, pattern) for file in files):
            names = ", ".join(file.name for file in files)
            raise UsageError(f"no file of the record matches '{pattern}'; there are {names}")
    return tuple(
        file
        for file in files
        if not patterns or any(fnmatchcase(file.name, pattern) for pattern in patterns)
    )


def _ask(data_set: PublicDataSet, base_url: str, patience: Patience) -> str:
    try:
        return get_text(f"{base_url}/api/records/{data_set.record}", patience).text
    except NotFoundError:
        # The number of all versions together, as DOIs are cited: the API knows only single
        # versions (github.com/zenodo/zenodo/issues/2499), the page leads to the newest.
        page = get_text(f"{base_url}/records/{data_set.record}", patience).url
        newest = re.search(r"/records?/(\d+)", page)
        if newest is None or int(newest[1]) == data_set.record:
            raise
        return get_text(f"{base_url}/api/records/{newest[1]}", patience).text


def _is_there(path: Path, file: RemoteFile, observer: FetchObserver) -> bool:
    if not path.exists():
        return False
    observer.verifying(file)
    if _fault(path, file):
        observer.differs(file)
        return False
    observer.is_there(file)
    return True


def _fault(path: Path, file: RemoteFile) -> str:
    """Say what is wrong with a file that should be `file`; nothing if it is."""
    if not path.is_file():
        return "is missing"
    try:
        size = path.stat().st_size
        if size != file.size_bytes:
            return f"has {size} bytes, expected {file.size_bytes}"
        found = pooch.file_hash(path, alg=file.checksum.partition(":")[0])
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    expected = file.checksum.partition(":")[2]
    return "" if found == expected else f"has the checksum {found}, expected {expected}"


def _check_space(folder: Path, missing: Sequence[RemoteFile]) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    parts = [_part(folder, file) for file in missing]
    have = sum(part.stat().st_size for part in parts if part.is_file())
    needed = sum(file.size_bytes for file in missing) - have
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DataError(
            f"{folder}: {free / 1e9:.1f} GB are free, {needed / 1e9:.1f} GB are needed; "
            "name another folder, or fewer files"
        )


def _part(folder: Path, file: RemoteFile) -> Path:
    # With the checksum: what came of another version of the file must not be continued.
    return folder / f".{file.name}.{file.checksum.partition(':')[2][:8]}.part"


def _download(file: RemoteFile, folder: Path, observer: FetchObserver, patience: Patience) -> None:
    pooch.get_logger().setLevel(logging.WARNING)
    store = pooch.create(
        path=folder.absolute(),
        base_url="",
        registry={file.name: file.checksum},
        urls={file.name: file.url},
    )
    downloader = ResumingDownloader(
        _part(folder, file),
        file.size_bytes,
        patience,
        lambda done_bytes: observer.downloading(file, done_bytes),
    )
    try:
        store.fetch(file.name, downloader=downloader)
    except ValueError as error:
        # "MD5 hash of downloaded file (NAME) does not match the known hash: expected .. got .."
        what, _, _ = str(error).partition(". Deleted")
        raise ChecksumError(
            f"{folder / file.name}: {what}; it was removed, run the same command again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder / file.name}: cannot be written: {error.strerror or error}"
        ) from error
    observer.is_fetched(file)
