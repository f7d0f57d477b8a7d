"""A picture of an image file: its channels from above and from the side."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.files import write_whole
from continual_repmode.prediction.inspection import some_planes
from continual_repmode.volumes.volume import VolumeReader, volume_shape

_MAX_SIDE = 600
"""Pixels of a side that are drawn; of larger images, every second and so on."""
_BAR_UM = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def save_picture(volume: VolumeReader, path: Path) -> None:
    """Draw the middle plane of each channel, and below it the middle row along z.

    Intensities from the 1st to the 99.8th percentile are spread from black to white.

    Raises UserError if the pixels are damaged, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    num_z, num_y, num_x = volume_shape(volume)
    size_z, size_y, size_x = (um or 1.0 for um in volume.voxel_size_um)
    depth = max(num_z * size_z, 0.02 * num_y * size_y)
    names = volume.channel_names
    width = 3.2
    height = width * (num_y * size_y + depth) / (num_x * size_x) + 0.4
    figure = Figure(
        figsize=(width * len(names), min(max(height, 1.5), 12)),
        layout="constrained",
        dpi=150,
    )
    grid = figure.subplots(
        2,
        len(names),
        squeeze=False,
        height_ratios=(num_y * size_y, depth),
    )
    for channel, name in enumerate(names):
        (middle,) = volume.read_channel(channel, slice(num_z // 2, num_z // 2 + 1))
        side = some_planes(volume, channel)[:, num_y // 2]
        above, below = grid[:, channel]
        for axes, plane, extent in (
            (above, middle, (0, num_x * size_x, num_y * size_y, 0)),
            (below, side, (0, num_x * size_x, 0, num_z * size_z)),
        ):
            drawn, (low, high) = _thinned(plane), _range(middle)
            axes.imshow(
                drawn, "gray", vmin=low, vmax=high, extent=extent, origin="upper"
            )
            axes.set_axis_off()
        above.set_title(f"{channel} {name}".strip(), fontsize=8.5, loc="left")
        if volume.voxel_size_um[2]:
            _scale_bar(above, num_x * size_x, num_y * size_y)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_whole(path, buffer.getvalue())


def _thinned(plane: NDArray[Any]) -> NDArray[Any]:
    steps = [-(-side // _MAX_SIDE) for side in plane.shape]
    return plane[:: steps[0], :: steps[1]].astype(np.float32)


def _range(plane: NDArray[Any]) -> tuple[float, float]:
    known = plane[np.isfinite(plane)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, (1, 99.8))
    return float(low), float(max(high, low + 1e-9))


def _scale_bar(axes: Any, width_um: float, height_um: float) -> None:
    length = max((um for um in _BAR_UM if um <= width_um / 3), default=_BAR_UM[0])
    left, bottom = 0.05 * width_um, 0.95 * height_um
    axes.plot([left, left + length], [bottom, bottom], color="white", lw=2.5)
    axes.text(left, 0.92 * height_um, f"{length} µm", color="white", fontsize=7)
