"""A web server on this machine that does whatever servers do wrong, and archives."""

import io
import tarfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile

SEVEN = ("Bright_1", "CMDRP", "", "EGFP", "", "H3342", "Bright_2")


@dataclass(frozen=True)
class Answer:
    """How to answer one GET; by default as a good server does."""

    status: int | None = None
    body: bytes | None = None
    ranges: bool = True  # whether Range is understood
    honest_range: bool = True  # whether If-Range is compared
    etag: str | None = '"one"'
    last_modified: str | None = "Wed, 01 Nov 2017 00:00:00 GMT"
    length: str | None = "right"  # what Content-Length says; None: nothing
    cut: int | None = None  # close after this many bytes of the body
    stall: bool = False  # send them, then nothing more
    drip: tuple[int, float] | None = None  # pause after so many bytes for so long
    location: str | None = None


@dataclass
class Web:
    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    answers: deque[Answer] = field(default_factory=deque)  # then `usual`
    usual: Answer = field(default_factory=Answer)
    gets: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def ranges(self) -> list[str | None]:
        """The Range header of every GET so far."""
        return [headers.get("Range") for _, headers in self.gets]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    web: Web

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._send(self.server.web.usual, head=True)

    def do_GET(self) -> None:
        web = self.server.web
        web.gets.append((self.path, dict(self.headers)))
        self._send(web.answers.popleft() if web.answers else web.usual)

    def _send(self, answer: Answer, *, head: bool = False) -> None:
        self.close_connection = True
        body = self.server.web.files.get(self.path)
        status = answer.status or (404 if body is None else 200)
        body = (answer.body if answer.body is not None else body) or b""
        total, start = len(body), self._start(answer)
        self.extra: dict[str, str] = {}
        if status == 200 and start is not None and not head:
            status, body = (206, body[start:]) if start < total else (416, b"")
            self.extra["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        self._send_headers(answer, status, len(body))
        if not head:
            self._send_body(answer, body)

    def _start(self, answer: Answer) -> int | None:
        wanted = self.headers.get("Range")
        if wanted is None or not answer.ranges:
            return None
        same = self.headers.get("If-Range") in {answer.etag, answer.last_modified}
        if answer.honest_range and not same:
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _send_headers(self, answer: Answer, status: int, length: int) -> None:
        self.send_response(status)
        told = str(length) if answer.length == "right" else answer.length
        headers = {
            "Content-Length": told,
            "ETag": answer.etag,
            "Last-Modified": answer.last_modified,
            "Location": answer.location,
            **self.extra,
        }
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _send_body(self, answer: Answer, body: bytes) -> None:
        body = body[: answer.cut]
        if answer.drip:
            size, pause_s = answer.drip
            for at in range(0, len(body), size):
                self.wfile.write(body[at : at + size])
                if self.server.web.stopping.wait(pause_s):
                    return
        else:
            self.wfile.write(body)
            self.wfile.flush()
        if answer.stall:
            self.server.web.stopping.wait(20)


@pytest.fixture
def web():
    """A server of ``web.files`` at ``web.url``, both for paths that begin with /."""
    with serving() as web:
        yield web


@contextmanager
def serving() -> Iterator[Web]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.web = Web(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.web
    finally:
        server.web.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(scope="session")
def write_field():
    """Write a small random OME-TIFF with these channel names."""

    def write(
        path: Path,
        names: Sequence[str] = SEVEN,
        um: tuple[float, float, float] | None = (0.29, 0.108, 0.108),
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(len(path.name))
        sizes = dict(
            zip(
                ("PhysicalSizeZ", "PhysicalSizeY", "PhysicalSizeX"),
                um or (),
                strict=False,
            )
        )
        tifffile.imwrite(
            path, rng.integers(0, 4000, (len(names), 2, 5, 6)).astype(np.uint16),
            ome=True, photometric="minisblack",
            metadata={"axes": "CZYX", "Channel": {"Name": list(names)}, **sizes},
        )  # fmt: skip
        return path

    return write


@pytest.fixture(scope="session")
def pack():
    """Return a .tar.gz of members: content by name, or ready-made TarInfo objects."""

    def packed(
        contents: dict[str, bytes], members: Sequence[tarfile.TarInfo] = ()
    ) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
            for name, content in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            for info in members:
                tar.addfile(info)
        return buffer.getvalue()

    return packed
