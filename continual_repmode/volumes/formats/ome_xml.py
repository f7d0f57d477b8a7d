"""The metadata of OME-TIFF: which images there are, and where their planes lie."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats.damage import damage_named
from continual_repmode.volumes.formats.units import length_um
from continual_repmode.volumes.volume import VoxelSize

_MAX_PLANES = 2**20
"""More than a thousand volumes of a thousand planes: a damaged number."""


@dataclass(frozen=True, slots=True)
class PlaneRun:
    """Planes of an image that are consecutive pages of one file.

    ``num_planes`` is None for all pages of the file; ``file_name`` is None for the file
    that holds the metadata.
    """

    first_plane: int
    first_page: int
    num_planes: int | None
    file_name: str | None


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image of an OME document.

    Attributes
    ----------
    name : str
        ``""`` if it has none.
    axes : str
        T, C and Z, slowest first: planes are counted over them.
    sizes : dict of str to int
        Length of each of T, C, Z, Y, X.
    channel_names : tuple of str
    voxel_size_um : tuple of float or None
        Along (z, y, x).
    runs : tuple of PlaneRun
        Where the planes lie.
    """

    name: str
    axes: str
    sizes: dict[str, int]
    channel_names: tuple[str, ...]
    voxel_size_um: VoxelSize
    runs: tuple[PlaneRun, ...]

    @property
    def num_planes(self) -> int:
        """Planes over all time points, channels and z."""
        return math.prod(self.sizes[axis] for axis in "TCZ")

    @classmethod
    def from_element(
        cls, path: Path, image: ElementTree.Element, own_uuid: str | None
    ) -> Self | None:
        """Read an ``Image`` element; None if it describes no pixels in TIFF files."""
        pixels = image.find("{*}Pixels")
        if pixels is None or pixels.find("{*}MetadataOnly") is not None:
            return None
        sizes = {
            axis: _number(path, pixels, f"Size{axis}", least=1) for axis in "TCZYX"
        }
        axes = pixels.get("DimensionOrder", "")[:1:-1]
        if sorted(axes) != ["C", "T", "Z"]:
            order = pixels.get("DimensionOrder")
            raise UserError(f"{path}: OME metadata: unknown DimensionOrder {order!r}")
        num_planes = math.prod(sizes[axis] for axis in "TCZ")
        if num_planes > _MAX_PLANES:
            raise UserError(f"{path}: OME metadata: {num_planes} planes; it is damaged")
        _check_no_colour(path, pixels)
        names = [channel.get("Name", "") for channel in pixels.iterfind("{*}Channel")]
        return cls(
            name=image.get("Name", ""),
            axes=axes,
            sizes=sizes,
            channel_names=tuple((names + [""] * sizes["C"])[: sizes["C"]]),
            voxel_size_um=_voxel_size_um(pixels),
            runs=tuple(_runs(path, pixels, axes, sizes, own_uuid)),
        )


@dataclass(frozen=True, slots=True)
class OmeDocument:
    """What an OME document says about TIFF files.

    ``metadata_file`` names the file with the real metadata, if this is a mere pointer.
    """

    images: tuple[OmeImage, ...]
    metadata_file: str | None

    @classmethod
    def parse(cls, path: Path, xml: str | bytes) -> Self:
        """Read the document found in ``path``.

        Raises
        ------
        UserError
            If it is damaged, or describes axes that are not of volumes.
        """
        with damage_named(path, "damaged OME metadata"):
            root = ElementTree.fromstring(xml)
        pointer = root.find("{*}BinaryOnly")
        if pointer is not None:
            return cls((), pointer.get("MetadataFile", ""))
        if any(
            _local_name(element).startswith("ModuloAlong") for element in root.iter()
        ):
            raise UserError(
                f"{path}: OME metadata: an axis holds two things (Modulo annotation); "
                "save one of its parts as a plain OME-TIFF"
            )
        images = (
            OmeImage.from_element(path, image, root.get("UUID"))
            for image in root.iterfind("{*}Image")
        )
        return cls(tuple(image for image in images if image is not None), None)


def _local_name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


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
        name = _local_name(element)
        raise UserError(
            f"{path}: OME metadata: {key} of {name} is {text!r}, no whole number from "
            f"{least}"
        )
    return int(text)


def _check_no_colour(path: Path, pixels: ElementTree.Element) -> None:
    for channel in pixels.iterfind("{*}Channel"):
        samples = _number(path, channel, "SamplesPerPixel", default=1)
        if samples > 1:
            raise UserError(
                f"{path}: {samples} colour samples per pixel; save the colours as "
                "channels (ImageJ: Image > Color > Make Composite)"
            )


def _voxel_size_um(pixels: ElementTree.Element) -> VoxelSize:
    def size_um(axis: str) -> float | None:
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        return length_um(pixels.get(f"PhysicalSize{axis}"), unit)

    return size_um("Z"), size_um("Y"), size_um("X")


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
        num_planes = _number(
            path, element, "PlaneCount", default=1 if "IFD" in element.attrib else 0
        )
        uuid = element.find("{*}UUID")
        is_own = uuid is None or (own_uuid is not None and uuid.text == own_uuid)
        yield PlaneRun(
            first_plane=first_plane,
            first_page=_number(path, element, "IFD", default=0),
            num_planes=num_planes or None,
            file_name=None if uuid is None or is_own else uuid.get("FileName", ""),
        )
