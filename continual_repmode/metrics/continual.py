"""What a stream of experiences did to each task: forgetting and transfer.

All functions take a *result matrix*: one row per experience, in order, that maps each
task to its score after that experience, with None or NaN (or no entry) for a task not
yet learned. Scores are means over the test images of a task.

Definitions follow Lopez-Paz and Ranzato, "Gradient episodic memory for continual
learning" (NeurIPS 2017; backward and forward transfer) and Chaudhry et al., "Riemannian
walk for incremental learning" (ECCV 2018; forgetting), with the sign turned for errors.
Equal scores give exactly 0.0.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from continual_repmode.errors import UserError

ResultMatrix = Sequence[Mapping[str, float | None]]


@dataclass(frozen=True, slots=True)
class TaskScores:
    """A score per task and its mean over these tasks (NaN if there are none)."""

    per_task: Mapping[str, float]
    mean: float


@dataclass(frozen=True, slots=True)
class Overall:
    """A metric over all tasks, weighted in two ways."""

    #: Every test image counts once, as in the column "All" of Table 1.
    over_images: float
    #: Every task counts once, however many test images it has.
    over_tasks: float


def learned_values(results: ResultMatrix) -> dict[str, float]:
    """Return each task's score right after it was learned (its first score)."""
    learned: dict[str, float] = {}
    for row in results:
        for task, value in row.items():
            if task not in learned and _is_known(value):
                learned[task] = float(value)
    return learned


def forgetting(results: ResultMatrix, *, higher_is_better: bool) -> TaskScores:
    """Return how far each task fell below its best earlier score.

    The difference between the best score before the last experience and the score
    after it, for the tasks learned before the last experience. Positive means worse;
    negative means that the last experience improved on all earlier ones.

    Raises
    ------
    UserError
        If a learned task has no score after the last experience.
    """
    best: dict[str, float] = {}
    for row in results[:-1]:
        for task, value in row.items():
            if _is_known(value):
                pick = max if higher_is_better else min
                best[task] = pick(best.get(task, value), value)
    return _task_scores(
        {
            task: _gain(_last(results, task), value, higher_is_better)
            for task, value in best.items()
        }
    )


def backward_transfer(results: ResultMatrix, *, higher_is_better: bool) -> TaskScores:
    """Return how much each task gained after it was learned.

    The score after the last experience against the score right after learning, for
    the tasks learned before the last experience. Positive means better.

    Raises
    ------
    UserError
        If a learned task has no score after the last experience.
    """
    return _task_scores(
        {
            task: _gain(value, _last(results, task), higher_is_better)
            for task, value in learned_values(results[:-1]).items()
        }
    )


def forward_transfer(
    learned: Mapping[str, float],
    reference: Mapping[str, float],
    *,
    higher_is_better: bool,
) -> TaskScores:
    """Return how much each task gained from what was learned before it.

    The score right after learning against that of a reference run that learned the
    task alone, with the same budget: Chaudhry et al. call its negative intransigence.
    (Lopez-Paz and Ranzato instead compare scores *before* learning with those of an
    untrained network; a network whose gates know no such task has none.)

    Parameters
    ----------
    learned : mapping of str to float
        Score right after learning, from :func:`learned_values`.
    reference : mapping of str to float
        Score of the reference run, for the tasks to compare.

    Returns
    -------
    TaskScores
        For the tasks of ``reference``. Positive means better than the reference.

    Raises
    ------
    UserError
        If a task of ``reference`` was not learned.
    """
    unknown = [task for task in reference if task not in learned]
    if unknown:
        raise UserError(
            f"reference has task {unknown[0]!r}, which was not learned; "
            f"learned were {', '.join(learned)}"
        )
    return _task_scores(
        {
            task: _gain(value, learned[task], higher_is_better)
            for task, value in reference.items()
        }
    )


def overall(values: Mapping[str, float], num_images: Mapping[str, int]) -> Overall:
    """Return a metric over all tasks, in both weightings.

    ``values``: mean over the test images of each task.
    ``num_images``: how many test images that was, for at least these tasks.
    Raises UserError if there are no tasks, or a task has no images.
    """
    counts = {task: num_images.get(task, 0) for task in values}
    empty = [task for task, count in counts.items() if count < 1]
    if empty or not counts:
        raise UserError(
            f"cannot average over {empty[0]!r}: it has no test images"
            if empty
            else "cannot average over no tasks"
        )
    weighted = math.fsum(value * counts[task] for task, value in values.items())
    return Overall(
        over_images=weighted / sum(counts.values()), over_tasks=_mean(values.values())
    )


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)


def _gain(before: float, after: float, higher_is_better: bool) -> float:
    """Return the improvement from one score to another; plain 0.0 if they are equal."""
    return after - before if higher_is_better else before - after


def _last(results: ResultMatrix, task: str) -> float:
    value = results[-1].get(task)
    if not _is_known(value):
        raise UserError(
            f"task {task!r} was learned but has no score after the last experience"
        )
    return float(value)


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _task_scores(per_task: dict[str, float]) -> TaskScores:
    return TaskScores(per_task, _mean(per_task.values()))
