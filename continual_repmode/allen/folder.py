"""A folder that the collection is downloaded into: what is there, and what is left."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.request import OpenerDirector

from filelock import FileLock, Timeout

from continual_repmode.allen.archive import has_record, missing_files, unpack
from continual_repmode.allen.archive_stream import DamagedArchiveError
from continual_repmode.allen.catalog import Dataset
from continual_repmode.allen.download import Part, Patience, receive
from continual_repmode.allen.web import remote_size
from continual_repmode.errors import UserError
from continual_repmode.files import format_bytes, write_whole
from continual_repmode.paths import user_path
from continual_repmode.processes import let_go
from continual_repmode.volumes.formats import readable
from continual_repmode.volumes.progress import byte_bar

UNPACKED_RATIO = 2.0
"""Unpacked bytes per packed one, roughly: Poisson noise of 400 counts packs so well."""

State = Literal["complete", "found", "damaged", "packed", "begun", "absent"]


@dataclass(frozen=True, slots=True)
class Step:
    """What is left to do for one data set."""

    dataset: Dataset
    #: Size of the archive; None if the server does not report it.
    archive_bytes: int | None
    #: How much of it has arrived.
    here_bytes: int


class AllenFolder:
    """The data folder: one folder per data set, archives, checksums, a manifest.

    ``path``: made when something is downloaded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = user_path(path)
        self._checksums = Checksums(self.path)

    def images(self, dataset: Dataset) -> list[str]:
        """Return the names of a data set's images below its folder, sorted."""
        folder = self.path / dataset.name
        return sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix.lower() in readable()
            and not path.name.startswith(".")
            and path.is_file()
        )

    def state(self, dataset: Dataset) -> State:
        """Return how far a data set is.

        ``complete``: unpacked here, every file in full size. ``found``: unpacked by
        other means, as many images as the paper used. ``damaged``: unpacked, but files
        are missing. ``packed``: the archive is there, ``begun``: a part of it.
        """
        folder, archive = self.path / dataset.name, self.path / dataset.archive
        if has_record(folder):
            return "damaged" if missing_files(folder) else "complete"
        if folder.exists():
            whole = len(self.images(dataset)) == dataset.num_images
            return "found" if whole else "damaged"
        if archive.exists():
            return "packed"
        return "begun" if Part(archive).num_bytes else "absent"

    def plan(
        self, datasets: Sequence[Dataset], base_url: str, opener: OpenerDirector
    ) -> list[Step]:
        """Return what is left to do, having asked the server for sizes.

        Raises UserError if the server lacks an archive, or something else is in the
            way.
        """
        steps = []
        for dataset in datasets:
            state = self.state(dataset)
            if state in {"complete", "found"}:
                continue
            folder, archive = self.path / dataset.name, self.path / dataset.archive
            if folder.exists() and not has_record(folder):
                raise UserError(
                    f"{folder}: is there already, with {len(self.images(dataset))} "
                    f"images instead of {dataset.num_images}, and was not unpacked by "
                    "this command; complete it, or move it away to download it"
                )
            if archive.exists():
                size: int | None = self._archive_size(archive, base_url, opener)
                steps.append(Step(dataset, size, size or 0))
            else:
                size = remote_size(opener, base_url + dataset.archive)
                steps.append(Step(dataset, size, Part(archive).num_bytes))
        return steps

    def carry_out(
        self,
        step: Step,
        base_url: str,
        opener: OpenerDirector,
        patience: Patience | None = None,
    ) -> None:
        """Download what is missing of one archive, check and unpack it.

        Raises UserError if that fails. What has arrived stays, and nothing else is
            left.
        """
        archive = self.path / step.dataset.archive
        url = base_url + archive.name
        self.path.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            part = Part(archive)
            receive(url, part, opener, patience)
            self._checksums.check(part.data, sha256_of(part.data), url)
            part.finish(archive)
        else:
            Part(archive).discard()  # what a process killed at the very end has left
            if self._checksums.digest(archive.name) is None:
                self._checksums.check(archive, sha256_of(archive), "found here")
        try:
            digest = self._checksums.digest(archive.name)
            unpack(archive, self.path / step.dataset.name, digest)
        except DamagedArchiveError as error:
            aside = self._set_aside(archive)
            raise UserError(
                f"{error}; it is now called {aside.name}: give the same command again "
                "to download it again"
            ) from error

    def delete_archive(self, dataset: Dataset) -> None:
        """Delete the archive of a data set that is completely unpacked."""
        if self.state(dataset) == "complete":
            (self.path / dataset.archive).unlink(missing_ok=True)

    def _archive_size(
        self, archive: Path, base_url: str, opener: OpenerDirector
    ) -> int:
        """Return the size of an archive that is there, if it can be the whole one."""
        size = archive.stat().st_size
        whole = self._checksums.size(archive.name)
        if whole is None:
            whole = remote_size(opener, base_url + archive.name)
        if whole not in {None, size}:
            raise UserError(
                f"{archive}: has {size} bytes instead of {whole}; delete it, or move "
                "it away, to download it"
            )
        return size

    def _set_aside(self, archive: Path) -> Path:
        """Rename a damaged archive; forget its checksum if it came damaged."""
        if sha256_of(archive) == self._checksums.digest(archive.name):
            self._checksums.forget(archive.name)
        return archive.replace(archive.with_name(f"{archive.name}.damaged"))


