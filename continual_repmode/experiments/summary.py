"""What the runs of a row say together: means and spreads."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from continual_repmode.experiments.record import RunRecord
from continual_repmode.experiments.table import Row


@dataclass(frozen=True, slots=True)
class Value:
    """A mean over seeds and its spread."""

    mean: float
    #: Standard deviation over the seeds (n - 1); None for a single one.
    spread: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Value | None":
        """Return mean and spread of the known values, None if there are none."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        spread = statistics.stdev(known) if len(known) > 1 else None
        return cls(statistics.fmean(known), spread)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowResults:
    """The runs of one row."""

    row: Row
    #: Seed -> what was measured.
    records: Mapping[int, RunRecord]
    #: Seed -> why there is no record.
    missing: Mapping[int, str]

    def task(self, metric: str, task: str) -> Value | None:
        """Return the final value of a task."""
        return self._value("metrics", metric, "per_task", task)

    def overall(self, metric: str) -> Value | None:
        """Return the mean over all test images, the column "All" of the paper."""
        return self._value("metrics", metric, "overall", "over_images")

    def forgetting(self, metric: str) -> Value | None:
        """Return how much the earlier tasks lost on average; positive is worse."""
        return self._value("metrics", metric, "mean_forgetting")

    def first_forgetting(self, metric: str) -> Value | None:
        """Return how much the tasks of the first experience lost on average."""
        return Value.of(
            _mean(record.metrics[metric]["forgetting"].get(t) for t in first)
            for record in self.records.values()
            for first in record.experiences[:1]
        )

    def when_learned(self, metric: str, task: str) -> Value | None:
        """Return the value of a task right after the experience that brought it."""
        return Value.of(_learned(r, metric, task) for r in self.records.values())

    def mean_over(self, metric: str, tasks: Sequence[str]) -> Value | None:
        """Return the final value averaged over some tasks, each counting once."""
        return Value.of(
            _mean(record.metrics[metric]["per_task"].get(task) for task in tasks)
            for record in self.records.values()
        )

    def mean_when_learned(self, metric: str, tasks: Sequence[str]) -> Value | None:
        """Return the values right after learning, averaged over some tasks."""
        return Value.of(
            _mean(_learned(record, metric, task) for task in tasks)
            for record in self.records.values()
        )

    def validation(self) -> Value | None:
        """Return the validation MSE of what the run learned itself."""
        return Value.of(_mean(r.valid_mse or ()) for r in self.records.values())

    def growth(self, metric: str) -> dict[int, Value]:
        """Return number of tasks -> mean over all tasks so far."""
        found: dict[int, list[float | None]] = {}
        for record in self.records.values():
            matrix = record.metrics[metric]["result_matrix"]
            for number, row in zip(_numbers(record), matrix, strict=True):
                found.setdefault(number, []).append(_mean(row))
        values = {number: Value.of(means) for number, means in found.items()}
        return {number: value for number, value in values.items() if value is not None}

    def parameter_growth(self) -> dict[int, int]:
        """Return number of tasks -> parameters of the network that knows them."""
        for record in self.records.values():
            own = record.parameters["per_task"]
            return {
                number: record.parameters["total"]
                - sum(own[task] for task in record.tasks[number:])
                for number in _numbers(record)
            }
        return {}

    def cost(self, name: str) -> Value | None:
        """Return ``step_s``, ``step_bytes`` or ``volume_s``."""
        return self._value("costs", name)

    def parameters(self) -> int | None:
        """Return the parameters of the network at the end."""
        value = self._value("parameters", "total")
        return None if value is None else round(value.mean)

    def parameters_per_task(self) -> int | None:
        """Return what the last task to arrive has to itself."""
        for record in self.records.values():
            per_task = record.parameters["per_task"]
            return int(per_task[record.tasks[-1]])
        return None

    def added_percent(self) -> float | None:
        """Return the same in percent of the network before any task was added."""
        for record in self.records.values():
            per_task = record.parameters["per_task"]
            later = [task for tasks in record.experiences[1:] for task in tasks]
            if not later:
                return None
            before: int = record.parameters["total"] - sum(per_task[t] for t in later)
            return 100 * float(per_task[later[-1]]) / before
        return None

    def steps(self) -> int | None:
        """Return the training steps, without those of a run it starts from."""
        value = self._value("steps")
        return None if value is None else round(value.mean)

    def _value(self, *path: str) -> Value | None:
        return Value.of(value_at(record, path) for record in self.records.values())


def value_at(record: RunRecord, path: Sequence[str]) -> float | None:
    """Return what stands at a path of names within a record, None if nothing does."""
    found: Any = getattr(record, path[0])
    for name in path[1:]:
        found = found.get(name)
        if found is None:
            return None
    return float(found)


def _learned(record: RunRecord, metric: str, task: str) -> float | None:
    """Return a value of a task right after the experience that brought it."""
    matrix = record.metrics[metric]["result_matrix"]
    for row, tasks in zip(matrix, record.experiences, strict=True):
        if task in tasks:
            value: float | None = row[record.tasks.index(task)]
            return value
    return None


def _numbers(record: RunRecord) -> list[int]:
    """Return how many tasks are known after each experience."""
    return list(accumulate(map(len, record.experiences)))


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known values, None if there are none."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
