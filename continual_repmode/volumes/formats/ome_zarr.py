"""OME-Zarr 0.4 and 0.5: one image, time point and resolution of it as a volume."""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from operator import lt
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.choices import (
    Choices,
    channel_index,
    chosen_index,
    refuse_other_choices,
)
from continual_repmode.volumes.formats.bounded import bound
from continual_repmode.volumes.formats.damage import damage_named
from continual_repmode.volumes.formats.ngff import NgffImage, ZarrNode, field_of
from continual_repmode.volumes.volume import (
    VOLUME_AXES,
    VolumeHeader,
    VoxelSize,
    check_size,
    volume_shape,
)

_log = logging.getLogger(__name__)

_MAX_CHUNKS = 2**20
_CHUNK = re.compile(r"(?:c[/.])?(\d+(?:[/.]\d+)*)")
"""Path of a chunk file below its array: c/0/0/0, 0.0.0 or 0/0/0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrVolume(VolumeHeader):
    """An OME-Zarr image as a :class:`~continual_repmode.volumes.volume.VolumeReader`.

    By the Zarr standard a chunk without a file is filled with one value, and programs
    do leave out chunks of background. A channel without any chunk at all would be
    constant: that is taken for an incomplete copy and refused on reading.
    """

    origin_um: VoxelSize
    missing: str = field(compare=False)
    """How many chunk files are not there, for messages; "" if none is missing."""
    _array: Path = field(repr=False)
    _stored_axes: str = field(repr=False)
    _time: int = field(repr=False)
    _metadata_files: tuple[Path, ...] = field(repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The metadata, and all files of the resolution that was taken, sorted."""
        return tuple(sorted({*self._metadata_files, *_files_below(self._array)}))

    @classmethod
    def open(
        cls,
        path: Path,
        choices: Choices | None = None,
        voxel_size_um: Sequence[float] | None = None,
    ) -> Self:
        """Read the metadata of ``path``, an image or a collection of images.

        ``path``: the Zarr folder, or the folder of an image in it.
        ``choices``: ``scene``: which image of a collection in the layout of
            bioformats2raw, by index or name; ``time``: which of several time points;
            ``level``: which resolution, by index from the finest.
        ``voxel_size_um``: voxel size (z, y, x) wanted: without a ``level``, the
            coarsest one is taken that is at least as fine on every axis.
        Raises UserError if the metadata are damaged or of another version, or the
            choice is open.
        """
        choices = choices or {}
        refuse_other_choices(path, choices, ("scene", "time", "level"))
        node, image, chosen, metadata_files = _find_image(path, choices)
        level = image.level_for(voxel_size_um)
        if "level" in choices:
            levels = [folder.name for folder in image.levels]
            level = chosen_index(path, "level", levels, choices)
        folder = image.levels[level]
        array = _open_array(folder)
        axes = _kept_axes(node.folder, image, array.shape)
        lengths = dict(zip(image.axes, array.shape, strict=True))
        num_times = lengths.get("T", 1)
        single = lengths.get("Z", 1) == 1
        time = chosen_index(
            path, "time", [""] * num_times, choices, single_planes=single
        )
        if num_times > 1:
            chosen.append(("time", str(time)))
        if len(image.levels) > 1:
            chosen.append(("level", str(level)))
        num_channels = lengths.get("C", 1)
        names = [*image.channel_names, *[""] * num_channels][:num_channels]
        volume = cls(
            path=path,
            chosen=tuple(chosen),
            axes=axes,
            shape=tuple(lengths[axis] for axis in axes),
            dtype=array.dtype.newbyteorder("="),
            channel_names=tuple(names),
            voxel_size_um=image.voxel_sizes_um[level],
            origin_um=image.origins_um[level],
            missing=_missing_chunks(folder, array),
            _array=folder,
            _stored_axes=image.axes,
            _time=time,
            _metadata_files=metadata_files,
        )
        stored_bytes = sum(file.stat().st_size for file in _files_below(folder))
        for promised in (volume_shape(volume), _stored_chunk(array)):
            check_size(path, promised, volume.dtype, stored_bytes)
        if volume.missing:
            _warn_once(f"{path}: {volume.missing}")
        return volume

    def read_channel(
        self, channel: int | str, planes: slice = slice(None)
    ) -> NDArray[Any]:
        """Read one channel as (Z, Y, X) from the chunks that hold it."""
        num_z, *plane_shape = volume_shape(self)
        wanted = range(*planes.indices(num_z))
        if not wanted:
            return np.empty((0, *plane_shape), self.dtype)
        first, last = min(wanted), max(wanted)
        span = {
            "T": slice(self._time, self._time + 1),
            "Z": slice(first, last + 1),
        }
        index = channel_index(self, channel)
        span["C"] = slice(index, index + 1)
        with damage_named(self.path, f"damaged pixel data in {self._array.name}"):
            array = _open_array(self._array)
            selection = [
                slice(*span.get(axis, slice(None)).indices(length))
                for axis, length in zip(self._stored_axes, array.shape, strict=True)
            ]
            self._check_chunks(array, selection)
            stack = np.asarray(array[tuple(selection)])
        stack = stack.reshape(last - first + 1, *plane_shape)
        if wanted.step != 1:
            stack = stack[[plane - first for plane in wanted]]
        return stack.astype(self.dtype, copy=False)

    def _check_chunks(self, array: zarr.Array[Any], selection: list[slice]) -> None:
        """Raise if no file holds any of the pixels selected, nor others around them."""
        found, count = self._find_chunks(array, selection)
        if found:
            return
        whole = [
            part if axis in "TC" else slice(0, length)
            for axis, part, length in zip(
                self._stored_axes, selection, array.shape, strict=True
            )
        ]
        if whole != selection:  # what was selected may be background, left out
            found, count = self._find_chunks(array, whole)
        if not found:
            raise UserError(
                f"{self.path}: none of the {count} chunk files of this channel is in "
                f"{self._array.name}; the copy is incomplete"
            )

    def _find_chunks(
        self, array: zarr.Array[Any], selection: list[slice]
    ) -> tuple[bool, int]:
        """Return whether any chunk of a selection has a file, and their number."""
        ranges = [
            range(part.start // size, (part.stop - 1) // size + 1)
            for part, size in zip(selection, _stored_chunk(array), strict=True)
        ]
        count = math.prod(map(len, ranges))
        if count > _MAX_CHUNKS:
            raise UserError(
                f"{self.path}: {count} chunks for one channel; save it in larger ones"
            )
        keys = (array.metadata.encode_chunk_key(cell) for cell in product(*ranges))
        found = False
        for path in (self._array / key for key in keys):
            is_there = path.is_file()
            if not is_there and path.exists():  # a pipe would be waited for
                raise UserError(f"{self.path}: {path} is not a file")
            found |= is_there
        return found, count


def _missing_chunks(folder: Path, array: zarr.Array[Any]) -> str:
    """Say how many chunk files are not there; "" if all are, or none at all."""
    counts = [
        -(-length // max(size, 1))
        for length, size in zip(array.shape, _stored_chunk(array), strict=True)
    ]
    found, expected = 0, math.prod(counts)
    for file in folder.rglob("*"):
        if match := _CHUNK.fullmatch(file.relative_to(folder).as_posix()):
            cell = list(map(int, re.split("[/.]", match[1])))
            is_cell = len(cell) == len(counts) and all(map(lt, cell, counts))
            found += is_cell and not file.is_dir()
    if not 0 < found < expected:
        return ""
    return (
        f"{expected - found} of {expected} chunk files of its array {folder.name} are "
        f"missing, {1 - found / expected:.1%}, and count as {array.fill_value:g}: Zarr "
        "may leave out chunks that are nothing but its fill_value, and a copy that "
        "broke off looks the same"
    )


@cache
def _warn_once(text: str) -> None:
    _log.warning("%s", text)


def _find_image(
    path: Path, choices: Choices
) -> tuple[ZarrNode, NgffImage, list[tuple[str, str]], tuple[Path, ...]]:
    """Return the image asked for, what was chosen for it, and the files that told."""
    root = ZarrNode.read(path)
    if root.is_array:
        raise UserError(
            f"{path}: an array without metadata on axes and voxel size; give the "
            "folder of the OME-Zarr image above it, or save it as OME-Zarr"
        )
    for kind in ("plate", "well"):
        if kind in root.attributes:
            raise UserError(
                f"{path}: a {kind} of many images; give the path of one image in it, "
                "such as plate.zarr/A/1/0"
            )
    if "multiscales" in root.attributes:
        image = NgffImage.from_node(root)
        chosen_index(path, "scene", [image.name], choices)
        return root, image, [], root.files
    folders, files = _collection(root)
    nodes = [ZarrNode.read(folder) for folder in folders]
    if not nodes:
        inside = sorted(child.name for child in path.iterdir() if child.is_dir())
        raise UserError(
            f"{path}: no OME-Zarr image ('multiscales' is missing); give the path of "
            f"an image in it: {', '.join(inside[:20]) or 'it has no folders'}"
        )
    images = [NgffImage.from_node(node) for node in nodes]
    scene = chosen_index(path, "scene", [image.name for image in images], choices)
    chosen = [("scene", str(scene))] if len(nodes) > 1 else []
    return nodes[scene], images[scene], chosen, (*files, *nodes[scene].files)


def _collection(root: ZarrNode) -> tuple[list[Path], tuple[Path, ...]]:
    """Return the images of a collection as bioformats2raw writes it, if it is one."""
    if "bioformats2raw.layout" not in root.attributes:
        return [], ()
    if (root.folder / "OME").is_dir():
        listing = ZarrNode.read(root.folder / "OME")
        if "series" in listing.attributes:
            series = field_of(listing.files[0], listing.attributes, "series", list)
            folders = [root.child(str(name)) for name in series]
            return folders, (*root.files, *listing.files)
    folders = []
    while (folder := root.folder / str(len(folders))).is_dir():
        folders.append(folder)
    return folders, root.files


def _open_array(folder: Path) -> zarr.Array[Any]:
    """Open an array of numbers; none of its chunks is read."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; the copy is incomplete")
    node = ZarrNode.read(folder)
    if not node.is_array:
        raise UserError(f"{folder}: its metadata are not those of a Zarr array")
    where = node.files[0]
    name = node.metadata.get("data_type", node.metadata.get("dtype"))
    if not _is_number(name):
        raise UserError(
            f"{where}: pixels of type {name!r:.80}; save them as integers or floats"
        )
    with damage_named(folder, "damaged array metadata"):
        array = zarr.open_array(
            str(folder), mode="r", zarr_format=3 if where.name == "zarr.json" else 2
        )
        lengths, _ = array.shape, _stored_chunk(array)
        bound(array)
    if not all(0 < length < 2**31 for length in lengths):
        raise UserError(f"{where}: 'shape' is {lengths!r:.80}; lengths start at 1")
    return array


def _is_number(name: object) -> bool:
    """Return whether the name of a type, as Zarr and NumPy have it, is of numbers."""
    try:
        return isinstance(name, str) and np.dtype(name).kind in "buif"
    except TypeError:
        return False


def _kept_axes(folder: Path, image: NgffImage, shape: tuple[int, ...]) -> str:
    """Return the axes but T and unknown ones of length 1; those of a volume."""
    found = f"axes {image.axes} {shape}"
    if len(image.axes) != len(shape):
        raise UserError(
            f"{folder}: {len(image.axes)} 'axes' for an array of {len(shape)}; the "
            "metadata are damaged"
        )
    axes = "".join(
        axis
        for axis, length in zip(image.axes, shape, strict=True)
        if axis != "?" or length > 1
    )
    if axes.replace("T", "", 1) not in VOLUME_AXES:
        raise UserError(
            f"{folder}: {found} are not those of volumes; save it with the axes "
            "t, c, z, y, x"
        )
    if any(
        length > 2**20
        for axis, length in zip(image.axes, shape, strict=True)
        if axis in "TCZ"
    ):
        raise UserError(f"{folder}: {found}; the metadata are damaged")
    return axes.replace("T", "")


def _stored_chunk(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Return the shape of what one file holds: a shard, or a chunk."""
    return array.shards or array.chunks


def _files_below(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())
