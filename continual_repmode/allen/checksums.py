"""The SHA-256 of every archive, as first downloaded.

The collection publishes none. The first download therefore decides: a later one that
differs is refused, and so is an archive that changed on the disk.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from continual_repmode.errors import UserError
from continual_repmode.files import write_whole
from continual_repmode.volumes.progress import byte_bar

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
