"""Writes a table as Markdown, in the paper's layout."""

from collections.abc import Iterator

from continual_repmode.experiments import grids
from continual_repmode.experiments.comparisons import rank_correlation, transfers
from continual_repmode.experiments.measured import Measured
from continual_repmode.experiments.paper import LABEL, METRICS
from continual_repmode.metrics.regression import METRICS as KNOWN_METRICS

_LABEL = f"{LABEL[0].upper()}{LABEL[1:]}"


def format_markdown(measured: Measured) -> str:
    """Return the whole table as Markdown."""
    table = measured.table
    parts = [f"# {table.title}", table.about, _origin(measured)]
    match table.layout:
        case "joint":
            parts += _joint_parts(measured)
        case "stream":
            parts += _stream_parts(measured)
        case "transfer":
            parts += _transfer_parts(measured)
        case "choices":
            parts += _choices_parts(measured)
        case "growth":
            parts += _growth_parts(measured)
    if table.layout != "choices":  # test images must not choose
        parts += ["## Differences", _difference_note(measured)]
        parts += [_grid(grids.differences(measured))]
    parts += ["## Costs", _grid(grids.costs(measured))]
    if missing := list(_missing(measured)):
        parts += ["## Missing", "\n".join(missing)]
    return "\n\n".join(parts) + "\n"


def _origin(measured: Measured) -> str:
    """Say what ran where and when."""
    records = [record for found in measured.rows for record in found.records.values()]
    if not records:
        return "No run is done yet."
    seeds = sorted({seed for found in measured.rows for seed in found.records})
    machines = sorted(
        {", ".join(f"{k} {v}" for k, v in record.machine.items()) for record in records}
    )
    torch = sorted({record.versions["torch"] for record in records})
    dates = sorted(record.finished[:10] for record in records)
    days = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return (
        f"{len(records)} runs, seeds {', '.join(map(str, seeds))}; "
        f"`{' '.join(measured.settings)}`; {days}; "
        f"torch {', '.join(torch)}; {'; '.join(machines)}. Mean ± standard deviation "
        f"over seeds. What is under “{_LABEL}” is there for orientation only."
    )


def _joint_parts(measured: Measured) -> list[str]:
    reference = measured.table.row(measured.table.reference).label
    note = f"Gain: improvement over {reference} (Δ_Imp of the paper)."
    parts = ["## All tasks", note, _grid(grids.overview(measured))]
    parts += _of_paper(grids.overview_of_paper(measured))
    for metric in METRICS:
        label = KNOWN_METRICS[metric].label
        parts += [f"## {label} of each task", _grid(grids.per_task(measured, metric))]
        parts += _of_paper(grids.per_task_of_paper(measured, metric))
    return parts


def _stream_parts(measured: Measured) -> list[str]:
    note = (
        "Forgetting: mean over the tasks learned before the last one, their best "
        "earlier score against the final one; positive is worse, 0 is exactly nothing. "
        "“All tasks”: mean over the test images of all tasks at the end of the stream."
    )
    heading = "## New tasks, and what the earlier ones lost"
    shown = [heading, note, _grid(grids.overview(measured))]
    shown += _of_paper(grids.overview_of_paper(measured))
    note = (
        "A new task that was learned well may be lost while the next one is learned; "
        "the first tasks are those that were known before."
    )
    shown += ["## Right after learning", note, _grid(grids.when_learned(measured))]
    return shown


def _transfer_parts(measured: Measured) -> list[str]:
    compared = transfers(measured.rows)
    note = "R² of the new structure, less that of learning it alone in as many steps."
    correlation = rank_correlation(compared)
    relation = (
        "Not enough is measured to relate gains to gates."
        if correlation is None
        else "Spearman's rank correlation of the gain and the distance of the gates of "
        f"both structures: {correlation:+.2f} over {len(compared)} pairs. Pairs "
        "share structures, so they are not independent."
    )
    return ["## Gain in R²", note, _grid(grids.overview(measured)), relation]


def _choices_parts(measured: Measured) -> list[str]:
    note = (
        "MSE over the validation images of what the run learned, with the weights that "
        "were kept. Test images are left out: they do not choose."
    )
    return ["## Validation", note, _grid(grids.overview(measured))]


def _growth_parts(measured: Measured) -> list[str]:
    note = (
        "R² of the test images, averaged over the tasks that are known by then, each "
        "counting once. Parameters are those of the network that knows these tasks."
    )
    shown = ["## From the first tasks to all", note, _grid(grids.overview(measured))]
    for group in measured.groups():
        heading = f"## R² of all tasks so far, by their number: {group}"
        shown += [heading, _grid(grids.growth(measured, group))]
    return shown


def _difference_note(measured: Measured) -> str:
    what = {
        "joint": "all tasks",
        "stream": "the new tasks at the end",
        "growth": "all tasks at the end",
    }
    return (
        f"MSE of every test image of {what.get(measured.table.layout, 'the new task')} "
        "against the same image and seed of the "
        "reference row, ± standard error over the images. “Larger than its spread”: "
        "all seeds agree in sign, and the mean exceeds twice that error and, with "
        "several seeds, their standard deviation. This is about these structures; the "
        "images of one go together, so it tells little of others."
    )


def _missing(measured: Measured) -> Iterator[str]:
    for found in measured.rows:
        for reason in dict.fromkeys(found.missing.values()):
            seeds = [seed for seed, why in found.missing.items() if why == reason]
            which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
            yield f"- {found.row.label} (`{found.row.name}`), {which}: {reason}"


def _of_paper(grid: grids.Grid) -> list[str]:
    _, *lines = grid
    return [f"{_LABEL}:", _grid(grid)] if lines else []


def _grid(grid: grids.Grid) -> str:
    header, *lines = grid
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
