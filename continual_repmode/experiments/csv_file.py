"""Writes every number of a table as CSV, one per line."""

import csv
import io
from collections.abc import Iterator

from continual_repmode.experiments.measured import Measured
from continual_repmode.experiments.paper import LABEL, METRICS
from continual_repmode.experiments.summary import RowResults, Value


def format_csv(measured: Measured) -> str:
    """Return every number that is measured, one per line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ("table", "group", "row", "label", "task", "quantity")
    writer.writerow([*header, "mean", "spread", "num_seeds", LABEL])
    for results in measured.shown:
        row = results.row
        for task, quantity, value, published in _quantities(measured, results):
            names = (measured.table.name, row.group, row.name, row.label)
            mean, spread = (value.mean, value.spread) if value else (None, None)
            numbers = (mean, spread, len(results.records), published)
            writer.writerow([*names, task, quantity, *numbers])
    return text.getvalue()


def _quantities(
    measured: Measured, results: RowResults
) -> Iterator[tuple[str, str, Value | None, float | None]]:
    """Give task, quantity, what was measured and what the paper has."""
    if measured.table.layout == "choices":
        yield "", "valid_mse", results.validation(), None
        yield from _costs(results)
        return
    paper = results.row.paper
    for metric in METRICS:
        published = paper.per_task.get(metric, {}) if paper else {}
        for task in measured.tasks:
            yield task, metric, results.task(metric, task), published.get(task)
        if measured.is_stream:
            for task in measured.tasks:
                learned = results.when_learned(metric, task)
                yield task, f"{metric}_when_learned", learned, None
            first = results.first_forgetting(metric)
            yield "first", f"{metric}_forgetting", first, None
        if measured.table.layout != "transfer":  # its rows are of different tasks
            overall = paper.overall.get(metric) if paper else None
            yield "all", metric, results.overall(metric), overall
            gain = measured.gain_percent(results, metric)
            published_gain = paper.gain_percent.get(metric) if paper else None
            yield "all", f"{metric}_gain_percent", gain, published_gain
        yield "earlier", f"{metric}_forgetting", results.forgetting(metric), None
    if measured.table.layout == "growth":
        for number, value in results.growth("r2").items():
            yield f"first {number}", "r2_so_far", value, None
        for number, size in results.parameter_growth().items():
            yield f"first {number}", "parameters", Value(size, None), None
    yield from _costs(results)


def _costs(
    results: RowResults,
) -> Iterator[tuple[str, str, Value | None, float | None]]:
    for name in ("step_s", "step_bytes", "volume_s"):
        yield "", name, results.cost(name), None
    for name, number in (
        ("parameters", results.parameters()),
        ("parameters_per_task", results.parameters_per_task()),
    ):
        yield "", name, None if number is None else Value(number, None), None
