"""Stacks of one plane per file, named by a pattern: ``well_{channel}_z{z}.tif``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.choices import Choices, channel_index
from continual_repmode.volumes.formats.plane_pattern import plane_files
from continual_repmode.volumes.volume import (
    VolumeHeader,
    VolumeReader,
    volume_shape,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneStack(VolumeHeader):
    """Files of one plane as a :class:`~continual_repmode.volumes.volume.VolumeReader`.

    ``{z}`` stands for a number, ``{channel}`` for a name; each may be in a folder's
    name, too. Opening reads the header of one plane; the others are compared with it
    when they are read.
    """

    files: tuple[Path, ...]
    _planes: tuple[tuple[Path, ...], ...] = field(repr=False)
    """Of each channel; of one for all where a file holds several channels."""
    _choices: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def open(cls, path: Path, choices: Choices | None = None) -> Self:
        """Find the planes of a pattern and read the header of the first.

        Raises UserError if nothing matches, planes are missing, or a file holds a stack
            itself.
        """
        found = plane_files(path)
        if not found:
            raise UserError(
                f"{path}: no file is named so; {{z}} stands for a number, {{channel}} "
                "for any text"
            )
        first_name, first = next(iter(found.items()))
        _check_planes(path, found)
        plane = _open_plane(next(iter(first.values())), choices or {})
        several = len(plane.channel_names)
        if several > 1 and first_name:
            raise UserError(
                f"{plane.path}: holds {several} channels; leave {{channel}} out of the "
                "pattern, or save one channel per file"
            )
        names = tuple(found) if first_name else plane.channel_names
        _, y, x = volume_shape(plane)
        shape = (len(names), len(first), y, x)
        kept = "CZYX" if len(names) > 1 else "ZYX"
        return cls(
            path=path,
            files=tuple(file for planes in found.values() for file in planes.values()),
            chosen=plane.chosen,
            axes=kept,
            shape=shape[-len(kept) :],
            dtype=plane.dtype,
            channel_names=names,
            voxel_size_um=plane.voxel_size_um,
            _planes=tuple(tuple(planes.values()) for planes in found.values()),
            _choices=tuple((choices or {}).items()),
        )

    def read_channel(
        self, channel: int | str, planes: slice = slice(None)
    ) -> NDArray[Any]:
        """Read one channel as (Z, Y, X), file by file.

        Raises UserError if a plane is damaged, or differs from the first in size or
            type.
        """
        index = channel_index(self, channel)
        split = len(self._planes) > 1 or len(self.channel_names) == 1
        files = self._planes[index if split else 0]
        _, y, x = volume_shape(self)
        wanted = range(*planes.indices(len(files)))
        stack = np.empty((len(wanted), y, x), self.dtype)
        for position, z in enumerate(wanted):
            plane = _open_plane(files[z], dict(self._choices))
            if (volume_shape(plane)[1:], plane.dtype) != ((y, x), self.dtype):
                raise UserError(
                    f"{plane.path}: {plane.dtype} pixels, (y, x) "
                    f"{volume_shape(plane)[1:]}; the first plane of the stack has "
                    f"{self.dtype}, {(y, x)}"
                )
            stack[position] = plane.read_channel(0 if split else index)[0]
        return stack


def _open_plane(file: Path, choices: Choices) -> VolumeReader:
    from continual_repmode.volumes.opening import open_volume

    plane = open_volume(file, choices)
    if volume_shape(plane)[0] != 1:
        raise UserError(
            f"{file}: holds {volume_shape(plane)[0]} planes; {{z}} is for files of one "
            "plane, so give the file itself"
        )
    return plane


def _check_planes(path: Path, found: Mapping[str, Mapping[int, Path]]) -> None:
    """Raise if planes are missing: numbers must go on in equal steps."""
    first = [*next(iter(found.values()))]
    for channel, planes in found.items():
        if [*planes] != first:
            odd = min(set(first) ^ set(planes))
            raise UserError(
                f"{path}: plane {odd} is not there in every channel ({channel} and "
                f"{next(iter(found))} differ); complete them"
            )
    step = first[1] - first[0] if len(first) > 1 else 1
    for one, other in pairwise(first):
        if other - one != step:
            raise UserError(
                f"{path}: planes {one} and {other} follow each other, others are "
                f"{step} apart; complete the stack"
            )
