"""Reading a ``.tar.gz`` that may be broken or built to do harm."""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import IO, NoReturn

from tqdm import tqdm

from continual_repmode.errors import UserError

_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 512
_MAX_HEADER_BYTES = 1 << 15
_MAX_TRAILER_BYTES = 1 << 24


class DamagedArchiveError(UserError):
    """The archive is incomplete or not what it was when it was packed."""


class HashedFile:
    """A file that hashes what is read of it and shows how far that is."""

    def __init__(self, file: IO[bytes], bar: "tqdm[NoReturn]") -> None:
        self._file = file
        self._bar = bar
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data = self._file.read(size)
        self._digest.update(data)
        self._bar.update(len(data))
        return data

    def read_rest(self) -> None:
        """Read to the end, for the sake of the hash."""
        while self.read(_CHUNK_BYTES):
            pass

    def hexdigest(self) -> str:
        """Return the SHA-256 of what was read."""
        return self._digest.hexdigest()


class ForwardStream:
    """A stream that is read once, from front to end, and only as far as allowed.

    ``tarfile`` takes a broken header for the end of the archive, and takes memory for
    whatever size a header gives to its continuation. So the last block is kept for
    :meth:`check_end`, and beyond the files themselves only small headers may be read.
    """

    def __init__(self, packed: HashedFile) -> None:
        self._file: GzipFile = GzipFile(fileobj=packed, mode="rb")  # type: ignore[call-overload]  # reading needs only read()
        self._last = b""
        self.allow(0)

    def allow(self, size: int) -> None:
        """Let a file of this size and the next header be read."""
        self._end = self._file.tell() + size + _BLOCK_BYTES + _MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        if not 0 <= size <= self._end - self._file.tell():
            raise tarfile.ReadError("a header of absurd size")
        self._last = self._file.read(size)
        return self._last

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._file.tell()

    def seek(self, position: int) -> int:
        """Skip to a position further on."""
        if not self._file.tell() <= position <= self._end:
            raise tarfile.ReadError("a header leads astray")
        return self._file.seek(position)

    def check_end(self) -> None:
        """Raise unless nothing but zeros was and is left, with a right checksum."""
        if self._last != bytes(_BLOCK_BYTES):
            raise EOFError("it ends without the mark of its end")
        num_trailing = 0
        while data := self._file.read(_CHUNK_BYTES):
            num_trailing += len(data)
            if any(data) or num_trailing > _MAX_TRAILER_BYTES:
                raise tarfile.ReadError("something follows its end")


@contextmanager
def told_as_damage(archive: Path) -> Iterator[None]:
    """Tell whatever a broken archive makes its readers raise in one line."""
    try:
        yield
    except UserError:
        raise
    except (EOFError, OSError, ValueError, ArithmeticError, RecursionError,
            LookupError, tarfile.TarError, zlib.error) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the archive
        raise DamagedArchiveError(
            f"{archive}: incomplete or damaged ({error})"
        ) from None
