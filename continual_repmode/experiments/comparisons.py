"""Rows against each other, on the same seeds and test images."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import spearmanr

from continual_repmode.experiments.record import RunRecord, final_values
from continual_repmode.experiments.summary import RowResults, Value, value_at


def gain_percent(
    results: RowResults, reference: RowResults, metric: str, better: int
) -> Value | None:
    """Return the relative improvement over a row, the paper's Delta_Imp.

    ``results``, ``reference``: compared seed by seed, on the mean over all test images.
    ``better``: 1 if higher is better, -1 otherwise.
    Returns: in percent, 0 to 100; None if no seed is done in both rows.
    """
    path = ("metrics", metric, "overall", "over_images")
    found = []
    for seed in results.records.keys() & reference.records.keys():
        value = value_at(results.records[seed], path)
        other = value_at(reference.records[seed], path)
        if value is not None and other:
            found.append(100 * better * (value - other) / abs(other))
    return Value.of(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A row against its reference on the same test images and seeds."""

    #: Of the differences row - reference, over seeds and images.
    mean: float
    #: Standard error of this mean over the test images, each averaged over the seeds
    #: first. It does not count that images of one task go together.
    error: float
    #: Standard deviation over the seeds of the mean over images; None for one seed.
    seed_spread: float | None
    num_images: int
    num_seeds: int
    #: Seeds whose mean over images has the sign of :attr:`mean`.
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

    Returns: None if no seed is done in both, or fewer than two images are.
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
    """What a new task gains from one that is known."""

    known: str
    new: str
    #: R2 of the new task, less that of learning it alone in as many steps.
    gain: Value
    #: Jensen-Shannon divergence of the gates of both in the extended network, in bits.
    gate_distance: Value | None


def transfers(rows: Iterable[RowResults]) -> list[Transfer]:
    """Compare every network of two tasks with that of the second one alone.

    ``rows``: networks of one task, learned from scratch, and of two, one after the
        other. Both are compared seed by seed.
    """
    alone: dict[tuple[int, str], float | None] = {}
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
            value - other
            for seed, record in records.items()
            if (value := record.metrics["r2"]["per_task"][new]) is not None
            and (other := alone.get((seed, new))) is not None
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
