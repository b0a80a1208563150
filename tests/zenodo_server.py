"""A server on this machine that answers as Zenodo does, and misbehaves when told to."""

import hashlib
import json
import threading
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class ZenodoServer(ThreadingHTTPServer):
    """Serves `files` (name -> content) as those of any record.

    `faults[name]` holds functions (handler, content) that answer the next requests for a file's
    content, one each; `pages` answers of other paths. `contents` lists the requests for content.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {}
        self.faults = defaultdict(deque)
        self.pages = {}
        self.contents = []
        self.closing = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def close(self):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Nothing: clients hang up on purpose."""

    def record(self, number):
        return {"id": int(number), "files": [self.entry(name, number) for name in self.files]}

    def entry(self, name, number=1):
        content = self.files[name]
        return {
            "key": name,
            "size": len(content),
            "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
            "links": {"self": f"{self.url}/api/records/{number}/files/{name}/content"},
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ZenodoServer

    def do_GET(self):
        parts = urlsplit(self.path).path.strip("/").split("/")
        if self.path in self.server.pages:
            self.server.pages[self.path](self)
        elif parts[:2] == ["api", "records"] and len(parts) == 3:
            self.answer(200, json.dumps(self.server.record(parts[2])).encode())
        elif "files" in parts:
            self.send_content(unquote(parts[parts.index("files") + 1]))
        else:
            self.answer(404)

    def send_content(self, name):
        range_header = self.headers.get("Range")
        self.server.contents.append((name, range_header))
        content = self.server.files[name]
        if self.server.faults[name]:
            self.server.faults[name].popleft()(self, content)
            return
        self.send_range(content, int(range_header[6:-1]) if range_header else None)

    def send_range(self, content, start, cut=None):
        """The content from `start`, but only up to `cut`; then the connection ends."""
        headers = {}
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206 if headers else 200, content[start or 0 :], headers, cut=cut)

    def answer(self, status, body=b"", headers=None, cut=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *arguments):
        pass


def cut_after(count):
    """Send `count` bytes of what was asked for, then cut the connection."""

    def fault(handler, content):
        start = handler.headers.get("Range")
        handler.send_range(content, int(start[6:-1]) if start else None, cut=count)

    return fault


def ignore_range(handler, content):
    handler.answer(200, content)


def wrong_range(handler, content):
    handler.answer(206, content[3:], {"Content-Range": f"bytes 3-{len(content) - 1}/*"})


def stall_after(count):
    def fault(handler, content):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:count])
        handler.wfile.flush()
        handler.server.closing.wait()

    return fault


def send(body):
    """Send something else, all of it."""

    def fault(handler, content):
        handler.answer(200, body)

    return fault


def refuse(status, **headers):
    def fault(handler, content=b""):
        handler.answer(status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return fault


def redirect(target):
    def page(handler):
        handler.answer(301, headers={"Location": target})

    return page


def page(body=b"a page"):
    return lambda handler: handler.answer(200, body)
