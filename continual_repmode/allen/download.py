"""Large files from the web: resumed after any interruption, whole or not at all.

What has arrived lies in ``NAME.part``, and next to it a note (``NAME.part.json``) of
what the server said of the file when the download began. A download resumes only if
the server confirms that the file is still the same; otherwise it starts over.
"""

import http.client
import json
import logging
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.request import OpenerDirector

from continual_repmode.allen.web import (
    BrokenTransferError,
    RangeRefusedError,
    content_length,
    describe,
    open_url,
)
from continual_repmode.errors import UserError
from continual_repmode.files import (
    check_free,
    failure_told,
    synchronize,
    write_whole,
)
from continual_repmode.volumes.progress import byte_bar

_CHUNK_BYTES = 1 << 20
_LONGEST_PAUSE_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """When to give up on a server."""

    #: Longest silence.
    timeout_s: float = 60.0
    #: Broken connections in a row between which nothing much arrived.
    max_failures: int = 8
    #: Before the second try; doubled before each further one.
    pause_s: float = 1.0
    #: A slower connection counts as broken.
    min_rate_bytes_s: float = 1000.0


@dataclass(frozen=True, slots=True)
class Source:
    """What a server said of a file when its download began."""

    url: str
    size: int
    etag: str | None
    last_modified: str | None

    @property
    def validator(self) -> str | None:
        """By which the server tells whether the file is still the same."""
        weak = self.etag is None or self.etag.startswith("W/")
        return self.last_modified if weak else self.etag


class Part:
    """The part of a file that has arrived, and the note on where it comes from."""

    def __init__(self, path: Path) -> None:
        self.data = path.with_name(f"{path.name}.part")
        self.note = path.with_name(f"{path.name}.part.json")

    @property
    def num_bytes(self) -> int:
        """How much has arrived."""
        return self.data.stat().st_size if self.data.exists() else 0

    def source(self, url: str) -> Source | None:
        """Return what is known of this address, or None to start over."""
        try:
            source = Source(**json.loads(self.note.read_bytes()))
            known = source.url == url and 0 < self.num_bytes <= source.size
        except (OSError, ValueError, TypeError):
            return None
        return source if known and source.validator else None

    def begin(self, source: Source) -> None:
        """Start over with nothing."""
        self.discard()
        self.data.touch()
        write_whole(self.note, json.dumps(asdict(source), indent=1))

    def discard(self) -> None:
        """Remove what has arrived."""
        self.data.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        """Give the whole file its name."""
        synchronize(self.data)
        self.data.replace(path)
        self.note.unlink(missing_ok=True)


def receive(
    url: str,
    part: Part,
    opener: OpenerDirector,
    patience: Patience | None = None,
) -> None:
    """Download until the part is as large as the server says the file is.

    ``part``: what an earlier call left is continued.
    ``opener``: see :func:`continual_repmode.allen.web.web_opener`.
    Raises UserError if the server has no such file or keeps failing, or the disk is
        full. What has arrived stays.
    """
    patience = patience or Patience()
    best, failures, since = part.num_bytes, 0, time.monotonic()
    while True:
        try:
            _receive_once(url, part, opener, patience)
            return
        except BrokenTransferError as error:
            now = time.monotonic()
            gained = part.num_bytes - best
            advanced = gained > patience.min_rate_bytes_s * (now - since)
            failures = 1 if advanced else failures + 1
            best, since = max(best, part.num_bytes), now
            if failures >= patience.max_failures:
                raise UserError(
                    f"{url}: {error}; given up after {failures} tries without "
                    f"progress. {part.num_bytes} bytes are kept in {part.data}: give "
                    "the same command later to go on"
                ) from None
            pause_s = min(_LONGEST_PAUSE_S, patience.pause_s * 2 ** (failures - 1))
            _log.warning("%s: %s; again in %.0f s", url, error, pause_s)
            time.sleep(pause_s)


def _receive_once(
    url: str, part: Part, opener: OpenerDirector, patience: Patience
) -> None:
    """Download over one connection: go on where the part ends, or start over."""
    source = part.source(url)
    start = part.num_bytes if source else 0
    if source and start == source.size:
        return
    headers = {}
    if source:
        headers = {"Range": f"bytes={start}-", "If-Range": source.validator or ""}
    try:
        response = open_url(opener, url, patience.timeout_s, headers)
    except RangeRefusedError:
        part.discard()
        raise
    with response:
        if source is None or response.status != 206:
            source, start = _start_over(url, response, part), 0
        elif not _continues(response, source, start):
            part.discard()
            raise BrokenTransferError("the server went on with something else")
        _copy(response, part, start, source.size, patience)
    if part.num_bytes < source.size:
        raise BrokenTransferError(
            f"the server announced {source.size} bytes, but broke off after "
            f"{part.num_bytes}"
        )


def _start_over(url: str, response: http.client.HTTPResponse, part: Part) -> Source:
    """Note what the server sends from the first byte on."""
    size = content_length(response)
    if response.status != 200 or not size:
        raise UserError(
            f"{url}: the server does not say how large the file is (HTTP "
            f"{response.status}), so a whole download cannot be told from a broken "
            "one; try another --mirror or --proxy"
        )
    etag, modified = (response.headers.get(k) for k in ("ETag", "Last-Modified"))
    source = Source(url, size, etag, modified)
    if part.num_bytes:
        _log.warning("%s: the server cannot go on; starting over", url)
    part.discard()
    check_free(part.data.parent, size, url, "--to")
    part.begin(source)
    return source


def _continues(response: http.client.HTTPResponse, source: Source, start: int) -> bool:
    """Return whether a partial response is the rest of what has arrived."""
    text = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text.strip())
    etag = response.headers.get("ETag", source.etag)
    return (
        found is not None
        and int(found[1]) == start
        and int(found[3]) == source.size
        and etag == source.etag
    )


def _copy(
    response: http.client.HTTPResponse,
    part: Part,
    start: int,
    size: int,
    patience: Patience,
) -> None:
    """Append the body of a response to the part, up to ``size`` bytes in all."""
    name = part.data.name.removesuffix(".part")
    bar = byte_bar(name, size, begun=start)
    window_start, window_bytes = time.monotonic(), 0
    with bar, part.data.open("ab", buffering=0) as file:
        while (missing := size - start) > 0:
            try:
                data = response.read1(min(_CHUNK_BYTES, missing))
            except (OSError, http.client.HTTPException) as error:
                raise BrokenTransferError(
                    f"the connection broke after {start} of {size} bytes "
                    f"({describe(error)})"
                ) from None
            if not data:
                return
            _write(file.fileno(), data, part.data)
            start += len(data)
            bar.update(len(data))
            window_bytes += len(data)
            elapsed_s = time.monotonic() - window_start
            if elapsed_s >= patience.timeout_s:
                if window_bytes < patience.min_rate_bytes_s * elapsed_s:
                    raise BrokenTransferError(
                        f"the server sent only {window_bytes} bytes in "
                        f"{elapsed_s:.0f} s"
                    )
                window_start, window_bytes = time.monotonic(), 0


def _write(file: int, data: bytes, path: Path) -> None:
    """Write all of the bytes to an open file."""
    remedy = "give the same command again, once there is space, or with another --to"
    with failure_told(path, len(data), remedy):
        while data:
            data = data[os.write(file, data) :]
