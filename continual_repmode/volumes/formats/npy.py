"""NumPy files, with a sidecar of the same name that says what the axes are."""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.choices import (
    Choices,
    channel_index,
    refuse_other_choices,
)
from continual_repmode.volumes.formats.damage import damage_named, read_json
from continual_repmode.volumes.volume import (
    UNKNOWN_UM,
    VOLUME_AXES,
    VolumeHeader,
    VoxelSize,
    check_size,
    volume_shape,
)

_FIELDS = ("axes", "channel_names", "voxel_size_um", "origin_um")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What ``NAME.json`` says about ``NAME.npy``."""

    #: One of ``VOLUME_AXES``.
    axes: str
    #: One per channel, or none at all.
    channel_names: tuple[str, ...] = ()
    #: Along (z, y, x), whatever the axes; None (null) where unknown.
    voxel_size_um: VoxelSize = UNKNOWN_UM
    #: Where the first voxel lies, likewise.
    origin_um: VoxelSize = UNKNOWN_UM

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a sidecar; a fault is named by its field."""
        found = read_json(path)
        if not isinstance(found, dict):
            raise UserError(f"{path}: no JSON object with {', '.join(_FIELDS)}")
        unknown = sorted(set(found) - set(_FIELDS))
        if unknown:
            raise UserError(
                f"{path}: unknown field {unknown[0]!r}; use {', '.join(_FIELDS)}"
            )
        axes = found.get("axes")
        if axes not in VOLUME_AXES:
            raise UserError(
                f"{path}: axes={axes!r:.50}; use one of {', '.join(VOLUME_AXES)}"
            )
        names = found.get("channel_names", [])
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise UserError(f"{path}: channel_names={names!r:.50}; use a list of names")
        size = found.get("voxel_size_um")
        if size is None:
            size = [None, None, None]
        if not isinstance(size, list) or len(size) != 3 or not all(map(_is_size, size)):
            raise UserError(
                f"{path}: voxel_size_um={size!r:.50}; use three positive numbers for "
                "z, y, x, or null where unknown"
            )
        origin = found.get("origin_um") or [None, None, None]
        if (
            not isinstance(origin, list)
            or len(origin) != 3
            or not all(at is None or type(at) in (int, float) for at in origin)
        ):
            raise UserError(
                f"{path}: origin_um={origin!r:.50}; use three numbers for z, y, x, or "
                "null where unknown"
            )
        return cls(axes, tuple(names), (size[0], size[1], size[2]), tuple(origin))

    def write(self, path: Path) -> None:
        """Write the JSON file."""
        content = {
            "axes": self.axes,
            "channel_names": list(self.channel_names),
            "voxel_size_um": list(self.voxel_size_um),
        }
        if self.origin_um != UNKNOWN_UM:
            content["origin_um"] = list(self.origin_um)
        text = json.dumps(content, indent=2) + "\n"
        path.write_text(text, encoding="utf-8", newline="\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class NpyVolume(VolumeHeader):
    """A NumPy file as a :class:`~continual_repmode.volumes.volume.VolumeReader`.

    Without a sidecar, ``NAME.json`` next to ``NAME.npy``, an array of three axes is
    ZYX and one of two is YX, of unknown voxel size.
    """

    files: tuple[Path, ...]
    origin_um: VoxelSize

    @classmethod
    def open(cls, path: Path, choices: Choices | None = None) -> Self:
        """Read the header of ``path`` and its sidecar.

        Raises UserError if either is damaged, they disagree, or a sidecar is needed.
        """
        refuse_other_choices(path, choices or {}, ())
        shape, dtype, num_bytes = _header(path)
        size = path.stat().st_size
        if size != num_bytes:
            raise UserError(
                f"{path}: an array of {shape} {dtype} takes {num_bytes} bytes, but the "
                f"file has {size}; it is damaged or incomplete"
            )
        sidecar_path = path.with_suffix(".json")
        files: tuple[Path, ...] = (path,)
        if sidecar_path.exists():
            sidecar = Sidecar.read(sidecar_path)
            files = (path, sidecar_path)
        elif len(shape) in (2, 3):
            sidecar = Sidecar("ZYX"[-len(shape) :])
        else:
            raise UserError(
                f"{path}: an array of {len(shape)} axes {shape}; write next to it "
                f'{sidecar_path.name} with {{"axes": "CZYX", "channel_names": [...], '
                '"voxel_size_um": [z, y, x]}'
            )
        if len(sidecar.axes) != len(shape):
            raise UserError(
                f"{sidecar_path}: axes={sidecar.axes!r} for an array of {len(shape)} "
                f"axes {shape}"
            )
        num_channels = shape[sidecar.axes.index("C")] if "C" in sidecar.axes else 1
        if len(sidecar.channel_names) not in (0, num_channels):
            raise UserError(
                f"{sidecar_path}: channel_names: {len(sidecar.channel_names)} names "
                f"for {num_channels} channels"
            )
        volume = cls(
            path=path,
            files=files,
            axes=sidecar.axes,
            shape=shape,
            dtype=dtype.newbyteorder("="),
            channel_names=sidecar.channel_names or ("",) * num_channels,
            voxel_size_um=sidecar.voxel_size_um,
            origin_um=sidecar.origin_um,
        )
        check_size(path, volume_shape(volume), dtype, size)
        return volume

    def read_channel(
        self, channel: int | str, planes: slice = slice(None)
    ) -> NDArray[Any]:
        """Read one channel as (Z, Y, X) through a memory map."""
        selection: dict[str, int | slice] = {
            "C": channel_index(self, channel),
            "Z": planes,
        }
        with damage_named(self.path, "damaged pixel data"):
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            if array.shape != self.shape:
                raise UserError(f"{self.path}: has changed since it was opened")
            stack = array[tuple(selection[axis] for axis in self.axes[:-2])]
            if "Z" not in self.axes:
                stack = stack[None][planes]
            return np.array(stack, self.dtype, order="C")


def _is_size(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return number is None
    return 0 < number < math.inf


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, type and what the file must have of bytes, from its header."""
    with damage_named(path, "not a readable NumPy file"), path.open("rb") as file:
        if npy_format.read_magic(file) == (1, 0):
            shape, _, dtype = npy_format.read_array_header_1_0(file)
        else:
            start = file.tell()
            (length,) = struct.unpack("<I", file.read(4))
            if start + length > path.stat().st_size:  # memory would be taken for it
                raise UserError(f"{path}: its header is incomplete")
            file.seek(start)
            shape, _, dtype = npy_format.read_array_header_2_0(file)
        if dtype.kind not in "buif":
            raise UserError(
                f"{path}: pixels of type {dtype}; save them as integers or floats"
            )
        if not shape or min(shape) < 1:
            raise UserError(f"{path}: an array of shape {shape} is not an image")
        return shape, dtype, file.tell() + math.prod(shape) * dtype.itemsize
