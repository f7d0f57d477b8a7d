"""Prepared volumes on disk, found again by the content of what they were made from.

Every prepared channel is one ``.npy`` array and a ``.json`` sidecar, written last.
Their name is a hash of everything that decides the voxels: the bytes of the source
files, the channel and the crop, and the preparation. So a changed source or option can
only miss; it never meets a stale entry.
"""

import hashlib
import json
import math
import mmap
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.files import failure_told, replacing, sha256_of, write_whole
from continual_repmode.processes import let_go
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.volume import VolumeReader

STORE_VERSION = 2
"""Counts up whenever the same name would stand for other voxels."""

REMEDY = (
    "free some space, or choose another folder with data.cache_dir (--cache-dir DIR)"
)
"""What helps where prepared volumes cannot be stored."""

_SETTLED_S = 2.0
"""A file changed more recently than this could change again within one tick of its time
stamp, unnoticed; its hash is not remembered yet."""


class EntryBusyError(Exception):
    """Another process is making this entry at the moment."""


@dataclass(frozen=True, slots=True)
class PreparedArray:
    """A prepared channel on disk."""

    #: A ``.npy`` file.
    path: Path
    #: (Z, Y, X) on the model grid.
    shape: tuple[int, int, int]
    #: ``float16`` or ``float32``.
    dtype: str
    #: Where the voxels begin in the file.
    offset: int
    #: Undoes the z-score.
    intensity: Intensity
    #: Share of the raw voxels, 0 to 1, where nothing was recorded.
    hidden: float = 0.0

    def open(self) -> NDArray[np.floating]:
        """Map the array into memory, read-only.

        A map is made afresh on every call, because the pages of one that is kept count
        as memory of the process until it is closed.

        Raises UserError if the file has gone.
        """
        try:
            with self.path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            voxels = np.frombuffer(
                mapped, self.dtype, count=math.prod(self.shape), offset=self.offset
            )
            return voxels.reshape(self.shape)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path}: prepared volume is gone or cut short ({error}); "
                "run the command again to prepare it"
            ) from error


