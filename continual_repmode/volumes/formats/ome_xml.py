"""The metadata of OME-TIFF: which images there are, and where their planes lie.

They are read here rather than by ``ome-types``, which refuses what programs do write: a
pixel size of 0, units and elements outside the schema, schemas before 2016.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self
from xml.etree import ElementTree

from continual_repmode.errors import UserError
from continual_repmode.volumes.choices import Z_HINT
from continual_repmode.volumes.formats.damage import damage_named
from continual_repmode.volumes.formats.units import length_um, position_um
from continual_repmode.volumes.volume import UNKNOWN_UM, VoxelSize

_MAX_PLANES = 2**20
"""More than a thousand volumes of a thousand planes: a damaged number."""


class PlaneRun(NamedTuple):
    """Planes that are consecutive pages of a file; None: all, that of the metadata."""

    first_plane: int
    first_page: int
    num_planes: int | None
    file_name: str | None


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image of an OME document."""

    #: ``""`` if it has none.
    name: str
    #: T, C and Z, slowest first: planes are counted over them.
    axes: str
    #: Length of each of T, C, Z, Y, X.
    sizes: dict[str, int]
    channel_names: tuple[str, ...]
    #: Along (z, y, x).
    voxel_size_um: VoxelSize
    #: Where the first voxel of each time point lies; None where nothing says so.
    origins_um: tuple[VoxelSize, ...]
    #: Where the planes lie.
    runs: tuple[PlaneRun, ...] = field(repr=False)

    @property
    def num_planes(self) -> int:
        """Planes over all time points, channels and z."""
        return math.prod(self.sizes[axis] for axis in "TCZ")

    @classmethod
    def of(
        cls, path: Path, name: str, pixels: ElementTree.Element, own_uuid: str | None
    ) -> Self:
        """Read a ``Pixels`` element."""
        sizes = {
            axis: _number(path, pixels, f"Size{axis}", least=1) for axis in "TCZYX"
        }
        order = pixels.get("DimensionOrder", "")
        axes = order[:1:-1]
        if sorted(axes) != ["C", "T", "Z"]:
            raise UserError(f"{path}: OME metadata: unknown DimensionOrder {order!r}")
        num_planes = math.prod(sizes[axis] for axis in "TCZ")
        if num_planes > _MAX_PLANES:
            raise UserError(f"{path}: OME metadata: {num_planes} planes; it is damaged")
        channels = pixels.findall("{*}Channel")
        for channel in channels:
            samples = _number(path, channel, "SamplesPerPixel", default=1)
            if samples > 1:
                raise UserError(
                    f"{path}: {samples} color samples per pixel; save the colors as "
                    "channels (ImageJ: Image > Color > Make Composite); "
                    f"{Z_HINT}"
                )
        names = [channel.get("Name", "") for channel in channels] + [""] * sizes["C"]
        size_z, size_y, size_x = (
            length_um(
                pixels.get(f"PhysicalSize{axis}"),
                pixels.get(f"PhysicalSize{axis}Unit", "µm"),
            )
            for axis in "ZYX"
        )
        return cls(
            name=name,
            axes=axes,
            sizes=sizes,
            channel_names=tuple(names[: sizes["C"]]),
            voxel_size_um=(size_z, size_y, size_x),
            origins_um=_origins_um(pixels, sizes["T"]),
            runs=tuple(_runs(path, pixels, axes, sizes, own_uuid)),
        )


def parse_ome(path: Path, xml: str | bytes) -> tuple[list[OmeImage], str | None]:
    """Return the images of the OME document in ``path`` whose pixels are in TIFF files.

    If it is a mere pointer, they are none, and the name of the file with the real
    metadata is returned too.

    Raises UserError if it is damaged, or describes axes that are not of volumes.
    """
    with damage_named(path, "damaged OME metadata"):
        root = ElementTree.fromstring(xml)
    pointer = root.find("{*}BinaryOnly")
    if pointer is not None:
        return [], pointer.get("MetadataFile", "")
    if any(_local_name(element).startswith("ModuloAlong") for element in root.iter()):
        raise UserError(
            f"{path}: OME metadata: an axis holds two things (Modulo annotation); "
            "save one of its parts as a plain OME-TIFF"
        )
    found = [(image, image.find("{*}Pixels")) for image in root.iterfind("{*}Image")]
    images = [
        OmeImage.of(path, image.get("Name", ""), pixels, root.get("UUID"))
        for image, pixels in found
        if pixels is not None and pixels.find("{*}MetadataOnly") is None
    ]
    return images, None


def _local_name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _origins_um(pixels: ElementTree.Element, num_times: int) -> tuple[VoxelSize, ...]:
    """Return the positions that the first plane of each time point has."""
    found = [UNKNOWN_UM] * num_times
    for plane in pixels.iterfind("{*}Plane"):
        time = plane.get("TheT", "0")
        if not time.isdecimal() or int(time) >= num_times or plane.get("TheZ") != "0":
            continue
        if plane.get("TheC", "0") == "0":
            z, y, x = (
                position_um(
                    plane.get(f"Position{axis}"),
                    plane.get(f"Position{axis}Unit", "reference frame"),
                )
                for axis in "ZYX"
            )
            found[int(time)] = z, y, x
    return tuple(found)


def _number(
    path: Path,
    element: ElementTree.Element,
    key: str,
    default: int | None = None,
    least: int = 0,
) -> int:
    """Return a whole number of an element."""
    text = element.get(key)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal() or len(text) > 18 or int(text) < least:
        raise UserError(
            f"{path}: OME metadata: {key} of {_local_name(element)} is {text!r}, no "
            f"whole number from {least}"
        )
    return int(text)


def _runs(
    path: Path,
    pixels: ElementTree.Element,
    axes: str,
    sizes: dict[str, int],
    own_uuid: str | None,
) -> Iterator[PlaneRun]:
    """Yield what the ``TiffData`` elements say; without any, all pages in order."""
    elements = pixels.findall("{*}TiffData") or [ElementTree.Element("TiffData")]
    for element in elements:
        first_plane = 0
        for axis in axes:
            position = _number(path, element, f"First{axis}", default=0)
            if position >= sizes[axis]:
                raise UserError(
                    f"{path}: OME metadata: First{axis} is {position}, but Size{axis} "
                    f"is {sizes[axis]}; save the image again"
                )
            first_plane = first_plane * sizes[axis] + position
        one_or_all = 1 if "IFD" in element.attrib else 0
        num_planes = _number(path, element, "PlaneCount", default=one_or_all)
        page = _number(path, element, "IFD", default=0)
        uuid = element.find("{*}UUID")
        is_own = uuid is None or (own_uuid is not None and uuid.text == own_uuid)
        name = None if uuid is None or is_own else uuid.get("FileName", "")
        yield PlaneRun(first_plane, page, num_planes or None, name)
