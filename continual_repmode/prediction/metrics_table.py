"""How well predictions agree with targets, image by image, and the table of it."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from continual_repmode.errors import UserError
from continual_repmode.files import replacing
from continual_repmode.metrics.regression import METRICS, ImageMetrics, RegressionSums
from continual_repmode.volumes.volume_file import VolumeFile

METRICS_FILE = "metrics.csv"
"""Beside the outputs."""

COLUMNS = ("image", "task", "split", *METRICS, "num_voxels")

Row = Mapping[str, str]
Key = tuple[str, str]
"""Image and task."""

_ANY_NAME = "surrogateescape"
"""Names of files that are not UTF-8 are in the table as they are on the disk."""

_BLOCK_VOXELS = 2_000_000


def compare(prediction: VolumeFile, target: VolumeFile) -> ImageMetrics:
    """Return the metrics of a prediction on the model grid, as a run tests it."""
    sums = RegressionSums()
    num_z, y, x = target.shape
    step = max(1, _BLOCK_VOXELS // (y * x))
    for start in range(0, num_z, step):
        planes = slice(start, min(start + step, num_z))
        sums.update(prediction[planes], target[planes])
    return sums.result()


def metrics_row(
    image: str, task: str, split: str | None, metrics: Mapping[str, float]
) -> dict[str, str]:
    """Return a row of the table; numbers are written so that no digit is lost."""
    values = {name: repr(metrics[name]) for name in (*METRICS, "num_voxels")}
    return {"image": image, "task": task, "split": split or "", **values}


def read_metrics(folder: Path) -> dict[Key, Row]:
    """Return the rows of the table of a folder by image and task; none without one.

    Raises
    ------
    UserError
        If there is a file of that name with other columns.
    """
    path = folder / METRICS_FILE
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8", errors=_ANY_NAME) as file:
            reader = csv.DictReader(file)
            header = tuple(reader.fieldnames or ())
            rows = list(reader) if header == COLUMNS else []
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if header != COLUMNS:
        raise UserError(
            f"{path}: is not a table of this command; move it, or choose another --out"
        )
    return {(row["image"], row["task"]): row for row in rows}


def add_metrics(folder: Path, new: Iterable[Row]) -> None:
    """Put rows into the table of a folder, instead of those of the same image and task.

    Raises
    ------
    UserError
        As :func:`read_metrics`.
    """
    with (
        FileLock(folder / f".{METRICS_FILE}.lock"),  # others add theirs meanwhile
        replacing(folder / METRICS_FILE) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors=_ANY_NAME) as file,
    ):
        rows = read_metrics(folder) | {(row["image"], row["task"]): row for row in new}
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows.values())


def format_metrics(rows: Sequence[Row]) -> str:
    """Return the table for people, with the mean over the images of each task."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    width = max(5, *(len(row["image"]) for row in rows))
    task_width = max(map(len, (*by_task, "task")))
    labels = "".join(f"{metric.label:>11}" for metric in METRICS.values())
    lines = [f"{'image':<{width}}  {'task':<{task_width}}{labels}"]
    for task, found in by_task.items():
        for row in found:
            lines.append(f"{row['image']:<{width}}  {task:<{task_width}}" + _cells(row))
        if len(found) > 1:
            means = {
                name: str(sum(float(row[name]) for row in found) / len(found))
                for name in METRICS
            }
            lines.append(f"{'mean':<{width}}  {task:<{task_width}}" + _cells(means))
    return "\n".join(lines)


def _cells(row: Row) -> str:
    return "".join(f"{float(row[name]):>11.4f}" for name in METRICS)
