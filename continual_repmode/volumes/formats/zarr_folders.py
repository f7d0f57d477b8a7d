"""Zarr folders that appear whole or not at all."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from continual_repmode.errors import UserError


def check_replaceable(path: Path) -> None:
    """Raise if there is something at ``path`` that is no Zarr folder."""
    if path.exists() and not any(
        (path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")
    ):
        raise UserError(f"{path}: exists and is no Zarr folder; choose another name")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` that takes its name when the block ends.

    What was there is moved aside first and removed last, and only if it is Zarr.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        temporary.mkdir()
        yield temporary
        put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(folder: Path, path: Path) -> None:
    """Give a folder the name ``path``; what was there goes once that is done."""
    old = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.old{path.suffix}")
    try:
        if path.exists():
            path.rename(old)
        folder.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)
