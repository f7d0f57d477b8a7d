"""Predictions to look at: the planes of a sample volume as one strip of pixels."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from continual_repmode.errors import UserError
from continual_repmode.results import RunFolder

VOLUMES = {
    "signal": "transmitted light",
    "target": "fluorescence",
    "prediction": "prediction",
}
"""The volumes of a sample, and what they are called."""
_EXACT_PX = 6_000_000
"""A run with at most so many pixels to show is kept exactly, in 8 bits, as PNG."""
_MOST_PX = 40_000_000
"""Beyond that, it is compressed as WebP and planes are left out."""
_FEWEST_PLANES = 8
_WEBP_QUALITY = 80
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One test image of a task, ready to be shown."""

    #: Task, and name of the image.
    task: str
    image: str
    #: Indices along Z of the planes that are shown, rising.
    planes: list[int]
    #: Number of planes of the volume.
    depth: int
    #: ``signal``, ``target`` and ``prediction`` as a data URI each: an image with the
    #: planes below one another.
    strips: dict[str, str]
    #: The intensities (z-scored) that are black and white; target and prediction share
    #: theirs.
    limits: dict[str, tuple[float, float]]
    #: Width of a plane over its height, in micrometres.
    aspect: float
    #: Columns of a plane.
    width_px: int
    #: Length of a scale bar of a round number of micrometres.
    bar_um: float | None
    #: Its length as a fraction of the width.
    bar_fraction: float


def read_samples(
    folder: RunFolder,
    tasks: Sequence[str],
    voxel_size_um: Sequence[float] | None,
    problems: list[str],
) -> list[Sample]:
    """Read and encode the samples of a run.

    ``tasks``: in the order to show them; tasks without a sample are left out.
    ``voxel_size_um``: voxel size (Z, Y, X); without it there is no scale bar.
    ``problems``: receives a line for every sample that cannot be read.
    """
    paths = {task: folder.samples / f"{task}.npz" for task in tasks}
    sizes = {task: _shape(path) for task, path in paths.items() if path.is_file()}
    total = sum(3 * math.prod(shape) for shape in sizes.values())
    exact = total <= _EXACT_PX
    samples = []
    for task, (depth, *_) in sizes.items():
        shown = depth if exact else max(_FEWEST_PLANES, depth * _MOST_PX // total)
        try:
            content = _read(paths[task])
        except UserError as error:
            problems.append(str(error))
            continue
        samples.append(_sample(task, content, shown, voxel_size_um, exact=exact))
    return samples


def chosen_planes(depth: int, num_planes: int) -> list[int]:
    """Return evenly spaced planes of a volume, all of them if they are few.

    >>> chosen_planes(9, 3)
    [1, 4, 7]
    """
    num = min(depth, num_planes)
    return [int((index + 0.5) * depth / num) for index in range(num)]


def scale_bar(width_um: float) -> float | None:
    """Return the longest length of 1, 2 or 5 times a power of ten below a third.

    >>> scale_bar(18.6)
    5.0
    """
    if not width_um > 0:
        return None
    power = 10.0 ** math.floor(math.log10(width_um / 3))
    return max(step * power for step in (1, 2, 5) if step * power <= width_um / 3)


def _shape(path: Path) -> tuple[int, ...]:
    try:
        with path.open("rb") as file, np.load(file) as content:
            return tuple(content["signal"].shape)
    except (OSError, EOFError, KeyError, ValueError, BadZipFile):
        return (1, 1, 1)  # reading all of it says what is wrong


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file) as content:
            found: dict[str, Any] = {n: content[n].astype(np.float32) for n in VOLUMES}
            found["image"] = str(content["image"])
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise UserError(f"{path}: not a sample of a run ({error})") from error
    shapes = {found[name].shape for name in VOLUMES}
    if len(shapes) != 1 or len(shapes.pop()) != 3 or not found["signal"].size:
        raise UserError(f"{path}: not a sample of a run (volumes of other shapes)")
    return found


def _sample(
    task: str,
    content: Mapping[str, Any],
    num_planes: int,
    voxel_size_um: Sequence[float] | None,
    *,
    exact: bool,
) -> Sample:
    depth, height, width = content["signal"].shape
    _, step_y, step_x = voxel_size_um or (1.0, 1.0, 1.0)
    planes = chosen_planes(depth, num_planes)
    limits = {name: _limits(content[name]) for name in ("signal", "target")}
    limits["prediction"] = limits["target"]
    bar = scale_bar(width * step_x) if voxel_size_um else None
    return Sample(
        task=task,
        image=content["image"],
        planes=planes,
        depth=depth,
        strips={
            name: _encode(content[name][planes], limits[name], exact=exact)
            for name in VOLUMES
        },
        limits=limits,
        aspect=width * step_x / (height * step_y),
        width_px=width,
        bar_um=bar,
        bar_fraction=(bar or 0.0) / (width * step_x),
    )


def _limits(volume: NDArray[np.float32]) -> tuple[float, float]:
    known = volume[np.isfinite(volume)]
    if not known.size:
        return 0.0, 1.0
    low, high = map(float, np.percentile(known, _PERCENTILES))
    return (low, high) if high > low else (low, low + 1.0)


def _encode(
    planes: NDArray[np.float32], limits: tuple[float, float], *, exact: bool
) -> str:
    """Return planes (Z, Y, X) below one another as a data URI of an 8-bit image."""
    low, high = limits
    known = np.nan_to_num(planes, nan=low, posinf=high, neginf=low)
    grey = np.rint(np.clip((known - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(grey.reshape(-1, grey.shape[-1]))
    buffer = io.BytesIO()
    if exact:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "WEBP", quality=_WEBP_QUALITY, method=4)
    return data_uri(buffer.getvalue(), "png" if exact else "webp")


def data_uri(content: bytes, kind: str) -> str:
    """Return an image as a ``data:`` address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