def disk_need(steps: Sequence[Step], *, keep_archives: bool) -> float:
    """Return about how many bytes more will be in use at once, at the most.

    Archives whose size is unknown are left out.
    """
    used = peak = 0.0
    for step in steps:
        size = step.archive_bytes or 0
        used += max(0, size - step.here_bytes) + UNPACKED_RATIO * size
        peak = max(peak, used)
        if not keep_archives:
            used -= size
    return peak


def describe_step(step: Step) -> str:
    """Return what will be done, for people."""
    size, here = step.archive_bytes, step.here_bytes
    if size is None:
        return "download (size unknown: the server does not report it) and unpack"
    if here >= size:
        return f"unpack {format_bytes(size)}"
    if here:
        return f"download the rest, {format_bytes(size - here)} of " + (
            f"{format_bytes(size)}, and unpack"
        )
    return f"download {format_bytes(size)} and unpack"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second download out of a folder; a killed process frees it.

    Raises UserError if one is running.
    """
    lock = FileLock(folder / ".download.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{folder}: another download into it is running; wait for it, or stop "
            "it first"
        ) from None
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror}); choose another "
            "folder with --to"
        ) from error
    try:
        yield
    finally:
        let_go(lock)


_CHUNK_BYTES = 1 << 22


class Checksums:
    """The file ``checksums.json`` of a data folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checksums.json"

    def size(self, name: str) -> int | None:
        """Return the size in bytes of an archive, None if it is not recorded."""
        entry = self._entries().get(name)
        return None if entry is None else int(entry["size"])

    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of an archive, None if it is not recorded."""
        entry = self._entries().get(name)
        return None if entry is None else str(entry["sha256"])

    def check(self, path: Path, digest: str, source: str) -> None:
        """Record an archive's SHA-256, or compare it with the recorded one.

        ``path``: the archive, or the part that is about to become it.
        Raises UserError if another one is recorded.
        """
        name = path.name.removesuffix(".part")
        entries = self._entries()
        known = self.digest(name)
        if known is not None and known != digest:
            raise UserError(
                f"{path}: its SHA-256 is {digest}, but that of the {name} downloaded "
                f"first was {known}: delete the file to download it again or, if the "
                f"new one is right, the entry {name!r} in {self.path}"
            )
        if known is None:
            size = path.stat().st_size
            self._write(
                {**entries, name: {"sha256": digest, "size": size, "source": source}}
            )

    def forget(self, name: str) -> None:
        """Drop what is recorded of an archive."""
        entries = self._entries()
        if entries.pop(name, None) is not None:
            self._write(entries)

    def _entries(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            entries = json.loads(self.path.read_bytes())
            for entry in entries.values():
                int(entry["size"]), str(entry["sha256"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise UserError(
                f"{self.path}: not the list of checksums that this command wrote; "
                "correct or delete it"
            ) from None
        return dict(entries)

    def _write(self, entries: dict[str, Any]) -> None:
        write_whole(self.path, json.dumps(entries, indent=1, sort_keys=True))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    bar = byte_bar(f"checksum of {path.name}", path.stat().st_size)
    with bar, path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            digest.update(data)
            bar.update(len(data))
    return digest.hexdigest()
