"""What a user means by a path: one reading for all commands, files and functions."""

import os
import re
import sys
import unicodedata
from pathlib import Path

from continual_repmode.errors import UserError

_MAX_SHOWN = 300
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_NO_FILE = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[. ]$')
LONGEST_ON_WINDOWS = 259
"""Characters of a path, where long ones are not switched on."""


def user_path(given: str | os.PathLike[str], below: Path | None = None) -> Path:
    """Return the path that a user means.

    ``~`` is the home folder. Symbolic links keep their own name: what lies beside a
    link belongs to it, wherever it leads. A name with accents is also found if the disk
    has it in the other form of Unicode (composed or decomposed). Nothing else in a
    path has a meaning, brackets and quotes included. A path that was returned means
    itself.

    ``given``: an existing file or folder, or one to be made.
    ``below``: what a relative path is relative to; the current folder by default.
    Raises UserError if it is empty, or nothing can be there: a name is too long, for
        instance.
    """
    text = os.fspath(given)
    if not text or "\0" in text:
        raise UserError(f"{text!r:.{_MAX_SHOWN}}: no path; name a file or a folder")
    path = _expanded(Path(text)) if text.startswith("~") else Path(text)
    if sys.platform == "win32":  # it would leave out dots at the end without a word
        for part in path.parts[bool(path.anchor) :]:
            if part not in (".", ".."):
                check_file_name(part, f"{path}:")
    if below is not None:
        path = below / path
    elif path.parts and _expanded(path) != path:  # from ./~, say
        path = path.absolute()
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return as_on_disk(path)
    except OSError as error:
        raise UserError(
            f"{path!s:.{_MAX_SHOWN}}: cannot be used ({error.strerror}); choose "
            "another path"
        ) from error
    return path


def check_file_name(name: str, what: str) -> str:
    """Return ``name`` if a file can be called so on every system.

    Raises UserError if it is empty, has a character that a file system refuses, ends
        with a dot or a space, or names a device of Windows.
    """
    if not name or _NO_FILE.search(name) or _DEVICES.fullmatch(name):
        raise UserError(
            f"{what} {name!r}: no file can be called so on Windows; choose another name"
        )
    return name


def is_there(path: Path) -> bool:
    """Return whether a path leads to a file or folder."""
    try:
        return path.exists()
    except OSError:  # part of it may not be looked at
        return False


def not_there(path: Path) -> str:
    """Return in words why a path leads to no file."""
    try:
        for place in (*reversed(path.parents), path):
            if place.is_symlink() and not is_there(place):
                return (
                    f"no such file: {place.name} is a link to {place.readlink()}, "
                    "which is not there; fetch it (git annex get, dvc pull, ...)"
                )
        return "is a folder" if path.is_dir() else "no such file"
    except OSError as error:
        return f"no such file ({error.strerror})"


def unicode_path(given: str | os.PathLike[str]) -> Path:
    """Return a path as :func:`user_path` does, for files that other libraries open.

    Raises UserError: as there; or if a name in it is not UTF-8.
    """
    path = user_path(given)
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{path}: its name is not UTF-8, which models, run folders and exported "
            "files need; rename it"
        ) from error
    return path


def source_of(path: Path) -> str:
    """Return where a path leads: the same for all links to a file."""
    return os.path.realpath(path)


def place_of(path: Path) -> tuple[str, str]:
    """Return folder and own name: those of a link, whichever way leads to it."""
    return source_of(path.parent), path.name


def _expanded(path: Path) -> Path:
    """Return the path with its home folder in place of ``~`` or ``~user``."""
    try:
        return path.expanduser()
    except RuntimeError:  # no user of that name: ~$draft.csv, say
        return path


def as_on_disk(path: Path) -> Path:
    """Return a path in the form of Unicode in which the disk has its names.

    What is there as it is, or in no other form, stays.
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    here = Path(path.anchor)
    for part in path.parts[bool(path.anchor) :]:
        there = here / part
        if not part.isascii() and not os.path.lexists(there):
            wanted = unicodedata.normalize("NFC", part)
            same = [
                name
                for name in names_in(here)
                if unicodedata.normalize("NFC", name) == wanted
            ]
            there = here / same[0] if len(same) == 1 else there
        here = there
    return here


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none if it is none."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
