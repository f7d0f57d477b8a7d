"""What the metadata of a CZI file say: names, voxel size, and where the stage was."""

import math
from decimal import Decimal
from typing import NamedTuple, Self
from xml.etree import ElementTree

from continual_repmode.volumes.volume import UNKNOWN_UM, VoxelSize

_DIMENSIONS = "Metadata/Information/Image/Dimensions"


class CziMetadata(NamedTuple):
    """The part of the metadata that is used here.

    ``channel_names`` has one per channel described, ``""`` for one without a name;
    ``scene_names`` those of the scenes that have one, by their index.
    """

    channel_names: tuple[str, ...]
    scene_names: dict[int, str]
    voxel_size_um: VoxelSize

    @classmethod
    def parse(cls, xml: bytes) -> Self:
        """Parse the XML of a CZI file; nothing is known from an empty one.

        Raises ElementTree.ParseError if it is no XML.
        """
        root = _root(xml)
        scenes = root.iterfind(f"{_DIMENSIONS}/S/Scenes/Scene")
        indices = ((scene.get("Index", ""), scene.get("Name", "")) for scene in scenes)
        size_z, size_y, size_x = (_length_um(root, axis) for axis in "ZYX")
        return cls(
            _channel_names(root),
            {int(index): name for index, name in indices if index.isdecimal()},
            (size_z, size_y, size_x),
        )


def stage_um(xml: bytes) -> VoxelSize:
    """Return where focus and stage (z, y, x) were for a sub-block, by its metadata.

    None for what they do not say, also where they are no XML.
    """
    try:
        root = _root(xml)
    except ElementTree.ParseError:
        return UNKNOWN_UM
    z, y, x = (
        _number(root.findtext(f"Tags/{name}"))
        for name in ("FocusPosition", "StageYPosition", "StageXPosition")
    )
    return z, y, x


def _root(xml: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(xml.strip(b"\0 \r\n\t") or b"<none/>")


def _number(text: str | None) -> float | None:
    try:
        number = float((text or "").strip())
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _channel_names(root: ElementTree.Element) -> tuple[str, ...]:
    """Return the names of the dimension, or else those of the display settings."""
    shown = {
        channel.get("Id"): channel.get("Name", "")
        for channel in root.iterfind("Metadata/DisplaySetting/Channels/Channel")
    }
    channels = root.findall(f"{_DIMENSIONS}/Channels/Channel")
    if not channels:
        return tuple(shown.values())
    return tuple(
        channel.get("Name") or shown.get(channel.get("Id"), "") for channel in channels
    )


def _length_um(root: ElementTree.Element, axis: str) -> float | None:
    """Return the voxel's length along an axis; the file has it in metres."""
    value = root.findtext(f"Metadata/Scaling/Items/Distance[@Id='{axis}']/Value")
    try:
        length = Decimal((value or "").strip())
        # in decimals, as 2.9e-7 * 1e6 is not 0.29 in floating point
        length_um = float(length.scaleb(6)) if length.is_finite() else 0.0
    except ArithmeticError:
        return None
    return length_um if 0 < length_um < math.inf else None
