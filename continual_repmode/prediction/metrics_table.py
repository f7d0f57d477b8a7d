"""How well predictions agree with targets, image by image, and the table of it."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from filelock import FileLock

from continual_repmode.errors import UserError
from continual_repmode.files import write_whole
from continual_repmode.metrics.further import measure_further, metric_named
from continual_repmode.metrics.image_pair import ImagePair
from continual_repmode.metrics.regression import METRICS, Metric, RegressionSums
from continual_repmode.volumes.preparation import VoxelSizeUm
from continual_repmode.volumes.volume_file import VolumeFile

METRICS_FILE = "metrics.csv"
"""Beside the outputs."""

COLUMNS = ("image", "task", "split", *METRICS, "num_voxels")
"""The first of every table; further metrics follow, empty where not measured."""

Row = Mapping[str, str]
Key = tuple[str, str]
"""Image and task."""

_ANY_NAME = "surrogateescape"
"""Names of files that are not UTF-8 are in the table as they are on the disk."""

_BLOCK_VOXELS = 2_000_000


def compare(
    prediction: VolumeFile,
    target: VolumeFile,
    signal: VolumeFile,
    task: str,
    voxel_size_um: VoxelSizeUm,
    metrics: Sequence[Metric] = (),
) -> dict[str, float]:
    """Return the metrics of a prediction on the model grid, as a run tests it.

    Voxels that are NaN in ``target`` or ``signal``, not recorded, do not count.

    ``voxel_size_um``: of the model grid, (z, y, x).
    ``metrics``: beside those that are always there; these need both volumes in memory.
    Returns: NaN where a metric is not defined.
    """
    sums = RegressionSums()
    num_z, y, x = target.shape
    step = max(1, _BLOCK_VOXELS // (y * x))
    for start in range(0, num_z, step):
        planes = slice(start, min(start + step, num_z))
        recorded = np.where(np.isnan(signal[planes]), np.nan, target[planes])
        sums.update(prediction[planes], recorded)
    found: dict[str, float] = asdict(sums.result())
    if metrics:
        recorded = np.where(np.isnan(signal[:]), np.nan, target[:])
        pair = ImagePair(prediction[:], recorded, task, voxel_size_um)
        found |= dict.fromkeys((metric.name for metric in metrics), math.nan)
        found |= measure_further(metrics, pair)
    return found


def metrics_row(
    image: str, task: str, split: str | None, metrics: Mapping[str, float]
) -> dict[str, str]:
    """Return a row of the table; numbers are written so that no digit is lost."""
    values = {name: repr(value) for name, value in metrics.items()}
    return {"image": image, "task": task, "split": split or "", **values}


def read_metrics(folder: Path) -> dict[Key, Row]:
    """Return the rows of the table of a folder by image and task; none without one.

    Raises UserError if there is a file of that name with other columns.
    """
    path = folder / METRICS_FILE
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8", errors=_ANY_NAME) as file:
            reader = csv.DictReader(file)
            ours = tuple(reader.fieldnames or ())[: len(COLUMNS)] == COLUMNS
            rows = list(reader) if ours else []
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if not ours:
        raise UserError(
            f"{path}: is not a table of this command; move it, or choose another --out"
        )
    return {(row["image"], row["task"]): row for row in rows}


def add_metrics(folder: Path, new: Iterable[Row]) -> None:
    """Put rows into the table of a folder, instead of those of the same image and task.

    Raises UserError: as :func:`read_metrics`.
    """
    text = io.StringIO(newline="")
    with FileLock(folder / f".{METRICS_FILE}.lock"):  # others add theirs meanwhile
        rows = read_metrics(folder) | {(row["image"], row["task"]): row for row in new}
        columns = [*COLUMNS, *(name for row in rows.values() for name in row)]
        names = list(dict.fromkeys(columns))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
        data = text.getvalue().encode("utf-8", _ANY_NAME)
        write_whole(folder / METRICS_FILE, data)


def format_metrics(rows: Sequence[Row]) -> str:
    """Return the table for people, with the mean over the images of each task."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    width = max(5, *(len(row["image"]) for row in rows))
    task_width = max(map(len, (*by_task, "task")))
    metrics = _measured(rows)
    labels = "".join(f"{metric.label:>11}" for metric in metrics)
    lines = [f"{'image':<{width}}  {'task':<{task_width}}{labels}"]
    for task, found in by_task.items():
        for row in found:
            lines.append(
                f"{row['image']:<{width}}  {task:<{task_width}}" + _cells(row, metrics)
            )
        if len(found) > 1:
            means = {metric.name: _mean(found, metric.name) for metric in metrics}
            mean = f"{'mean':<{width}}  {task:<{task_width}}"
            lines.append(mean + _cells(means, metrics))
    return "\n".join(lines)


def _measured(rows: Sequence[Row]) -> list[Metric]:
    """Return the metrics that any row has; those that are always there come first."""
    found = {name for row in rows for name, value in row.items() if value}
    further = dict.fromkeys(name for row in rows for name in row)
    names = [*METRICS, *(n for n in further if n in found and n not in COLUMNS)]
    return [metric_named(n) or Metric(n, n, higher_is_better=False) for n in names]


def _mean(rows: Sequence[Row], name: str) -> str:
    """Return the mean over the images; of further metrics, over those with a value."""
    values = [float(row.get(name) or "nan") for row in rows]
    known = [v for v in values if name in METRICS or not math.isnan(v)]
    return str(sum(known) / len(known)) if known else ""


def _cells(row: Row, metrics: Sequence[Metric]) -> str:
    values = [float(row.get(metric.name) or "nan") for metric in metrics]
    return "".join(f"{'-' if math.isnan(v) else f'{v:.4f}':>11}" for v in values)