@dataclass(frozen=True, slots=True)
class PreparedStore:
    """A folder of prepared channels, shared by any number of processes."""

    folder: Path

    def content_hash(self, volume: VolumeReader) -> str:
        """Return the SHA-256 over the bytes of all files of a volume.

        It is remembered together with size, inode and times of the files and computed
        again when any of these differ. The time of the last status change is among
        them, which no program can set, so not even a restored modification time hides
        a change.

        Raises UserError if a file cannot be read, or changes while it is read.
        """
        try:
            identity = _identity(volume)
            known = self.known_content_hash(volume)
            if known is not None:
                return known
            digest = hashlib.sha256()
            for path in volume.files:
                within = os.path.relpath(path, volume.path)
                digest.update(os.fsencode(f"{within} {sha256_of(path)}\n"))
            if _identity(volume) != identity:
                raise UserError(
                    f"{volume.path}: changed while it was read; is it still being "
                    "written? Try again when it is complete"
                )
        except OSError as error:
            raise UserError(f"{volume.path}: cannot be read ({error})") from error
        if time.time() - identity["changed_s"] > _SETTLED_S:
            note = {"identity": identity, "sha256": digest.hexdigest()}
            self._write_json(self._hash_path(volume), note)
        return digest.hexdigest()

    def known_content_hash(self, volume: VolumeReader) -> str | None:
        """Return the remembered hash, or None if it would have to be computed."""
        note = _read_json(self._hash_path(volume))
        if note is None or note.get("identity") != _identity(volume):
            return None
        return str(note["sha256"])

    def find(self, recipe: Mapping[str, Any]) -> PreparedArray | None:
        """Return the prepared channel of a recipe, or None if it is not there whole.

        ``recipe``: everything that decides the voxels, as plain values.
        """
        sidecar = self._entry(recipe, ".json")
        note = _read_json(sidecar)
        if note is None:
            return None
        path = sidecar.with_suffix(".npy")
        try:
            z, y, x = note["shape"]
            dtype, offset = note["dtype"], note["offset"]
            num_bytes = z * y * x * np.dtype(dtype).itemsize
            if path.stat().st_size != offset + num_bytes:
                return None
            intensity, hidden = Intensity(**note["intensity"]), float(note["hidden"])
        except (OSError, LookupError, ValueError, TypeError):
            return None
        return PreparedArray(path, (z, y, x), dtype, offset, intensity, hidden)

    def save(
        self,
        recipe: Mapping[str, Any],
        array: NDArray[np.floating],
        intensity: Intensity,
        source: str,
        hidden: float = 0.0,
    ) -> PreparedArray:
        """Write a prepared channel: first the voxels, then the sidecar.

        ``array``: (Z, Y, X).
        ``source``: file and channel, for people who read the sidecar.
        Raises UserError if the folder cannot be written to or the disk is full.
        """
        array = np.ascontiguousarray(array)
        path = self._entry(recipe, ".npy")
        with (
            replacing(path, num_bytes=array.nbytes, remedy=REMEDY) as temporary,
            temporary.open("wb") as file,
        ):
            np.save(file, array, allow_pickle=False)
            num_bytes = file.tell()
        note = {
            "version": STORE_VERSION,
            "source": source,
            "recipe": dict(recipe),
            "shape": list(array.shape),
            "dtype": array.dtype.name,
            "offset": num_bytes - array.nbytes,
            "intensity": asdict(intensity),
            "hidden": hidden,
        }
        self._write_json(path.with_suffix(".json"), note)
        z, y, x = array.shape
        offset = num_bytes - array.nbytes
        dtype = array.dtype.name
        return PreparedArray(path, (z, y, x), dtype, offset, intensity, hidden)

    def find_facts(self, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what was measured on raw voxels, or None."""
        note = _read_json(self._entry(recipe, ".facts.json"))
        return None if note is None else note["facts"]

    def save_facts(self, recipe: Mapping[str, Any], facts: dict[str, Any]) -> None:
        """Keep what was measured on raw voxels."""
        note = {"recipe": dict(recipe), "facts": facts}
        self._write_json(self._entry(recipe, ".facts.json"), note)

    @contextmanager
    def claim(self, recipe: Mapping[str, Any], wait: bool) -> Iterator[None]:
        """Keep other processes from making the same entry in this block.

        The operating system gives the claim back if the process is killed.

        Raises EntryBusyError if another process has it and ``wait`` is false.
        """
        path = self._entry(recipe, ".lock")
        lock = FileLock(path, timeout=-1 if wait else 0)
        with failure_told(path, remedy=REMEDY):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise EntryBusyError from error
        try:
            yield
        finally:
            let_go(lock)

    def _entry(self, recipe: Mapping[str, Any], suffix: str) -> Path:
        text = json.dumps({"version": STORE_VERSION, **recipe}, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        return self.folder / key[:2] / (key + suffix)

    def _hash_path(self, volume: VolumeReader) -> Path:
        where = f"{volume.path.absolute()} {volume.chosen}"
        name = hashlib.sha256(os.fsencode(where)).hexdigest()[:32]
        return self.folder / "sources" / f"{name}.json"

    def _write_json(self, path: Path, content: dict[str, Any]) -> None:
        write_whole(path, json.dumps(content, indent=1), remedy=REMEDY)


def _identity(volume: VolumeReader) -> dict[str, Any]:
    """Return what changes whenever one of the files does, without reading them."""
    stats = [path.stat() for path in volume.files]
    listed = [
        (str(path), s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns)
        for path, s in zip(volume.files, stats, strict=True)
    ]
    return {
        "files": hashlib.sha256(repr(listed).encode()).hexdigest(),
        "changed_s": max(max(s.st_mtime, s.st_ctime) for s in stats),
    }


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return a note of the store, or None if it is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
