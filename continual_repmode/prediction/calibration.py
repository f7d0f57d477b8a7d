"""What a predicted deviation is worth: compared with the errors that were made.

Voxels are put into classes of about equal size by their predicted deviation. Where the
root of the mean squared error of a class is as large as its deviation, the deviation
can be taken as it is; where it is three times as large, deviations must be multiplied
by three.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from continual_repmode.errors import UserError
from continual_repmode.files import write_whole
from continual_repmode.volumes.volume_file import VolumeFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATION_FILE = "calibration.csv"
"""Beside ``metrics.csv``."""

COLUMNS = ("image", "task", "num_voxels", "deviation", "error")

NUM_CLASSES = 10
_FINE = 8
"""Classes per doubling of the deviation, joined in the end."""
_LOWEST, _HIGHEST = -16, 8
"""Powers of 2 beyond which deviations are not told apart."""
_BLOCK_VOXELS = 2_000_000

Point = tuple[int, float, float]
"""Voxels, root mean squared deviation, root mean squared error."""


def calibrate(
    prediction: VolumeFile,
    deviation: VolumeFile,
    target: VolumeFile,
    signal: VolumeFile,
) -> list[Point]:
    """Compare the errors of a prediction with its deviations, block by block.

    Voxels that are NaN in ``target`` or ``signal``, not recorded, do not count.

    Returns: at most ``NUM_CLASSES``, from the smallest deviation on.
    """
    num_bins = _FINE * (_HIGHEST - _LOWEST)
    counts, variances, squares = np.zeros((3, num_bins))
    num_z, y, x = target.shape
    step = max(1, _BLOCK_VOXELS // (y * x))
    for start in range(0, num_z, step):
        planes = slice(start, min(start + step, num_z))
        error = (prediction[planes] - target[planes]).astype(np.float64)
        known = np.isfinite(error) & np.isfinite(signal[planes])
        spread = deviation[planes][known].astype(np.float64)
        with np.errstate(divide="ignore"):
            place = _FINE * (np.log2(spread) - _LOWEST)
        bins = np.clip(place, 0, num_bins - 1).astype(np.intp)
        counts += np.bincount(bins, minlength=num_bins)
        variances += np.bincount(bins, spread**2, num_bins)
        squares += np.bincount(bins, error[known] ** 2, num_bins)
    total = counts.sum()
    middle = np.cumsum(counts) - counts / 2
    classes = np.minimum(NUM_CLASSES * middle // max(total, 1), NUM_CLASSES - 1).astype(
        np.intp
    )
    joined = [
        np.bincount(classes, sums, NUM_CLASSES) for sums in (counts, variances, squares)
    ]
    return [
        (int(n), math.sqrt(variance / n), math.sqrt(square / n))
        for n, variance, square in zip(*joined, strict=True)
        if n
    ]


def factor_of(points: Sequence[Point]) -> float:
    """Return how many times larger errors were than deviations, over all voxels.

    Returns: infinite where all deviations are 0.
    """
    variance = sum(n * deviation**2 for n, deviation, _ in points)
    square = sum(n * error**2 for n, _, error in points)
    return math.sqrt(square / variance) if variance else math.inf


def add_calibration(
    folder: Path, image: str, task: str, points: Sequence[Point]
) -> None:
    """Put the classes of an image into the table of a folder, and draw the figure.

    Raises UserError if there is a file of that name with other columns.
    """
    with FileLock(folder / f".{CALIBRATION_FILE}.lock"):
        table = read_calibration(folder) | {(image, task): list(points)}
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key, found in table.items():
            writer.writerows((*key, *point) for point in found)
        data = text.getvalue().encode("utf-8", "surrogateescape")
        write_whole(folder / CALIBRATION_FILE, data)
        picture = folder / Path(CALIBRATION_FILE).with_suffix(".png")
        buffer = io.BytesIO()
        plot_calibration(table).savefig(buffer, format="png")
        write_whole(picture, buffer.getvalue())


def read_calibration(folder: Path) -> dict[tuple[str, str], list[Point]]:
    """Return the classes by image and task; none without a table.

    Raises UserError if there is a file of that name with other columns.
    """
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return {}
    found: dict[tuple[str, str], list[Point]] = {}
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            header, *rows = csv.reader(file)
            if tuple(header) != COLUMNS:
                raise ValueError(f"columns {header}")
            for image, task, num, deviation, error in rows:
                point = (int(num), float(deviation), float(error))
                found.setdefault((image, task), []).append(point)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path}: is not a table of this command ({error}); move it, or choose "
            "another --out"
        ) from error
    return found


def plot_calibration(table: Mapping[tuple[str, str], Sequence[Point]]) -> "Figure":
    """Draw error against deviation, a line per image."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), layout="constrained", dpi=150)
    axes = figure.subplots()
    tasks = list(dict.fromkeys(task for _, task in table))
    values = [v for points in table.values() for _, *pair in points for v in pair if v]
    for (_, task), points in table.items():
        color = f"C{tasks.index(task) % 10}"
        deviation, error = zip(*((d, e) for _, d, e in points), strict=True)
        axes.plot(deviation, error, "o-", color=color, lw=1, ms=3, alpha=0.7)
    for task in tasks:
        axes.plot([], [], "o-", color=f"C{tasks.index(task) % 10}", label=task)
    if values:
        ends = [min(values), max(values)]
        axes.plot(ends, ends, "--", color="0.4", lw=1, label="error = deviation")
        axes.set(xscale="log", yscale="log")
    axes.set_xlabel("predicted deviation (z-score)")
    axes.set_ylabel("error made, root mean square (z-score)")
    axes.legend(frameon=False, fontsize=8.5)
    return figure
