"""What written files say about their image: voxel size, channels, display ranges."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from continual_repmode.errors import UserError

NAMESPACE = "continual_repmode"
"""Under which attributes of our own stand in a file."""

OME_TYPES = (
    *("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64"),
)
"""Types of pixels that OME-TIFF has, but bits."""


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """Voxel size and channels of an image that can be written.

    Attributes
    ----------
    voxel_size_um : tuple of float
        Along (z, y, x).
    channel_names : tuple of str
        One per channel; ``""`` for a channel without one.
    """

    voxel_size_um: tuple[float, float, float]
    channel_names: tuple[str, ...]

    @classmethod
    def checked(
        cls,
        path: Path,
        num_channels: int,
        voxel_size_um: Sequence[float | None],
        channel_names: Sequence[str],
    ) -> Self:
        """Return the metadata if they are complete.

        Raises
        ------
        UserError
            If the voxel size is unknown, or the names do not fit the channels.
        """
        sizes = [float(size or 0) for size in voxel_size_um]
        if len(sizes) != 3 or not all(0 < size < math.inf for size in sizes):
            raise UserError(
                f"{path}: voxel_size_um={tuple(voxel_size_um)}; three positive numbers "
                "in micrometres for z, y, x are needed"
            )
        if len(channel_names) not in (0, num_channels):
            raise UserError(
                f"{path}: {len(channel_names)} channel names for {num_channels} "
                "channels"
            )
        for name in channel_names:
            if not name.isprintable():
                raise UserError(f"{path}: channel name {name!r} is not printable")
        return cls(
            voxel_size_um=(sizes[0], sizes[1], sizes[2]),
            channel_names=tuple(channel_names) or ("",) * num_channels,
        )

    def ome_tiff(
        self, axes: str, attributes: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return what tifffile makes OME-XML of.

        Parameters
        ----------
        axes : str
            Of the array, slowest first.
        attributes : mapping of str to JSON values, optional
            Kept as a map annotation: text as it is, all else as JSON.
        """
        sizes: dict[str, Any] = {}
        for axis, size_um in zip("ZYX", self.voxel_size_um, strict=True):
            sizes[f"PhysicalSize{axis}"] = size_um
            sizes[f"PhysicalSize{axis}Unit"] = "µm"
        metadata = {"axes": axes, **sizes}
        if any(self.channel_names):
            metadata["Channel"] = {"Name": list(self.channel_names)}
        if attributes:
            texts = {str(key): _text(value) for key, value in attributes.items()}
            metadata["MapAnnotation"] = {"Namespace": NAMESPACE, "Value": texts}
        return metadata

    def ngff(
        self, name: str, axes: str, ranges: Sequence[tuple[float, float]]
    ) -> dict[str, Any]:
        """Return the ``ome`` attributes of an OME-Zarr 0.5 whose one level is ``0``.

        Parameters
        ----------
        name : str
            Of the image.
        axes : str
            Of the array, slowest first.
        ranges : sequence of pairs of float
            Least and greatest intensity of each channel, for display.
        """
        sizes = dict(zip("ZYX", self.voxel_size_um, strict=True))
        space = {"type": "space", "unit": "micrometer"}
        scale = {"type": "scale", "scale": [sizes.get(axis, 1.0) for axis in axes]}
        level = {"path": "0", "coordinateTransformations": [scale]}
        kinds = [{"type": "channel"} if axis == "C" else space for axis in axes]
        named = [
            {"name": axis.lower(), **kind}
            for axis, kind in zip(axes, kinds, strict=True)
        ]
        channels = [
            {
                "label": label,
                "color": "FFFFFF",
                "active": True,
                "window": _window(*ends),
            }
            for label, ends in zip(self.channel_names, ranges, strict=True)
        ]
        return {
            "version": "0.5",
            "multiscales": [{"name": name, "axes": named, "datasets": [level]}],
            "omero": {"channels": channels},
        }


def check_type(
    path: Path, dtype: np.dtype[Any], format_: str, types: Sequence[str]
) -> None:
    """Raise if a format has no pixels of a type."""
    if dtype.name not in types:
        raise UserError(
            f"{path}: {format_} has no pixels of type {dtype}; convert to one of "
            f"{', '.join(types)}"
        )


def zarr_chunks(axes: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Return chunks that hold part of one channel."""
    chunk = {"C": 1, "Z": 32, "Y": 128, "X": 128}
    return tuple(
        min(chunk[axis], length) for axis, length in zip(axes, shape, strict=True)
    )


def _text(value: Any) -> str:
    """Return text as it is if XML can hold it, all else as JSON."""
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, ensure_ascii=False)


def _window(low: float, high: float) -> dict[str, float]:
    """Return the range of intensities that viewers are to show."""
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    return {"min": low, "start": low, "end": high, "max": high}
