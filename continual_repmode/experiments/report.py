"""Gathers the records of a table and writes its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from continual_repmode.analysis.plots import save_figure
from continual_repmode.experiments.csv_file import format_csv
from continual_repmode.experiments.figures import draw
from continual_repmode.experiments.markdown import format_markdown
from continual_repmode.experiments.measured import Measured
from continual_repmode.experiments.planned import Places, PlannedRun
from continual_repmode.experiments.summary import RowResults
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
