"""What the metadata of a CZI file say: names of channels and scenes, voxel size."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Self
from xml.etree import ElementTree

from continual_repmode.volumes.volume import VoxelSize

_DIMENSIONS = "Metadata/Information/Image/Dimensions"


@dataclass(frozen=True, slots=True)
class CziMetadata:
    """The part of the metadata that is used here.

    Attributes
    ----------
    channel_names : tuple of str
        One per channel described, ``""`` for one without a name.
    scene_names : dict of int to str
        Names of the scenes that have one, by their index.
    voxel_size_um : tuple of float or None
        Voxel size (z, y, x) in micrometres, None per axis where unknown.
    """

    channel_names: tuple[str, ...]
    scene_names: dict[int, str]
    voxel_size_um: VoxelSize

    @classmethod
    def parse(cls, xml: bytes) -> Self:
        """Parse the XML of a CZI file; nothing is known from an empty one.

        Raises
        ------
        ElementTree.ParseError
            If it is no XML.
        """
        xml = xml.strip(b"\0 \r\n\t")
        root = ElementTree.fromstring(xml) if xml else ElementTree.Element("none")
        return cls(
            channel_names=_channel_names(root),
            scene_names={
                int(scene.get("Index", "")): scene.get("Name", "")
                for scene in root.iterfind(f"{_DIMENSIONS}/S/Scenes/Scene")
                if scene.get("Index", "").isdecimal()
            },
            voxel_size_um=(
                _length_um(root, "Z"),
                _length_um(root, "Y"),
                _length_um(root, "X"),
            ),
        )


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
