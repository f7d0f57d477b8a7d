"""Gathers the records of a table and writes its files."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from continual_repmode.analysis.plots import save_figure
from continual_repmode.experiments.figures import draw
from continual_repmode.experiments.markdown import format_markdown
from continual_repmode.experiments.measured import Measured
from continual_repmode.experiments.paper import LABEL, METRICS
from continual_repmode.experiments.planned import Places, PlannedRun
from continual_repmode.experiments.summary import RowResults, Value
from continual_repmode.experiments.table import Row, Table
from continual_repmode.files import write_whole


def gather(
    table: Table,
    planned: Mapping[str, Sequence[PlannedRun]],
    common: Sequence[str],
    places: Places,
) -> Measured:
    """Read what is there of a table.

    Raises UserError if a record is damaged.
    """
    return Measured(
        table=table,
        rows=tuple(_results(row, planned[row.name], places) for row in table.rows),
        tasks=_tasks(table, planned),
        settings=tuple(common),
    )


def write_table(measured: Measured, folder: Path) -> list[Path]:
    """Write a table as Markdown and CSV, and its figure; return the files."""
    name = measured.table.name
    texts = {
        folder / f"{name}.md": format_markdown(measured),
        folder / f"{name}.csv": format_csv(measured),
    }
    for path, text in texts.items():
        write_whole(path, text)
    figure = draw(measured)
    if figure is None:
        return list(texts)
    return [*texts, save_figure(figure, folder / "figures" / f"{name}.png")]


def _tasks(
    table: Table, planned: Mapping[str, Sequence[PlannedRun]]
) -> tuple[str, ...]:
    """Return the tasks that the columns are about."""
    streams = {
        name: runs[0].settings["scenario.experiences"] for name, runs in planned.items()
    }
    match table.layout:
        case "joint":
            chosen = streams[table.reference]
        case "stream":
            chosen = streams[table.reference][1:]
        case "transfer":
            chosen = [stream[-1] for stream in streams.values()]
        case "choices" | "growth":  # not about single tasks
            chosen = []
    return tuple(dict.fromkeys(task for tasks in chosen for task in tasks))


def _results(row: Row, runs: Sequence[PlannedRun], places: Places) -> RowResults:
    found = {run.seed: places.find(run) for run in runs}
    return RowResults(
        row=row,
        records={seed: record for seed, record in found.items() if record is not None},
        missing={r.seed: places.reason(r) for r in runs if found[r.seed] is None},
    )


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
