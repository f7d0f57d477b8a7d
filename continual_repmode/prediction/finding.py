"""Which images files, folders and patterns mean, and what their outputs are called."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from unicodedata import normalize

from continual_repmode.errors import UserError
from continual_repmode.paths import (
    is_there,
    names_in,
    not_there,
    source_of,
    user_path,
)
from continual_repmode.prediction.plates import fields_of, place_in_plate
from continual_repmode.volumes.formats import FOLDER_SUFFIX, plain_stem, readable
from continual_repmode.volumes.formats.plane_pattern import is_pattern

_ZARR_METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


@dataclass(frozen=True, slots=True)
class Found:
    """An image file, or the folder of an OME-Zarr."""

    path: Path
    #: Of its output, without suffix; with the folders below the one that was given.
    name: str
    #: Its place in a plate of that name, such as ``A/1/0``; empty outside plates.
    field: str = ""


def find_files(
    inputs: Sequence[str | Path], leave_out: Path
) -> tuple[list[Found], list[Path]]:
    """Return the image files and the manifests that some inputs mean.

    ``inputs``: files, OME-Zarr folders, folders of images, manifests (``.csv``), or
        patterns with ``*``, ``?``, ``[...]`` and ``**``.
    ``leave_out``: a folder in which nothing is looked for.
    Raises UserError if an input matches no files.
    """
    images: list[Found] = []
    manifests: list[Path] = []
    for given in inputs:
        for path in _matching(given):
            if is_zarr(path):
                images += _images_in(path)
            elif path.is_dir():
                images += _images_below(path, leave_out)
            elif path.suffix.lower() == ".csv":
                manifests.append(path)
            else:
                images.append(Found(path, plain_stem(path)))
    return images, manifests


def is_zarr(path: Path) -> bool:
    """Return whether a folder is one image rather than a folder of images."""
    return path.is_dir() and (
        path.suffix.lower() == FOLDER_SUFFIX
        or any((path / name).is_file() for name in _ZARR_METADATA)
    )


def _matching(given: str | Path) -> list[Path]:
    """Return the path itself, or what it matches as a pattern."""
    path = user_path(given)
    if is_there(path) or is_pattern(path):
        return [path]
    matches = [Path(path.anchor)]
    for part in path.parts[bool(path.anchor) :]:
        matches = [match for folder in matches for match in _named_so(folder, part)]
    found = sorted({match for match in matches if is_there(match)})
    if not found:
        raise UserError(f"{given}: {not_there(path)}, and nothing matches it")
    return found


def _named_so(folder: Path, part: str) -> list[Path]:
    """Return what a part of a pattern means in a folder.

    A name that is there means itself. Brackets are of the name where nothing matches
    them as a choice of characters; accents match in both forms of Unicode.
    """
    if os.path.lexists(folder / part) or part == "..":
        return [folder / part]
    if part == "**":
        return [folder, *_folders_below(folder)]
    names = [n for n in names_in(folder) if part.startswith(".") or n[0] != "."]
    for pattern in (part, part.replace("[", "[[]")):
        wanted = normalize("NFC", pattern)
        if found := [n for n in names if fnmatch(normalize("NFC", n), wanted)]:
            return [folder / name for name in found]
    return []


def _folders_below(folder: Path) -> Iterator[Path]:
    for parent, folders, _ in _walk_links(folder):
        yield from (parent / name for name in folders)


def _images_in(zarr: Path, parent: Path = Path()) -> list[Found]:
    """Return an OME-Zarr image, or the fields of a plate or of a part of one."""
    found = []
    for image in fields_of(zarr):
        plate, field = place_in_plate(image) or (image, "")
        found.append(Found(image, (parent / plain_stem(plate)).as_posix(), field))
    return found


def _images_below(folder: Path, leave_out: Path) -> list[Found]:
    """Return all images below a folder, sorted; raises if there is none."""
    found = []
    for path in _walk(folder, leave_out):
        parent = path.parent.relative_to(folder)
        if path.is_dir():
            found += _images_in(path, parent)
        else:
            found.append(Found(path, (parent / plain_stem(path)).as_posix()))
    if not found:
        raise UserError(
            f"{folder}: holds no images; looked for OME-Zarr and "
            f"{', '.join(readable())}"
        )
    return found


def _walk(folder: Path, leave_out: Path) -> Iterator[Path]:
    hidden_from = source_of(leave_out)
    for here, folders, files in _walk_links(folder):
        inside = [here / name for name in folders]
        zarrs = [path for path in inside if is_zarr(path)]
        yield from zarrs
        folders[:] = [
            path.name
            for path in inside
            if path not in zarrs and source_of(path) != hidden_from
        ]
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(readable()):
                yield here / name


def _walk_links(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk as ``os.walk`` does, also along links to folders, but never in a circle.

    Hidden folders are left out; what the caller takes from the list is, too.
    """
    for parent, folders, files in os.walk(folder, followlinks=True):
        here = Path(parent)
        above = {source_of(place) for place in (here, *here.absolute().parents)}
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and source_of(here / name) not in above
        ]
        yield here, folders, files
