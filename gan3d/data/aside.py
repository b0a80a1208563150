"""Files that are either whole or not there, and folders to put them into."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gan3d.data.new_file import held_signals
from gan3d.errors import DataError, NodeError

_HIDDEN = re.compile(r"\.(.+)\.[a-z0-9_]{8}", re.DOTALL)
"""The name of a file that is being written, with the name that it is to have."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give the name of a new file in the folder of `path`, which replaces `path` on leaving.

    Leaving by an exception removes the new file and leaves `path` as it was. The content is synced
    to the disk before it takes the name. The new file is locked (flock) for `remove_leftovers`, so
    HDF5, which locks files that it opens by name, must be given an open one. Raises DataError where
    the folder does not exist or cannot be written to, or `path` is a folder.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected the name of a file to write")
    handle, aside = -1, None
    try:
        with held_signals():  # or one could come when the file is there, but not its name here
            handle, aside = _make_hidden(path)
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        with held_signals():
            if aside is not None:
                aside.unlink(missing_ok=True)
                os.close(handle)


def _make_hidden(path: Path) -> tuple[int, Path]:
    while True:
        try:
            # O_EXCL and a random part: two writers of the same file do not meet in one.
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
        os.fchmod(handle, 0o666 & ~_umask())  # mkstemp's own mode is for the owner alone
        _lock(handle, wait=True)
        # Another's `remove_leftovers` may have met the file before it was locked.
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def remove_leftovers(paths: Iterable[Path]) -> int:
    """Remove what killed processes left of `written_aside` for `paths`; return how many files.

    Files that a process still writes are locked and stay, and so do all where the file system knows
    no locks. Where locks are known to one node alone (NFS with local_lock, Lustre with localflock)
    two nodes must not write the same files at once.
    """
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name)
    return sum(remove_leftovers_in(folder, among.__contains__) for folder, among in names.items())


def remove_leftovers_in(folder: Path, is_meant: Callable[[str], object]) -> int:
    """Do as `remove_leftovers` for all files in `folder` whose names `is_meant` accepts."""
    return sum(
        _remove_unlocked(left)
        for left in folder.glob(".*")
        if (hidden := _HIDDEN.fullmatch(left.name)) and is_meant(hidden[1])
    )


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Make a folder in TMPDIR that begins with `prefix`, and remove it on leaving.

    Those that killed processes of this user left are removed first; it is locked against that.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if left.is_dir():
            _remove_unlocked(left)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        handle = os.open(name, os.O_RDONLY)
        try:
            _lock(handle)
            yield Path(name)
        finally:
            os.close(handle)


def _remove_unlocked(path: Path) -> bool:
    folder = path.is_dir()
    try:
        handle = os.open(path, os.O_NOFOLLOW | (os.O_RDONLY if folder else os.O_RDWR))
    except OSError:  # its writer has finished, or it is somebody else's
        return False
    try:
        if not _lock(handle) or (folder and os.fstat(handle).st_uid != os.getuid()):
            return False
        if folder:
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)
    return True


def _lock(handle: int, *, wait: bool = False) -> bool:
    """Lock an open file as long as it is open; whether that could be done."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def check_folder(folder: Path) -> None:
    """Raise DataError if `folder` is not there and cannot be made, or cannot be written to.

    Nothing is written: this is for the time before any long work.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise DataError(f"{folder}: {existing} is not a folder; name another")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise DataError(f"{folder}: {existing} cannot be written to; name another folder")


def format_bytes(count: float) -> str:
    """Return a size for people, such as 3.21 MB; from 1 GB on in GB."""
    return f"{count / 1e6:.3g} MB" if count < 0.9995e9 else f"{count / 1e9:.3g} GB"


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it. Raises DataError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror or error}") from error


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make `folder` and those above it; leaving by an exception removes those that are empty again.

    Folders that were there before stay. Raises DataError where one cannot be made.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    make_folder(folder)
    try:
        yield
    except BaseException:
        for each in made:
            try:
                each.rmdir()
            except OSError:  # not empty: files that are whole, or another's
                break
        raise


def _umask() -> int:
    """Which permissions new files do not get, asked without changing it for other threads."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "Umask":
            return int(value, 8)
    raise NodeError("/proc/self/status: says nothing of the umask; gan3d needs Linux 4.7 or newer")
