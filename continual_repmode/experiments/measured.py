"""A table with what was measured for it."""

from dataclasses import dataclass

from continual_repmode.experiments.comparisons import gain_percent
from continual_repmode.experiments.summary import RowResults, Value
from continual_repmode.experiments.table import Table
from continual_repmode.metrics.regression import METRICS


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A table with what was measured for it."""

    table: Table
    #: In the order of the table.
    rows: tuple[RowResults, ...]
    #: What its columns are about: all tasks, or those that arrive later.
    tasks: tuple[str, ...]
    #: Those of all rows, in addition to their own.
    settings: tuple[str, ...]

    def reference_of(self, results: RowResults) -> RowResults:
        """Return the results to compare with."""
        name = self.table.reference_of(results.row).name
        return next(found for found in self.rows if found.row.name == name)

    @property
    def is_stream(self) -> bool:
        """Whether it is about tasks that arrive later."""
        return self.table.layout == "stream"

    def gain_percent(self, results: RowResults, metric: str) -> Value | None:
        """Return the improvement over the row to compare with, in percent."""
        better = 1 if METRICS[metric].higher_is_better else -1
        return gain_percent(results, self.reference_of(results), metric, better)

    @property
    def shown(self) -> tuple[RowResults, ...]:
        """The rows of which something is measured."""
        return tuple(found for found in self.rows if found.records)

    def groups(self) -> list[str]:
        """Return the headings of the rows of which something is measured."""
        return list(dict.fromkeys(found.row.group for found in self.shown))

    def lowest_validation(self) -> dict[str, str]:
        """Return the row with the lowest validation MSE of each group -> the group."""
        lowest: dict[str, tuple[float, str]] = {}
        for found in self.rows:
            if (value := found.validation()) is not None:
                group, own = found.row.group, (value.mean, found.row.name)
                lowest[group] = min(lowest.get(group, own), own)
        return {name: group for group, (_, name) in lowest.items()}
