"""From the records of a run to result matrices, forgetting and transfer."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from continual_repmode.analysis.gating import write_gating_weights
from continual_repmode.errors import UserError
from continual_repmode.files import write_whole
from continual_repmode.metrics.continual import (
    Overall,
    backward_transfer,
    forgetting,
    forward_transfer,
    learned_values,
    overall,
)
from continual_repmode.metrics.further import metric_named
from continual_repmode.metrics.regression import METRICS, Metric
from continual_repmode.models import RepModeUNet, load_model
from continual_repmode.result_content import Header
from continual_repmode.results import ExperienceRecord, RunFolder, read_json, write_json

ResultRows = list[dict[str, float]]
"""Row *i*: task -> mean over its test images after experience *i*."""

_NOWHERE = Overall(math.nan, math.nan)


def result_matrix(records: Sequence[ExperienceRecord], metric: str) -> ResultRows:
    """Return R[i][task] of one metric.

    ``metric``: a key of :data:`continual_repmode.metrics.regression.METRICS`.
    """
    return [_mean_by_task(record, metric) for record in records]


def summarize(
    records: Sequence[ExperienceRecord], reference: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the part of ``results.json`` that follows from the records.

    ``records``: at least one.
    ``reference``: the ``results.json`` of a run to compare with, for forward transfer.
    Returns: ``tasks``, ``experiences``, ``metrics`` (per metric: ``result_matrix``,
        ``overall``, ``forgetting``, ``backward_transfer``, ``forward_transfer``; a task
        without a defined score after the last experience has no forgetting),
        ``validation`` (of each task, where it was validated last),
        ``old_tasks_unchanged`` and ``proofs``.
    """
    proofs = [proof for record in records for proof in record.proofs]
    return {
        "tasks": [task for record in records for task in record.tasks],
        "experiences": [record.tasks for record in records],
        "metrics": {
            name: _metric(records, metric, reference)
            for name in _measured(records)
            if (metric := metric_named(name)) is not None
        },
        "validation": {t: s for r in records for t, s in r.validation.items()},
        "old_tasks_unchanged": all(proof["unchanged"] for proof in proofs),
        "proofs": [record.proofs for record in records],
    }


def publish(folder: RunFolder, reference: dict[str, Any] | None = None) -> None:
    """Write ``results.json`` and the tables of a run from its records so far.

    Parameters
    ----------
    folder : RunFolder
        With at least one complete experience.
    reference : dict, optional
        The ``results.json`` of a run to compare with, for forward transfer.
    """
    records = folder.records()
    net = load_model(folder.checkpoint(records[-1].experience))
    costs = [
        {
            "wall_time_s": r.wall_time_s,
            "num_trained_parameters": r.num_trained_parameters,
        }
        for r in records
    ]
    results = {
        **read_json(folder.header, Header),
        **summarize(records, reference),
        "costs": costs,
        "parameters": {
            "total": net.num_parameters(),
            "per_task": {n: net.num_task_parameters(n) for n in net.task_names},
        },
    }
    write_json(folder.results, results)
    write_image_metrics(records, folder)
    if isinstance(net, RepModeUNet) and net.blocks():  # has gates of tasks
        write_gating_weights(folder, net)


def write_image_metrics(records: Sequence[ExperienceRecord], folder: RunFolder) -> None:
    """Write ``image_metrics.csv``: one line per experience and test image."""
    text = io.StringIO()
    further = [name for name in _measured(records) if name not in METRICS]
    names = ["experience", "task", "image", *METRICS, "num_voxels", *further]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for record in records:
        for row in record.rows:
            writer.writerow({"experience": record.experience, **row})
    write_whole(folder.image_metrics, text.getvalue())


def _metric(
    records: Sequence[ExperienceRecord],
    measured: Metric,
    reference: dict[str, Any] | None,
) -> dict[str, Any]:
    metric, better = measured.name, measured.higher_is_better
    matrix = result_matrix(records, metric)
    tasks = [task for record in records for task in record.tasks]
    defined = _defined_at_the_end(matrix)
    lost = forgetting(defined, higher_is_better=better)
    back = backward_transfer(defined, higher_is_better=better)
    both = [
        overall(row, _count_images(r, metric)) if row else _NOWHERE
        for row, r in zip(matrix, records, strict=True)
    ]
    result = {
        "higher_is_better": better,
        "result_matrix": [[row.get(task) for task in tasks] for row in matrix],
        "overall": {
            "over_images": [values.over_images for values in both],
            "over_tasks": [values.over_tasks for values in both],
        },
        "forgetting": {"per_task": dict(lost.per_task), "mean": lost.mean},
        "backward_transfer": {"per_task": dict(back.per_task), "mean": back.mean},
        "forward_transfer": None,
    }
    if reference is not None and metric in reference["metrics"]:
        learned = learned_values(matrix)
        known = reference_values(reference, metric)
        shared = {task: known[task] for task in learned if task in known}
        forward = forward_transfer(learned, shared, higher_is_better=better)
        result["forward_transfer"] = {
            "per_task": dict(forward.per_task),
            "mean": forward.mean,
        }
    return result


def reference_values(results: dict[str, Any], metric: str) -> dict[str, float]:
    """Return each task's score right after it was learned, from a ``results.json``.

    Raises UserError if the metric is not in it.
    """
    if metric not in results["metrics"]:
        raise UserError(
            f"reference: this results.json has no result matrix of {metric!r}; "
            "name the folder of a run made by this version"
        )
    rows = results["metrics"][metric]["result_matrix"]
    return learned_values([dict(zip(results["tasks"], r, strict=True)) for r in rows])


def _defined_at_the_end(matrix: ResultRows) -> ResultRows:
    """Leave out tasks without a last score, as R2 has none if a target is constant."""
    defined = {task for task, value in matrix[-1].items() if not math.isnan(value)}
    return [{t: value for t, value in row.items() if t in defined} for row in matrix]


def _measured(records: Sequence[ExperienceRecord]) -> list[str]:
    """Return the names of all metrics that any image has, the four first."""
    found = dict.fromkeys(name for r in records for row in r.rows for name in row)
    others = {"task", "image", "num_voxels"}
    return [*METRICS, *(n for n in found if n not in METRICS and n not in others)]


def check_reference(results: dict[str, Any]) -> dict[str, Any]:
    """Return ``results`` if a run can be compared with it.

    Raises UserError if a metric has no result matrix.
    """
    for metric in METRICS:
        reference_values(results, metric)
    return results


def _mean_by_task(record: ExperienceRecord, metric: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for row in record.rows:
        if metric in row:  # else it is not defined for the image
            value = row[metric]
            values.setdefault(row["task"], []).append(
                math.nan if value is None else value
            )
    return {task: sum(found) / len(found) for task, found in values.items()}


def _count_images(record: ExperienceRecord, metric: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in record.rows:
        if metric not in row:
            continue
        counts[row["task"]] = counts.get(row["task"], 0) + 1
    return counts
