"""The line between a coordinator and the ranks of its blocks: JSON lines over TCP.

Every rank holds a connection. When the coordinator ends, however it is killed, the kernel closes
it, and every rank ends itself: nothing goes on training that nobody waits for; so does one that has
heard nothing for a minute and a half, as of a coordinator that hangs: another takes up its trials
soon after. A launcher in
between (horovodrun, srun, ssh) changes nothing of that. In the other direction a connection that
closes tells at once that a rank has gone.
"""

from __future__ import annotations

import hmac
import json
import os
import queue
import secrets
import select
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from gan3d.errors import NodeError, RunError

_LONGEST_LINE = 16 * 2**20
"""No message is longer; more is not ours."""

_CONNECT_SECONDS = 10.0
"""A rank tries each address so long."""

_GREETING_SECONDS = 10.0
"""A connection that has not said who it is by then is closed."""

_SILENT_SECONDS = 90.0
"""A coordinator that has said nothing for so long is taken for gone; it beats every 10 s."""

ORPHANED = 70
"""Exit code of a rank whose coordinator has gone."""

GONE = "gan3d: the coordinator has gone"
"""Its last words."""


class Connection:
    """One rank, as the coordinator sees it."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.block = -1
        self.rank = -1
        self.pid = 0
        self.host = ""
        self.opened = time.monotonic()
        self._half = b""

    @property
    def known(self) -> bool:
        """Whether it has said who it is, with the right token."""
        return self.rank >= 0

    def send(self, kind: str, **content: Any) -> None:
        """Tell the rank something; one that is gone is found out by its closed connection."""
        try:
            self.link.sendall(_line({"kind": kind, **content}))
        except OSError:  # perhaps after half a line: it must not hear more
            with suppress(OSError):
                self.link.shutdown(socket.SHUT_RDWR)

    def read(self) -> list[dict[str, Any]] | None:
        """The messages that are there; None: the rank has gone, or is none."""
        try:
            got = self.link.recv(2**16)
        except OSError:
            return None
        if not got:
            return None
        *lines, self._half = (self._half + got).split(b"\n")
        if len(self._half) > _LONGEST_LINE:
            return None
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            return None
        return messages if all(isinstance(each, dict) for each in messages) else None


class Server:
    """The coordinator's end."""

    def __init__(self, *, local: bool) -> None:
        """Listen, on this machine alone where all blocks are `local`."""
        self._tokens: dict[int, str] = {}
        self._socket = socket.create_server(("127.0.0.1" if local else "", 0), backlog=128)
        self._local = local
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._connections: set[Connection] = set()

    def write_address(self, path: Path, block: int, **content: Any) -> None:
        """Leave for the ranks of `block` where they are to connect. Only this user may read it.

        The token in it is new: ranks that were started before, and are late, are not let in.
        """
        self._tokens[block] = secrets.token_hex(16)
        port = self._socket.getsockname()[1]
        hosts = ["127.0.0.1"] if self._local else [socket.getfqdn(), socket.gethostname()]
        address = {"hosts": hosts, "port": port, "token": self._tokens[block], **content}
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(address, file)

    def revoke(self, block: int) -> None:
        """Let no rank in that was started for `block` so far."""
        self._tokens.pop(block, None)

    def beat(self) -> None:
        """Let all ranks know that this coordinator lives."""
        for connection in list(self._connections):
            if connection.known:
                connection.send("alive")

    def poll(self, seconds: float) -> Iterator[tuple[Connection, dict[str, Any] | None]]:
        """What ranks say within `seconds`; (connection, None) when one has gone."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._socket:
                self._accept()
                continue
            connection: Connection = key.data
            messages = connection.read()
            if messages is not None and not connection.known:
                messages = self._greeted(connection, messages)
            if messages is None:
                self.close(connection)
                if connection.known:
                    yield connection, None
                continue
            for message in messages:
                yield connection, message
        for silent in [each for each in self._connections if not each.known]:
            if time.monotonic() - silent.opened > _GREETING_SECONDS:
                self.close(silent)

    def _accept(self) -> None:
        link, _ = self._socket.accept()
        _keep_alive(link)
        link.settimeout(10.0)  # a rank whose machine hangs must not hold the coordinator
        connection = Connection(link)
        self._connections.add(connection)
        self._selector.register(link, selectors.EVENT_READ, connection)

    def _greeted(
        self, connection: Connection, messages: list[dict[str, Any]]
    ) -> list[dict[str, Any]] | None:
        if not messages:
            return []
        first = messages[0]
        token = str(first.get("token")).encode()
        blocks = [
            block
            for block, mine in self._tokens.items()
            if hmac.compare_digest(token, mine.encode())
        ]
        if not blocks:
            return None
        connection.block, connection.rank = blocks[0], int(first["rank"])
        connection.pid, connection.host = int(first["pid"]), str(first["host"])
        return [{**first, "token": ""}, *messages[1:]]

    def close(self, connection: Connection) -> None:
        """Close a rank's connection, at which it ends."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._selector.unregister(connection.link)
            connection.link.close()

    def shutdown(self) -> None:
        """Close all, at which all ranks end."""
        for connection in list(self._connections):
            self.close(connection)
        self._selector.close()
        self._socket.close()


