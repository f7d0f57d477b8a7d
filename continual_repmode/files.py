"""Files that appear whole or not at all, and their identity."""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path next to ``path`` that takes its name when the block ends.

    Missing folders are made. If the block raises, ``path`` stays as it was.

    Parameters
    ----------
    path : Path
        The file to write.

    Yields
    ------
    Path
        An empty file of the same suffix, with the permissions of a new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = hidden_beside(path)
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # some writers make files of their own, private ones
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def hidden_beside(path: Path, mark: str = "") -> Path:
    """Return a hidden, unused name beside ``path``, of the same suffix.

    It is no longer than disks allow, however long that of ``path`` is.
    """
    suffix = path.suffix if len(path.suffix) < 20 else ""
    return path.with_name(f".{path.stem[:30]}.{uuid.uuid4().hex}{mark}{suffix}")


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
