"""A small server of files that can do what servers and nets do wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What the server holds and does, and what it was asked for.

    `breaks` are the numbers of bytes after which the next answers break off; `status` replaces the answer.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    status: int = 0
    ranges: bool = True
    redirect: dict[str, str] = field(default_factory=dict)
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Served]:
    """Serve at ``url`` within the block."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            served.asked.append((self.path, asked))
            if served.status or (self.path not in served.files and self.path not in served.redirect):
                self.send_error(served.status or 404)
                return
            if self.path in served.redirect:
                self.send_response(302)
                self.send_header("Location", served.redirect[self.path])
                self.end_headers()
                return
            data = served.files[self.path]
            begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and served.ranges else 0
            if begin >= len(data) and begin:
                self.send_error(416)
                return
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            end = begin + served.breaks.pop(0) if served.breaks else len(data)
            self.wfile.write(data[begin:end])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
