"""NGFF metadata (OME-Zarr 0.4 and 0.5): images in a Zarr folder, and their levels."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats.damage import read_json
from continual_repmode.volumes.formats.units import length_um, position_um
from continual_repmode.volumes.volume import VoxelSize

_log = logging.getLogger(__name__)
_Value = TypeVar("_Value")
_LETTERS = {"time": "T", "channel": "C"}
_FORMATS = "; readable is OME-Zarr 0.4 or 0.5"


@dataclass(frozen=True, slots=True)
class ZarrNode:
    """A folder of a Zarr hierarchy."""

    folder: Path
    #: Of the array; empty for a group.
    metadata: dict[str, Any]
    #: What is said about it, the content of ``ome`` in OME-Zarr 0.5.
    attributes: dict[str, Any]
    #: Where this was read.
    files: tuple[Path, ...]

    @property
    def is_array(self) -> bool:
        """Whether it holds pixels and not further folders."""
        return bool(self.metadata)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the JSON files of a folder.

        Raises UserError if they are damaged, or there are none.
        """
        file = folder / "zarr.json"  # Zarr format 3
        if file.exists():
            found = _read_json(file)
            attributes = found.get("attributes", {})
            if not isinstance(attributes, dict):
                raise UserError(f"{file}: 'attributes' is not a JSON object")
            ome = attributes.get("ome", attributes)
            if not isinstance(ome, dict):
                raise UserError(f"{file}: 'ome' is not a JSON object")
            is_array = found.get("node_type") == "array"
            return cls(folder, found if is_array else {}, ome, (file,))
        files = [folder / name for name in (".zarray", ".zattrs")]
        files = [file for file in files if file.exists()]
        if not files and not (folder / ".zgroup").exists():
            raise UserError(f"{folder}: a folder without Zarr metadata" + _FORMATS)
        contents = {file.name: _read_json(file) for file in files}
        attributes = contents.get(".zattrs", {})
        return cls(folder, contents.get(".zarray", {}), attributes, tuple(files))

    def child(self, name: str) -> Path:
        """Return a folder below this one."""
        path = Path(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise UserError(
                f"{self.folder}: its metadata name no folder in it: {name!r}"
            )
        return self.folder / path


@dataclass(frozen=True, slots=True)
class NgffImage:
    """An image in several resolutions."""

    #: ``""`` if it has none.
    name: str
    #: Letters of T, C, Z, Y, X, or ``?`` for any other, as stored.
    axes: str
    #: The folder of the array of each resolution, finest first.
    levels: tuple[Path, ...]
    #: Voxel size (z, y, x) of each level; None where there is no scale or unit.
    voxel_sizes_um: tuple[VoxelSize, ...]
    #: Where the first voxel of each level lies; None where nothing says so.
    origins_um: tuple[VoxelSize, ...]
    #: As many as are named.
    channel_names: tuple[str, ...]

    @classmethod
    def from_node(cls, node: ZarrNode) -> Self:
        """Read the metadata of the first (usually only) ``multiscales`` of a group."""
        where = node.files[0]
        multiscales = field_of(where, node.attributes, "multiscales", list)
        if not multiscales:
            raise UserError(f"{where}: 'multiscales' is empty" + _FORMATS)
        image = _object(where, multiscales[0], "multiscales[0]")
        axes = field_of(where, image, "axes", list)
        if not all(isinstance(axis, dict) for axis in axes):
            raise UserError(f"{where}: 'axes' is of an older format" + _FORMATS)
        datasets = [
            _object(where, dataset, "datasets")
            for dataset in field_of(where, image, "datasets", list)
        ]
        if not datasets:
            raise UserError(f"{where}: 'datasets' is empty")
        letters = "".join(_letter(axis) for axis in axes)
        units = [str(axis.get("unit", "")) for axis in axes]
        common = _scale(where, image, len(axes), absent=1.0)
        moved = _translation(image, len(axes))
        sizes, origins = [], []
        for dataset in datasets:
            scale = _scale(where, dataset, len(axes), absent=0.0)
            lengths = {
                letter: length_um(own * shared, unit)
                for letter, own, shared, unit in zip(
                    letters, scale, common, units, strict=True
                )
            }
            sizes.append((lengths.get("Z"), lengths.get("Y"), lengths.get("X")))
            own = _translation(dataset, len(axes))
            places = {
                letter: position_um(at * shared + further, unit)
                for letter, at, shared, further, unit in zip(
                    letters, own or [0.0] * len(axes), common,
                    moved or [0.0] * len(axes), units, strict=True,
                )
                if own or moved
            }  # fmt: skip
            origins.append((places.get("Z"), places.get("Y"), places.get("X")))
        return cls(
            name=str(image.get("name") or ""),
            axes=letters,
            levels=tuple(
                node.child(field_of(where, dataset, "path", str))
                for dataset in datasets
            ),
            voxel_sizes_um=tuple(sizes),
            origins_um=tuple(origins),
            channel_names=_channel_names(node),
        )

    def level_for(self, wanted_um: Sequence[float] | None) -> int:
        """Return the coarsest level that is at least as fine as wanted, else 0.

        A voxel may be larger by 1 %, the rounding of metadata. An axis that the image
        lacks does not count.
        """
        best, best_volume = 0, 0.0
        if wanted_um is None:
            return best
        for index, size_um in enumerate(self.voxel_sizes_um):
            sizes = [
                (size, limit)
                for axis, size, limit in zip("ZYX", size_um, wanted_um, strict=True)
                if axis in self.axes
            ]
            if all(size is not None and size <= 1.01 * limit for size, limit in sizes):
                volume = math.prod(size or 1.0 for size, _ in sizes)
                if volume > best_volume:
                    best, best_volume = index, volume
        return best


def field_of(
    where: Path, container: Mapping[str, Any], key: str, kind: type[_Value]
) -> _Value:
    """Return a field of a JSON object that must be there, of a type."""
    value = container.get(key)
    if not isinstance(value, kind):
        problem = "is missing" if value is None else f"is {value!r:.50}"
        raise UserError(f"{where}: {key!r} {problem}, no {kind.__name__}" + _FORMATS)
    return value


def _read_json(file: Path) -> dict[str, Any]:
    return _object(file, read_json(file), "the content")


def _object(where: Path, value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: {name} is {value!r:.50}, no JSON object")
    return value


def _letter(axis: Mapping[str, Any]) -> str:
    """Return which axis this is, by its type or else its name."""
    name = str(axis.get("name", "")).upper()
    letter = _LETTERS.get(str(axis.get("type", "")), name)
    return letter if letter in tuple("TCZYX") else "?"


def _scale(
    where: Path, container: Mapping[str, Any], num_axes: int, absent: float
) -> list[float]:
    """Return the ``scale`` of the ``coordinateTransformations``.

    Where there is none, it is ``absent`` along all axes. One that has not a number for
    each axis says nothing about any: it is 0, so that the voxel size is unknown.
    """
    transforms = container.get("coordinateTransformations") or []
    if not isinstance(transforms, list):
        raise UserError(f"{where}: 'coordinateTransformations' is not a list")
    for transform in transforms:
        if isinstance(transform, dict) and transform.get("type") == "scale":
            scale = transform.get("scale")
            if not isinstance(scale, list) or not all(
                isinstance(number, int | float) for number in scale
            ):
                raise UserError(
                    f"{where}: 'scale' is {scale!r:.50}, no list of numbers"
                )
            if len(scale) == num_axes:
                return [float(number) for number in scale]
            _log.warning(
                "%s: 'scale' is %.50r, not one number for each of %d axes: the voxel "
                "size is taken as unknown",
                *(where, scale, num_axes),
            )
            return [0.0] * num_axes
    return [absent] * num_axes


def _translation(container: Mapping[str, Any], num_axes: int) -> list[float] | None:
    """Return the ``translation`` of the ``coordinateTransformations``, None without."""
    for transform in container.get("coordinateTransformations") or []:
        if isinstance(transform, dict) and transform.get("type") == "translation":
            found = transform.get("translation")
            if isinstance(found, list) and len(found) == num_axes:
                numbers = [n for n in found if isinstance(n, int | float)]
                return numbers if len(numbers) == num_axes else None
    return None


def _channel_names(node: ZarrNode) -> tuple[str, ...]:
    omero = node.attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    return tuple(
        str(channel.get("label") or "") if isinstance(channel, dict) else ""
        for channel in (channels if isinstance(channels, list) else [])
    )
