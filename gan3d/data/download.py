"""HTTP that survives bad connections: waiting, trying again, and going on where it stopped."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests
import urllib3

from gan3d.errors import DataError

Progress = Callable[[int], None]
"""Is told how many bytes of the file are there."""

_HEADERS = {
    "User-Agent": "gan3d (gan3d data fetch)",
    # Compressed on the way, the bytes would not be those that a range counts.
    "Accept-Encoding": "identity",
}
_TRY_AGAIN = {408, 429, 500, 502, 503, 504}
_BLOCK_BYTES = 2**18


@dataclass(frozen=True)
class Patience:
    """How long to put up with a bad connection."""

    attempts: int = 5
    """Attempts in a row that bring no further byte, after which it is given up."""
    stall_s: float = 30.0
    """A connection that is silent for so long counts as cut, s."""
    back_off_s: float = 1.0
    """Wait after the first failure, s; doubled after every other one in a row."""
    longest_wait_s: float = 60.0
    """No wait is longer, s, also where the server asks for more."""


class NotReachedError(DataError):
    """No server answers: no internet, a wrong address, a proxy in between."""


class NotFoundError(DataError):
    """The server has nothing at this address."""


@dataclass(frozen=True)
class Answer:
    """A text and where it came from in the end."""

    text: str
    url: str
    """The address after redirections."""


def get_text(url: str, patience: Patience) -> Answer:
    """Return what `url` answers.

    Raises NotReachedError if no connection comes about, NotFoundError if the server does not know
    the address, DataError for other refusals and after `patience.attempts` failures.
    """
    retries = _Retries(url, patience)
    while True:
        try:
            response = requests.get(url, headers=_HEADERS, timeout=patience.stall_s)
            _accept(response, url, retries)
            return Answer(response.text, response.url)
        except requests.RequestException as error:
            if _never_connected(error):
                raise NotReachedError(f"{url}: {_reason(error)}") from error
            retries.failed(_reason(error))


class ResumingDownloader:
    """A downloader for pooch that goes on where an earlier one stopped.

    What has come so far is kept in `part`, also when the download fails or is interrupted.
    """

    def __init__(self, part: Path, size_bytes: int, patience: Patience, progress: Progress) -> None:
        """Download `size_bytes` by way of the file `part`."""
        self._part = part
        self._size = size_bytes
        self._patience = patience
        self._progress = progress

    def __call__(self, url: str, output_file: str, pooch: object, check_only: bool = False) -> None:
        """Bring the content of `url` to `output_file`, as pooch's downloaders do.

        Raises DataError if the server refuses, sends more than it should, or fails too often, and
        if the disk is full or another process downloads the same file.
        """
        with _opened(self._part) as file:
            if _length(file) > self._size:
                file.truncate(0)
            retries = _Retries(url, self._patience)
            farthest = _length(file)
            while _length(file) < self._size:
                reason = "the connection was cut"
                try:
                    self._go_on(url, file, retries)
                except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                    reason = _reason(error)
                if _length(file) >= self._size:
                    break
                if _length(file) > farthest:
                    farthest = _length(file)
                    retries.went_on()
                else:
                    retries.failed(reason)
            os.fsync(file.fileno())
        self._part.replace(output_file)

    def _go_on(self, url: str, file: BinaryIO, retries: _Retries) -> None:
        """Append what one request brings; the end of the connection is no error here."""
        start = _length(file)
        headers = {**_HEADERS, "Range": f"bytes={start}-"} if start else _HEADERS
        timeout = self._patience.stall_s
        with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                file.truncate(0)
                return
            _accept(response, url, retries)
            partial = response.status_code == requests.codes.partial_content
            if partial and not _begins_at(response, start):
                file.truncate(0)
                return
            if start and not partial:
                # The whole file comes, from its beginning.
                file.truncate(0)
            self._progress(_length(file))
            for block in _arriving(response):
                if _length(file) + len(block) > self._size:
                    file.truncate(0)
                    raise DataError(
                        f"{url}: sends more than the {self._size} bytes that its record states"
                    )
                _write(file, block, self._part)
                self._progress(_length(file))


class _Retries:
    """Counts failures in a row and waits ever longer after each."""

    def __init__(self, url: str, patience: Patience) -> None:
        self._url = url
        self._patience = patience
        self._failures = 0
        self.asked_to_wait_s = 0.0

    def went_on(self) -> None:
        """Wait before the next attempt, after one that failed but brought something."""
        self._failures = 0
        self._wait()

    def failed(self, reason: str) -> None:
        """Wait before the next attempt. Raises DataError if this was the last."""
        self._failures += 1
        if self._failures >= self._patience.attempts:
            attempts = f"{self._failures} attempt{'s' if self._failures > 1 else ''}"
            raise DataError(
                f"{self._url}: given up after {attempts} that brought nothing, "
                f"last: {reason}; the same command goes on from here"
            )
        self._wait()

    def _wait(self) -> None:
        doubled_s = self._patience.back_off_s * 2 ** max(0, self._failures - 1)
        wait_s = max(doubled_s, self.asked_to_wait_s)
        self.asked_to_wait_s = 0.0
        time.sleep(min(wait_s, self._patience.longest_wait_s))


def _accept(response: requests.Response, url: str, retries: _Retries) -> None:
    """Raise DataError for a refusal, and RequestException for what may pass."""
    status = f"{response.status_code} {response.reason}".strip()
    if response.status_code in (requests.codes.not_found, requests.codes.gone):
        raise NotFoundError(f"{url}: is not there ({status})")
    if response.status_code in _TRY_AGAIN:
        asked = response.headers.get("Retry-After", "")
        retries.asked_to_wait_s = float(asked) if asked.isdecimal() else 0.0
        raise requests.HTTPError(f"the server answers {status}")
    if not response.ok:
        raise DataError(f"{url}: the server refuses ({status})")


def _arriving(response: requests.Response) -> Iterator[bytes]:
    # `iter_content` waits for whole blocks, and at a cut loses what has come of one.
    while block := response.raw.read1(_BLOCK_BYTES):
        yield block


def _begins_at(response: requests.Response, start: int) -> bool:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == start


def _never_connected(error: requests.RequestException) -> bool:
    """Tell a connection that never came about from one that was cut."""
    if isinstance(
        error,
        requests.ConnectTimeout | requests.exceptions.SSLError | requests.exceptions.ProxyError,
    ):
        return True
    cause = _first_cause(error)
    return isinstance(cause, socket.gaierror | ConnectionRefusedError) or (
        isinstance(cause, OSError) and cause.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    )


def _reason(error: Exception) -> str:
    cause = _first_cause(error)
    return str(cause) or type(cause).__name__


def _first_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


@contextmanager
def _opened(part: Path) -> Iterator[BinaryIO]:
    try:
        file = part.open("ab", buffering=0)
    except OSError as error:
        raise DataError(f"{part}: cannot be written: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{part}: another process is downloading this file") from error
        except OSError:
            # A file system without locks: the checksum tells if two have written.
            pass
        yield file


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _write(file: BinaryIO, block: bytes, part: Path) -> None:
    try:
        while block:
            block = block[file.write(block) :]
    except OSError as error:
        raise DataError(
            f"{part}: cannot be written: {error.strerror or error}; what has come is kept, and "
            "the same command goes on from there"
        ) from error
