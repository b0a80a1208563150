"""Public data sets of showers, and the files that their records on Zenodo list."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from gan3d.errors import DataError

ZENODO = "https://zenodo.org"
"""Where the records are; a mirror has the same paths below its own address."""


@dataclass(frozen=True)
class PublicDataSet:
    """A data set that anyone may fetch."""

    name: str
    """What `gan3d data fetch` calls it."""
    record: int
    """Number of its Zenodo record: the end of its DOI, 10.5281/zenodo.NUMBER."""
    what: str
    """What it holds."""

    @property
    def address(self) -> str:
        """The page that lists its files, for people."""
        return f"{ZENODO}/records/{self.record}"

    @property
    def record_name(self) -> str:
        """Name under which its record is kept beside its files."""
        return f"zenodo-{self.record}.json"


PUBLIC_DATA_SETS: Mapping[str, PublicDataSet] = {
    each.name: each
    for each in (
        PublicDataSet(
            "lcd-electrons",
            3603086,
            "the electrons that 3DGAN was trained on: LCD (CLIC) calorimeter, Geant4",
        ),
        PublicDataSet(
            "calochallenge-1",
            8099322,
            "Fast Calorimeter Challenge 1: photons and pions; layers of different "
            "binning (368 and 533 cells), no regular grid",
        ),
        PublicDataSet(
            "calochallenge-2",
            6366270,
            "Fast Calorimeter Challenge 2: electrons, 1 GeV to 1 TeV, 45 × 16 × 9 cells",
        ),
        PublicDataSet(
            "calochallenge-3",
            6366323,
            "Fast Calorimeter Challenge 3: electrons, 1 GeV to 1 TeV, 45 × 50 × 18 cells",
        ),
    )
}
"""By name. Records and contents: calochallenge.github.io/homepage and zenodo.org."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that a record lists."""

    name: str
    """Its name, without folders."""
    size_bytes: int
    """Its size."""
    checksum: str
    """What it must hash to, as `md5:...`."""
    url: str
    """Where its content is."""


def parse_record(text: str, source: str, base_url: str = ZENODO) -> tuple[RemoteFile, ...]:
    """Return the files that the JSON of a record lists, in the record's order.

    Two forms are known (https://developers.zenodo.org): files with `key`, `size`, `checksum` and
    `links.self`, and files with `filename`, `filesize` and a `checksum` without its algorithm,
    which is MD5. `source` names the record in errors.

    Raises DataError if this is no such record, and for a file whose name could lead out of the
    folder that it is to be put into, that has no checksum, or that is not to be had by HTTP.
    """
    try:
        record = json.loads(text)
        listed = [_parse_file(each, record, base_url) for each in record["files"]]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{source}: is no Zenodo record with a list of files ({error!r})"
        ) from error
    for file in listed:
        _check(file, source)
    if not listed:
        raise DataError(f"{source}: the record lists no files; it may be restricted")
    names = [file.name for file in listed]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{source}: the record lists '{name}' twice")
    return tuple(listed)


def _parse_file(entry: Mapping[str, Any], record: Mapping[str, Any], base_url: str) -> RemoteFile:
    if "key" in entry:
        url = str(entry["links"]["self"])
        return RemoteFile(str(entry["key"]), int(entry["size"]), str(entry["checksum"]), url)
    name, checksum = str(entry["filename"]), str(entry["checksum"])
    return RemoteFile(
        name,
        int(entry["filesize"]),
        checksum if ":" in checksum else f"md5:{checksum}",
        f"{base_url}/records/{record['id']}/files/{quote(name)}?download=1",
    )


def _check(file: RemoteFile, source: str) -> None:
    # The record is a stranger's: its names must not reach outside the folder, nor be taken for
    # the hidden files of downloads under way.
    if not file.name or file.name.startswith(".") or re.search(r"[/\\\x00-\x1f]", file.name):
        raise DataError(f"{source}: the record lists a file named {file.name!r}: refused")
    algorithm, _, digest = file.checksum.partition(":")
    if algorithm not in hashlib.algorithms_guaranteed or not re.fullmatch("[0-9a-f]+", digest):
        raise DataError(
            f"{source}: the record's checksum of {file.name} is '{file.checksum}', "
            "expected one such as md5:0cc175b9"
        )
    if file.size_bytes < 0:
        raise DataError(f"{source}: the record says {file.name} has {file.size_bytes} bytes")
    if urlsplit(file.url).scheme not in ("http", "https"):
        raise DataError(f"{source}: the address of {file.name} is not one of HTTP: {file.url}")
