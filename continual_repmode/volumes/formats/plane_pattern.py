"""Names of the files of a stack: ``well_{channel}_z{z}.tif``."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from continual_repmode.errors import UserError
from continual_repmode.paths import is_there, names_in

_PARTS = {"z": r"(?P<z>\d+)", "channel": r"(?P<channel>.+?)"}
_PLACE = re.compile(r"\{(z|channel)\}")
_NAMED = re.compile(r"[_\-. ]*[a-zA-Z]*\{(?:z|channel)\}")


def is_pattern(path: Path) -> bool:
    """Return whether a path stands for the planes of a stack: it has ``{z}``."""
    return "{z}" in str(path) and not is_there(path)


def stack_name(name: str) -> str:
    """Return what a stack is called: its pattern without what differs.

    >>> stack_name("B02_bf_z{z}")
    'B02_bf'
    """
    return _NAMED.sub("", name).strip("_-. ") or "stack"


def plane_files(path: Path) -> dict[str, dict[int, Path]]:
    """Return the files of a pattern by channel and number of the plane, both sorted.

    Raises UserError if two files are the same plane: ``z1`` and ``z01``.
    """
    found: dict[str, dict[int, Path]] = {}
    for file, known in _matching(
        Path(path.anchor), path.parts[bool(path.anchor) :], {}
    ):
        planes = found.setdefault(known.get("channel", ""), {})
        number = int(known["z"])
        if number in planes:
            raise UserError(
                f"{path}: {planes[number].name} and {file.name} are both plane "
                f"{number}; keep one"
            )
        planes[number] = file
    return {
        channel: dict(sorted(planes.items()))
        for channel, planes in sorted(found.items(), key=lambda one: _natural(one[0]))
    }


def _matching(
    folder: Path, parts: Sequence[str], known: Mapping[str, str]
) -> list[tuple[Path, dict[str, str]]]:
    """Return the files below a folder that fit the parts of a pattern."""
    if not parts:
        return [(folder, dict(known))]
    part, rest = parts[0], parts[1:]
    if not _PLACE.search(part):
        return _matching(folder / part, rest, known) if is_there(folder / part) else []
    pattern, said = "", dict(known)
    for text in re.split(r"(\{z\}|\{channel\})", part):
        place = text[1:-1] if _PLACE.fullmatch(text) else ""
        if not place:
            pattern += re.escape(text)
        elif f"(?P<{place}>" in pattern:
            pattern += f"(?P={place})"
        else:
            pattern += re.escape(said[place]) if place in said else _PARTS[place]
    found = []
    for name in names_in(folder):
        fits = re.fullmatch(pattern, name)
        if fits and (rest or not (folder / name).is_dir()):
            found += _matching(folder / name, rest, {**known, **fits.groupdict()})
    return found


def _natural(text: str) -> list[tuple[int, str]]:
    """Return what sorts c2 before c10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", text)
    ]
