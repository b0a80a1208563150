"""What all layouts are told of the file that they write, and what they write into."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from gan3d.config import Geometry, Images
from gan3d.errors import DataError


@dataclass(frozen=True)
class NewFile:
    """A file of showers that is to be written; see `writer.write_showers`."""

    path: Path
    """The name that it is to have."""
    aside: Path
    """The name that it has until it is whole: an empty file that is there."""
    attributes: Mapping[str, str | int | float]
    """What is kept with the file as a whole."""
    cell_size_mm: tuple[float, float, float] | None
    """Cell pitch along (x, y, layer) in mm, if it is known; of several images the first one's."""
    unit_gev: float
    """Unit of the energies, in GeV."""
    pdg_id: int
    """Incident particle where no column says it; 0: not known."""
    chunk_showers: int
    """Showers that are compressed together."""
    level: int
    """Level of compression, 0 to 9."""
    geometries: Mapping[str, Geometry] | None = None
    """Where showers have several images, the grids of all, by their names; None: they have one."""

    @property
    def images(self) -> Images | None:
        """The several images of a shower; None: it has one."""
        if self.geometries is None:
            return None
        return Images({name: each.shape for name, each in self.geometries.items()})


class Sink(io.RawIOBase):
    """The content of a new file. A context manager, for one thread.

    It remembers the first write that fails, and swallows the rest: HDF5, when it meets an error
    while it closes a file, ends Python with a segmentation fault. `check`, and leaving the context
    in good order, raise DataError for what was remembered.
    """

    def __init__(self, new: NewFile) -> None:
        """Open `new.aside`."""
        self._path = new.path
        self._raw = new.aside.open("r+b", buffering=0)
        self._fault: OSError | None = None

    def check(self) -> None:
        """Raise DataError if something could not be written."""
        if self._fault is not None:
            reason = self._fault.strerror or self._fault
            raise DataError(f"{self._path}: cannot be written: {reason}") from self._fault

    def write(self, data: Any) -> int:
        """Write all of `data`, or remember why not."""
        view = memoryview(data).cast("B")
        done = 0
        with self._remembered():
            while done < len(view):
                done += self._raw.write(view[done:])  # a disk that is nearly full takes a part
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length, or remember why not."""
        size = self.tell() if size is None else size
        with self._remembered():
            self._raw.truncate(size)
        return size

    def readinto(self, buffer: Any) -> int:
        """HDF5 reads what it has written."""
        return self._raw.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.IOBase`."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._raw.tell()

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def writable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._remembered():  # some file systems say only now that they are full
            os.fsync(self._raw.fileno())
        with self._remembered():
            self._raw.close()
        if exception is None:
            self.check()

    @contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._fault = self._fault or error


@contextmanager
def held_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM take effect only at the end of what is done in this context.

    Their handlers raise exceptions, in the main thread, wherever it is: on their way through a
    library that calls us back, such as HDF5 on a `Sink`, these end Python with a segmentation fault
    or are lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {number: handler for number, handler in usual.items() if callable(handler)}
    try:
        for each in held:
            signal.signal(each, lambda *signalled: came.append(signalled))
        yield
    finally:
        for each, handler in held.items():
            signal.signal(each, handler)
        for number, frame in came[:1]:
            signal_handler = held[signal.Signals(number)]
            signal_handler(number, frame)
