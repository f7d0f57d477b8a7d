"""Unpacking archives from the web: safely, and whole or not at all.

An archive is unpacked into a hidden folder that takes its name at the very end,
together with a record (``contents.json``) of every file's size, by which a finished
folder is known again.
"""

import json
import os
import shutil
import tarfile
import unicodedata
from pathlib import Path, PurePosixPath

from continual_repmode.allen.archive_stream import (
    DamagedArchiveError,
    ForwardStream,
    HashedFile,
    told_as_damage,
)
from continual_repmode.errors import UserError
from continual_repmode.files import (
    failure_told,
    format_bytes,
    synchronize,
    write_whole,
)
from continual_repmode.volumes.progress import byte_bar

RECORD = "contents.json"
_CHUNK_BYTES = 1 << 20
_MAX_MEMBERS = 10_000
_MAX_DEPTH = 20
_MAX_RATIO = 200
"""Images pack tighter than this by no compression."""


def unpack(archive: Path, folder: Path, sha256: str | None = None) -> None:
    """Unpack a ``.tar.gz`` of regular files into a folder that must not exist yet.

    If everything in the archive is in one folder of the same name, that one is meant.
    Files get the permissions of new files. A folder of an earlier unpacking that no
    longer agrees with its record is mended; files of other names in it stay.

    ``sha256``: what the archive's must be.
    Raises DamagedArchiveError if the archive is cut off, corrupt or another one.
    Raises UserError if it holds anything but files and folders with names below
        ``folder``, far more than its size lets expect, or more than fits on the disk.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process
    remedy = "free some space, or choose another disk with --to"
    try:
        with failure_told(folder, remedy=remedy):
            temporary.mkdir(parents=True)
            sizes = _unpack_all(archive, temporary, sha256)
            source = temporary
            top = f"{folder.name}/"
            if all(name.startswith(top) for name in sizes):
                source = temporary / folder.name
                sizes = {name.removeprefix(top): size for name, size in sizes.items()}
            if RECORD in sizes:
                raise UserError(f"{archive}: holds {RECORD!r}, a name that is taken")
            _write_record(source, archive, sizes)
            _move(source, folder, [*sizes, RECORD])
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def has_record(folder: Path) -> bool:
    """Return whether a folder was unpacked by :func:`unpack`, once complete."""
    return _read_record(folder) is not None


def missing_files(folder: Path) -> list[str]:
    """Return which files of a folder's record are missing or of another size."""
    return [
        name
        for name, size in (_read_record(folder) or {}).items()
        if not (folder / name).is_file() or (folder / name).stat().st_size != size
    ]


def _unpack_all(archive: Path, into: Path, sha256: str | None) -> dict[str, int]:
    """Unpack every member and check the archive to its last byte; return sizes."""
    limit = _Limit(archive, into)
    bar = byte_bar(f"unpacking {archive.name}", archive.stat().st_size)
    with bar, archive.open("rb") as file:
        packed = HashedFile(file, bar)
        with told_as_damage(archive):
            stream = ForwardStream(packed)
            sizes = _unpack_members(archive, stream, into, limit)
            stream.check_end()
            packed.read_rest()
    if sha256 is not None and packed.hexdigest() != sha256:
        raise DamagedArchiveError(
            f"{archive}: its SHA-256 is {packed.hexdigest()}, but was {sha256} when it "
            "was downloaded"
        )
    if not sizes:
        raise DamagedArchiveError(f"{archive}: holds no files")
    return sizes


