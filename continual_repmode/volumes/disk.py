"""How much fits on a disk."""

import shutil
from pathlib import Path

from continual_repmode.errors import UserError


def check_free(folder: Path, num_bytes: float, what: str, option: str) -> None:
    """Raise if the disk has no room for this many bytes more.

    Parameters
    ----------
    folder : Path
        Where they would go; it need not exist yet.
    num_bytes : float
    what : str
        What needs the room, for the message.
    option : str
        By which another folder is chosen, for the message.

    Raises
    ------
    UserError
        Saying how much is needed and how much is free.
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
