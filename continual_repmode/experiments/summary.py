"""What the runs of a row say together: means, spreads, and paired differences."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from scipy.stats import spearmanr

from continual_repmode.experiments.record import RunRecord, final_values
from continual_repmode.experiments.table import Row


@dataclass(frozen=True, slots=True)
class Value:
    """A mean over seeds and its spread.

    Attributes
    ----------
    mean : float
    spread : float or None
        Standard deviation over the seeds (n - 1); None for a single one.
    """

    mean: float
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
    """The runs of one row.

    Attributes
    ----------
    row : Row
    records : mapping of int to RunRecord
        Seed -> what was measured.
    missing : mapping of int to str
        Seed -> why there is no record.
    """

    row: Row
    records: Mapping[int, RunRecord]
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
        return Value.of(_at(record, path) for record in self.records.values())


def gain_percent(
    results: RowResults, reference: RowResults, metric: str, better: int
) -> Value | None:
    """Return the relative improvement over a row, the paper's Delta_Imp.

    Parameters
    ----------
    results, reference : RowResults
        Compared seed by seed, on the mean over all test images.
    metric : str
    better : int
        1 if higher is better, -1 otherwise.

    Returns
    -------
    Value or None
        In percent, 0 to 100; None if no seed is done in both rows.
    """
    path = ("metrics", metric, "overall", "over_images")
    found = []
    for seed in results.records.keys() & reference.records.keys():
        value = _at(results.records[seed], path)
        other = _at(reference.records[seed], path)
        if value is not None and other:
            found.append(100 * better * (value - other) / abs(other))
    return Value.of(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A row against its reference on the same test images and seeds.

    Attributes
    ----------
    mean : float
        Of the differences row - reference, over seeds and images.
    error : float
        Standard error of this mean over the test images, each averaged over the seeds
        first. It does not count that images of one task go together.
    seed_spread : float or None
        Standard deviation over the seeds of the mean over images; None for one seed.
    num_images, num_seeds : int
    num_same_sign : int
        Seeds whose mean over images has the sign of :attr:`mean`.
    """

    mean: float
    error: float
    seed_spread: float | None
    num_images: int
    num_seeds: int
    num_same_sign: int

    @property
    def is_larger_than_spread(self) -> bool:
        """Whether all seeds agree and the difference exceeds both of its spreads.

        That is, twice its standard error over images, and the standard deviation over
        seeds where there are several.
        """
        return (
            self.num_same_sign == self.num_seeds
            and abs(self.mean) > 2 * self.error
            and abs(self.mean) > (self.seed_spread or 0.0)
        )


def paired_difference(
    results: RowResults,
    reference: RowResults,
    metric: str,
    tasks: Sequence[str] | None = None,
) -> Difference | None:
    """Compare a row with another, image by image and seed by seed.

    Parameters
    ----------
    results, reference : RowResults
    metric : str
    tasks : sequence of str, optional
        All tasks unless given.

    Returns
    -------
    Difference or None
        None if no seed is done in both, or fewer than two images are.
    """
    by_seed = []
    for seed in sorted(results.records.keys() & reference.records.keys()):
        record, other = results.records[seed], reference.records[seed]
        chosen = [t for t in tasks or record.tasks if t in other.images]
        values = final_values(record, metric, chosen)
        others = final_values(other, metric, chosen)
        by_seed.append(
            {k: value - others[k] for k, value in values.items() if k in others}
        )
    images = set.intersection(*map(set, by_seed)) if by_seed else set()
    if len(images) < 2:
        return None
    order = sorted(images)
    of_images = [statistics.fmean(found[k] for found in by_seed) for k in order]
    of_seeds = [statistics.fmean(found[k] for k in order) for found in by_seed]
    mean = statistics.fmean(of_seeds)
    return Difference(
        mean=mean,
        error=statistics.stdev(of_images) / math.sqrt(len(order)),
        seed_spread=statistics.stdev(of_seeds) if len(of_seeds) > 1 else None,
        num_images=len(order),
        num_seeds=len(of_seeds),
        num_same_sign=sum(value * mean > 0 for value in of_seeds),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """What a new task gains from one that is known.

    Attributes
    ----------
    known, new : str
    gain : Value
        R2 of the new task, less that of learning it alone in as many steps.
    gate_distance : Value or None
        Jensen-Shannon divergence of the gates of both in the extended network, in bits.
    """

    known: str
    new: str
    gain: Value
    gate_distance: Value | None


def transfers(rows: Iterable[RowResults]) -> list[Transfer]:
    """Compare every network of two tasks with that of the second one alone.

    Parameters
    ----------
    rows : iterable of RowResults
        Networks of one task, learned from scratch, and of two, one after the other.
        Both are compared seed by seed.
    """
    alone: dict[tuple[int, str], float] = {}
    pairs: dict[tuple[str, str], dict[int, RunRecord]] = {}
    for found in rows:
        for seed, record in found.records.items():
            *known, new = record.tasks
            if known:
                pairs.setdefault((known[0], new), {})[seed] = record
            else:
                alone[seed, new] = record.metrics["r2"]["per_task"][new]
    compared = []
    for (first, new), records in pairs.items():
        gain = Value.of(
            record.metrics["r2"]["per_task"][new] - alone[seed, new]
            for seed, record in records.items()
            if (seed, new) in alone
        )
        distances = (r.gate_distances.get(f"{first} {new}") for r in records.values())
        if gain is not None:
            compared.append(
                Transfer(
                    known=first, new=new, gain=gain, gate_distance=Value.of(distances)
                )
            )
    return compared


def rank_correlation(compared: Sequence[Transfer]) -> float | None:
    """Return Spearman's correlation of gain and gate distance; None if undefined."""
    points = [(t.gain.mean, t.gate_distance.mean) for t in compared if t.gate_distance]
    if len({gain for gain, _ in points}) < 3 or len({d for _, d in points}) < 3:
        return None
    return float(spearmanr(*zip(*points, strict=True)).statistic)


def _at(record: RunRecord, path: Sequence[str]) -> float | None:
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
