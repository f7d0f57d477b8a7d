"""Files that appear whole or not at all, their identity, and the room for them.

What is written here is first a file of another name beside its place: the process that
writes it is in that name. Should the process be killed, or the machine lose its power,
the next one that writes in the folder removes what is left.
"""

import errno
import hashlib
import os
import platform
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from continual_repmode.errors import UserError
from continual_repmode.paths import LONGEST_ON_WINDOWS

REMEDY = "free some space, or choose another folder"
"""What helps against a disk that is full, where nothing better is known."""

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_TEMPORARY = re.compile(r"\.writing-([0-9a-f]{6})-(\d+)-[0-9a-f]{12}(\..*)?")
_FORGOTTEN_S = 7 * 24 * 3600
"""After so long, what a process of another machine has left counts as abandoned."""


@contextmanager
def replacing(
    path: Path, *, num_bytes: float = 0, remedy: str = REMEDY
) -> Iterator[Path]:
    """Give a temporary path next to ``path`` that takes its name when the block ends.

    Missing folders are made. If the block raises, ``path`` stays as it was. The content
    is on the disk before the name is given, and the name when the block has ended.

    ``num_bytes``: what it takes, where that is known: looked for before the block
        begins.
    ``remedy``: what helps if it cannot be written.
    Raises UserError if it cannot be written.

    Yields
    ------
    Path
        An empty file of the same suffix, with the permissions of a new file.
    """
    with failure_told(path, num_bytes, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        if num_bytes > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        temporary = temporary_beside(path)
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            synchronize(temporary)
            temporary.chmod(mode)  # some writers make files of their own, private ones
            temporary.replace(path)
            synchronize(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, *, remedy: str = REMEDY) -> None:
    """Write a file, all at once or not at all; text as UTF-8, its line ends as given.

    Raises UserError if it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with replacing(path, num_bytes=len(data), remedy=remedy) as temporary:
        temporary.write_bytes(data)


@contextmanager
def failure_told(
    path: Path,
    num_bytes: float = 0,
    remedy: str = REMEDY,
    *,
    full_only: bool = False,
) -> Iterator[None]:
    """Make a failure of the disk one that names the file, and the room it needs.

    Raises UserError: in place of an :class:`OSError`, or with ``full_only`` in place of
        one about a disk that is full.
    """
    try:
        yield
    except OSError as error:
        if full_only and error.errno not in _FULL:
            raise
        reason = error.strerror or str(error)
        if error.errno in _FULL or error.errno is None:  # as numpy tells of it
            there = next(place for place in (path, *path.parents) if place.exists())
            free = format_bytes(shutil.disk_usage(there).free)
            needed = f"{format_bytes(num_bytes)} needed, " if num_bytes else ""
            reason += f": {needed}{free} free"
        elif sys.platform == "win32":
            longest = max(map(len, (str(path.absolute()), str(error.filename or ""))))
            if longest > LONGEST_ON_WINDOWS:
                reason = f"a path of {longest} characters"
                remedy = "choose a folder nearer to the root, or switch on long paths"
        raise UserError(f"{path}: cannot be written ({reason}); {remedy}") from error


def temporary_beside(path: Path) -> Path:
    """Return a path of the same suffix that tells which process writes it."""
    name = f".writing-{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    return path.with_name(name + (path.suffix if len(path.suffix) < 20 else ""))


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that are no more have left unfinished in a folder."""
    with os.scandir(folder) as entries:
        found = [Path(e.path) for e in entries if e.name.startswith(".writing-")]
    for path in filter(_is_abandoned, found):
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as that can be done."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def synchronize(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name != "posix":  # folders cannot be opened there
        return
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_free(folder: Path, num_bytes: float, what: str, option: str) -> None:
    """Raise if the disk has no room for this many bytes more.

    ``what``: what needs the room, for the message.
    ``option``: by which another folder is chosen, for the message.
    Raises UserError: saying how much is needed and how much is free.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if num_bytes > free:
        raise UserError(
            f"{what} needs {format_bytes(num_bytes)}, but {folder} has only "
            f"{format_bytes(free)} free; free some space, or choose another disk "
            f"with {option}"
        )


def format_bytes(num_bytes: float) -> str:
    """Return a number of bytes as people say it.

    >>> format_bytes(12_300_000_000)
    '12.3 GB'
    """
    for unit in ("bytes", "kB", "MB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"


def _is_abandoned(path: Path) -> bool:
    """Tell whether nobody writes a temporary file or folder any more."""
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    try:
        changed = path.stat().st_mtime
        if match[1] != _HOST:
            return time.time() - changed > _FORGOTTEN_S
        # A later process may have the same number.
        began: float = psutil.Process(int(match[2])).create_time()
        return began > changed + 1
    except psutil.NoSuchProcess:
        return True
    except (OSError, psutil.Error):
        return False