def _unpack_members(
    archive: Path, stream: ForwardStream, into: Path, limit: "_Limit"
) -> dict[str, int]:
    """Write the members of a tar stream; return the size of each file by name."""
    sizes: dict[str, int] = {}
    kinds: dict[str, str] = {}  # by name as a file system without case sees it
    with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]  # reading needs no more
        while (member := tar.next()) is not None:
            tar.members.clear()  # keeps memory flat
            name = _checked_name(archive, member, kinds)
            limit.add(stream.tell(), member.size if member.isreg() else 0)
            stream.allow(member.size if member.isreg() else 0)
            if member.isdir():
                (into / name).mkdir(parents=True, exist_ok=True)
                continue
            source = tar.extractfile(member)
            if source is None:  # never for a regular file
                raise tarfile.ReadError(f"no content of {name!r}")
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            with source, (into / name).open("xb") as target:
                shutil.copyfileobj(source, target, _CHUNK_BYTES)
                if target.tell() != member.size:
                    raise EOFError(f"{name!r} breaks off")
                target.flush()
                os.fsync(target.fileno())
            sizes[name] = member.size
    return sizes


def _checked_name(archive: Path, member: tarfile.TarInfo, kinds: dict[str, str]) -> str:
    """Return the name of a member below the folder, ``.`` for the folder itself."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise _refusal(archive, member, "its path leads outside the folder")
    sound = member.name.isprintable() and len(path.parts) <= _MAX_DEPTH
    if not sound or (member.isreg() and not path.name):
        raise _refusal(archive, member, "its name is no file name")
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        raise _refusal(archive, member, "it is neither a plain file nor a folder")
    plain = unicodedata.normalize("NFC", str(path)).casefold()
    above = [str(parent) for parent in PurePosixPath(plain).parents]
    if any(kinds.get(parent) == "file" for parent in above) or (
        plain in kinds and not (member.isdir() and kinds[plain] == "folder")
    ):
        raise _refusal(archive, member, "its name, in this or another case, is taken")
    kinds.update(dict.fromkeys(above, "folder"))
    kinds[plain] = "folder" if member.isdir() else "file"
    return str(path)


def _refusal(archive: Path, member: tarfile.TarInfo, reason: str) -> UserError:
    """Return the error that names a member which will not be unpacked."""
    return UserError(
        f"{archive}: member {member.name[:200]!r} refused: {reason}; the archive is "
        "not that of the collection: delete it and check --mirror"
    )


class _Limit:
    """How much may come out of an archive: what fits, and what is plausible."""

    def __init__(self, archive: Path, into: Path) -> None:
        self._archive = archive
        self._free = shutil.disk_usage(into).free
        self._plausible = _MAX_RATIO * archive.stat().st_size + _CHUNK_BYTES
        self._num_members = 0

    def add(self, position: int, size: int) -> None:
        """Count a member that begins at a position, before any of it is written."""
        self._num_members += 1
        num_bytes = position + size
        if num_bytes > self._plausible or self._num_members > _MAX_MEMBERS:
            raise UserError(
                f"{self._archive}: holds {format_bytes(num_bytes)} or more in "
                f"{self._num_members} files or more, which no archive of this size "
                "with images does; delete it and check --mirror"
            )
        if num_bytes > self._free:
            raise UserError(
                f"{self._archive}: unpacking needs {format_bytes(num_bytes)} or "
                f"more, but the disk has {format_bytes(self._free)} free; free some "
                "space, or choose another disk with --to"
            )


def _write_record(folder: Path, archive: Path, sizes: dict[str, int]) -> None:
    """Write what a complete folder holds."""
    record = {"archive": archive.name, "num_files": len(sizes), "files": sizes}
    write_whole(folder / RECORD, json.dumps(record, indent=1, sort_keys=True))


def _read_record(folder: Path) -> dict[str, int] | None:
    """Return the size of every file by name, None without a sound record."""
    try:
        sizes = json.loads((folder / RECORD).read_bytes())["files"]
        return {str(name): int(size) for name, size in sizes.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _move(source: Path, folder: Path, names: list[str]) -> None:
    """Give unpacked files their place: all at once or, into an old folder, singly."""
    if not folder.exists():
        source.replace(folder)
        synchronize(folder.parent)
        return
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(folder / name)
