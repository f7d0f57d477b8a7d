"""The folder next to an output in which it is made; interrupted work resumes."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from continual_repmode.errors import UserError
from continual_repmode.files import write_whole
from continual_repmode.processes import let_go

FOLDER = ".predicting"
"""Beside the outputs; it goes when the last of them is done."""


class WorkFolder:
    """Intermediate volumes of one output, and notes on which of them are whole.

    ``root``: the folder of all outputs, at or above that of ``output``.
    """

    def __init__(self, output: Path, root: Path) -> None:
        self._root = root / FOLDER
        self.path = self._root / output.relative_to(root)

    @property
    def provenance(self) -> dict[str, Any] | None:
        """How the work in it was begun; None if there is none."""
        return self.note("recipe")

    @property
    def num_bytes(self) -> int:
        """The room that it takes on the disk."""
        files = (path.stat() for path in self.path.rglob("*") if path.is_file())
        return sum(512 * getattr(s, "st_blocks", s.st_size // 512) for s in files)

    @contextmanager
    def held(self, provenance: Mapping[str, Any]) -> Iterator[None]:
        """Hold the folder: empty, or as a call of the same provenance left it.

        Raises UserError if it is in use by another process.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            with suppress(OSError):
                self.path.rmdir()  # the other process had just removed it
            self._remove_empty()
            raise UserError(
                f"{self.path}: in use by another process; wait for it to end"
            ) from None
        try:
            if self.provenance != provenance:
                shutil.rmtree(self.path, ignore_errors=True)
                self.write_note("recipe", provenance)
            yield
        finally:
            let_go(lock)
            self._remove_empty()

    def note(self, name: str) -> dict[str, Any] | None:
        """Return a note, or None if it is missing or damaged."""
        try:
            content = json.loads((self.path / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def write_note(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a note, all at once."""
        write_whole(self.path / f"{name}.json", json.dumps(content))

    def remove(self) -> None:
        """Remove the folder, and those above it that hold nothing else."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._remove_empty()

    def forget(self) -> None:
        """Remove the folder if there is one that no process is at."""
        if not self.path.parent.is_dir():
            return
        lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=0)
        with suppress(Timeout):
            lock.acquire()
            shutil.rmtree(self.path, ignore_errors=True)
            let_go(lock)
            self._remove_empty()

    def _remove_empty(self) -> None:
        """Remove the folders above this one as far as they are empty."""
        with suppress(OSError):
            for folder in self.path.parents:
                folder.rmdir()
                if folder == self._root:
                    break
