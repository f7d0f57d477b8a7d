"""What written files say about their image, in the words of OME-TIFF and OME-Zarr."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from continual_repmode.tasks import TASKS
from continual_repmode.volumes.choices import channel_role
from continual_repmode.volumes.formats.pyramid import num_levels
from continual_repmode.volumes.formats.writable import WritableImage

_PALETTE = (
    *("FF4B00", "FFB46E", "FF8CC8", "B4FF32", "00A0FF", "00DC8C"),
    *("FFE100", "FF3C5A", "FF6E00", "8C78FF", "00E6FF", "E65AFF"),
)
"""Of the twelve structures in the order of ``TASKS``: bright, as channels are added up
on black."""

NAMESPACE = "continual_repmode"
"""Under which attributes of our own stand in a file."""


def ome_tiff(
    image: WritableImage, attributes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what tifffile makes OME-XML of.

    ``attributes``: kept as a map annotation: text as it is, all else as JSON.
    """
    metadata: dict[str, Any] = {"axes": image.stored_axes}
    for axis, size_um in zip("ZYX", image.voxel_size_um, strict=True):
        metadata[f"PhysicalSize{axis}"] = size_um
        metadata[f"PhysicalSize{axis}Unit"] = "µm"
    known = {
        axis: at
        for axis, at in zip("ZYX", image.origin_um, strict=True)
        if at is not None
    }
    if known:
        num_channels, num_z, _, _ = image.shape_czyx
        steps = dict(zip("ZYX", image.voxel_size_um, strict=True))
        order = [axis for axis in image.axes if axis in "CZ"]
        z_innermost = order[-1:] != ["C"]
        z = [*range(num_z)] * num_channels
        if not z_innermost:
            z = [k for k in range(num_z) for _ in range(num_channels)]
        z *= image.num_times
        metadata["Plane"] = {}
        for axis, at in known.items():
            step = steps[axis] if axis == "Z" else 0.0
            metadata["Plane"][f"Position{axis}"] = [at + step * k for k in z]
            metadata["Plane"][f"Position{axis}Unit"] = ["µm"] * len(z)
    if any(image.channel_names):
        metadata["Channel"] = {
            "Name": list(image.channel_names),
            "Color": [_ome_color(color) for color in colors(image.channel_names)],
        }
    if attributes:
        texts = {str(key): _text(value) for key, value in attributes.items()}
        metadata["MapAnnotation"] = {"Namespace": NAMESPACE, "Value": texts}
    return metadata


def ngff(image: WritableImage, ranges: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the ``ome`` attributes of an OME-Zarr 0.5, with levels ``0`` and so on.

    ``ranges``: least and greatest intensity of each channel, for display.
    """
    sizes = dict(zip("ZYX", image.voxel_size_um, strict=True))
    space = {"type": "space", "unit": "micrometer"}
    axes, others = image.stored_axes, {"C": "channel", "T": "time"}
    kinds = [{"type": others[axis]} if axis in others else space for axis in axes]
    places = {a: at or 0.0 for a, at in zip("ZYX", image.origin_um, strict=True)}
    datasets: list[dict[str, Any]] = []
    for level in range(num_levels(*image.shape_czyx[2:])):
        factors = dict.fromkeys("YX", 2**level)
        scale = [sizes.get(axis, 1.0) * factors.get(axis, 1) for axis in axes]
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if level or any(at is not None for at in image.origin_um):
            moved = [  # the middle of the first voxel
                places.get(axis, 0.0)
                + sizes.get(axis, 0.0) * (factors.get(axis, 1) - 1) / 2
                for axis in axes
            ]
            steps.append({"type": "translation", "translation": moved})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    multiscale = {
        "name": image.name,
        "axes": [
            {"name": axis.lower(), **kind}
            for axis, kind in zip(axes, kinds, strict=True)
        ],
        "datasets": datasets,
    }
    channels = [
        {"label": label, "color": color, "active": True, "window": _window(*ends)}
        for label, color, ends in zip(
            image.channel_names,
            colors(image.channel_names),
            _over_time(image, ranges),
            strict=True,
        )
    ]
    return {
        "version": "0.5",
        "multiscales": [multiscale],
        "omero": {"channels": channels},
    }


def colors(names: Sequence[str]) -> list[str]:
    """Return a color (RRGGBB) for each channel: of a structure, always the same.

    Transmitted light, channels without a name, and one channel alone that is none of
    the twelve structures are white. A deviation has the color of its structure.
    """
    structures = [name.removesuffix("_std").partition("-")[0] for name in names]
    others = list(dict.fromkeys(s for s in structures if s not in TASKS))
    found = []
    for name, structure in zip(names, structures, strict=True):
        if structure in TASKS:
            found.append(_PALETTE[TASKS.index(structure)])
        elif not name or channel_role(name) == "light" or len(names) == 1:
            found.append("FFFFFF")
        else:  # from the other end, so that few meet one of the twelve
            found.append(_PALETTE[-1 - others.index(structure) % len(_PALETTE)])
    return found


def _ome_color(color: str) -> int:
    """Return a color as OME-XML has it: RGBA as a signed number of 32 bits."""
    unsigned = int(f"{color}FF", 16)
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


def _over_time(
    image: WritableImage, ranges: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Return the range of each channel over all time points."""
    count = len(image.channel_names)
    each = [ranges[channel::count] for channel in range(count)]
    return [(min(low for low, _ in c), max(high for _, high in c)) for c in each]


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