class Line:
    """A rank's end. A thread of its own listens, and ends this process with the coordinator."""

    def __init__(self, address: Mapping[str, Any], rank: int) -> None:
        """Connect, and say who this is. Raises NodeError where no coordinator answers."""
        self._link = _connected(address["hosts"], int(address["port"]))
        _keep_alive(self._link)
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._stopped: set[int] = set()
        self._sending = threading.Lock()
        self.send(
            "hello",
            token=address["token"],
            rank=rank,
            pid=os.getpid(),
            host=socket.gethostname(),
        )
        threading.Thread(target=self._listen, name="gan3d-line", daemon=True).start()

    def send(self, kind: str, **content: Any) -> None:
        """Tell the coordinator something."""
        try:
            with self._sending:
                self._link.sendall(_line({"kind": kind, **content}))
        except OSError:
            _end_orphaned()

    def next_order(self) -> dict[str, Any] | None:
        """Wait for the next order; None: the block is to end."""
        order = self._orders.get()
        return order if order["kind"] == "order" else None

    def is_stopped(self, number: int) -> bool:
        """Whether the coordinator wants the order of this number to end."""
        return number in self._stopped

    def _listen(self) -> None:
        half = b""
        while True:
            try:
                ready, _, _ = select.select([self._link], [], [], _SILENT_SECONDS)
                got = self._link.recv(2**16) if ready else b""
            except OSError:
                got = b""
            if not got:
                _end_orphaned()
            *lines, half = (half + got).split(b"\n")
            try:
                messages = [json.loads(line) for line in lines]
            except ValueError:
                _end_orphaned()
            for message in messages:
                if message["kind"] == "alive":
                    continue
                if message["kind"] == "stop":
                    self._stopped.add(int(message["number"]))
                else:
                    self._orders.put(message)


def read_address(path: Path) -> dict[str, Any]:
    """What `Server.write_address` left. Raises RunError where there is nothing."""
    try:
        address: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: no address of a coordinator ({error})") from error
    return address


def _end_orphaned() -> NoReturn:
    """End at once: another coordinator may take up this very trial in a moment."""
    sys.stderr.write(f"{GONE}\n")
    sys.stderr.flush()
    os._exit(ORPHANED)


def _connected(hosts: Sequence[str], port: int) -> socket.socket:
    failures = []
    for host in dict.fromkeys(hosts):
        try:
            link = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
        except OSError as error:
            failures.append(f"{host}:{port}: {error.strerror or error}")
            continue
        link.settimeout(None)
        return link
    raise NodeError(f"no coordinator answers ({'; '.join(failures)})")


def _keep_alive(link: socket.socket) -> None:
    """Let the kernel find out that the other machine is gone, within a minute."""
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
