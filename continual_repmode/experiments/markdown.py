"""Writes a table as Markdown, in the paper's layout."""

from collections.abc import Iterator, Sequence

from continual_repmode.experiments.measured import Measured
from continual_repmode.experiments.paper import LABEL, METRICS
from continual_repmode.experiments.summary import (
    Difference,
    RowResults,
    Value,
    paired_difference,
    rank_correlation,
    transfers,
)
from continual_repmode.metrics.regression import METRICS as KNOWN_METRICS
from continual_repmode.tasks import display_name

NONE = "-"

Cells = list[str]


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
    parts += ["## Differences", _difference_note(measured), _differences(measured)]
    parts += ["## Costs", _costs(measured)]
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
        f"{len(records)} runs, seeds {', '.join(map(str, seeds))}; {days}; "
        f"torch {', '.join(torch)}; {'; '.join(machines)}. Mean ± standard deviation "
        f"over seeds. Columns “{LABEL}” are there for orientation only."
    )


def _joint_parts(measured: Measured) -> list[str]:
    parts = ["## All tasks", _joint_overview(measured)]
    for metric in METRICS:
        label = KNOWN_METRICS[metric].label
        parts += [f"## {label} of each task", _per_task(measured, metric)]
        if any(found.row.paper and found.row.paper.per_task for found in measured.rows):
            parts += [f"{label}, {LABEL}:", _per_task_of_paper(measured, metric)]
    return parts


def _joint_overview(measured: Measured) -> str:
    labels = [KNOWN_METRICS[metric].label for metric in METRICS]
    header = [*_heading(measured), *labels]
    reference = measured.table.row(measured.table.reference).label
    header += [f"{label} gain over {reference} (%)" for label in labels]
    header += ["seeds", *(f"{label}, {LABEL}" for label in labels)]
    lines = []
    for found in measured.rows:
        paper = found.row.paper.overall if found.row.paper else {}
        lines.append(
            [*_names(measured, found)]
            + [_number(found.overall(metric)) for metric in METRICS]
            + [_number(measured.gain_percent(found, metric), 2) for metric in METRICS]
            + [str(len(found.records))]
            + [_published(paper.get(metric)) for metric in METRICS]
        )
    return _grid(header, lines)


def _per_task(measured: Measured, metric: str) -> str:
    header = [*_heading(measured), *map(display_name, measured.tasks), "All"]
    lines = [
        [*_names(measured, found)]
        + [_number(found.task(metric, task)) for task in measured.tasks]
        + [_number(found.overall(metric))]
        for found in measured.rows
    ]
    return _grid(header, lines)


def _per_task_of_paper(measured: Measured, metric: str) -> str:
    header = [*_heading(measured), *map(display_name, measured.tasks), "All"]
    lines = [
        [*_names(measured, found)]
        + [_published(paper.per_task[metric].get(task)) for task in measured.tasks]
        + [_published(paper.overall.get(metric))]
        for found in measured.rows
        if (paper := found.row.paper) and paper.per_task
    ]
    return _grid(header, lines)


def _stream_parts(measured: Measured) -> list[str]:
    note = (
        "Forgetting: mean over the tasks learned before the last one, their best "
        "earlier score against the final one; positive is worse, 0 is exactly nothing. "
        "“All tasks”: mean over the test images of all tasks at the end of the stream."
    )
    parts = ["## New tasks, and what the earlier ones lost", note]
    parts.append(_stream_overview(measured))
    if any(found.row.paper for found in measured.rows):
        parts += [f"{LABEL[0].upper()}{LABEL[1:]}:", _stream_of_paper(measured)]
    return parts


def _stream_overview(measured: Measured) -> str:
    columns = _stream_columns(measured)
    header = [*_heading(measured), *columns, "forgetting MSE", "forgetting MAE"]
    header += ["all tasks MSE", "seeds"]
    lines = [
        [*_names(measured, found)]
        + [_number(found.task(metric, task)) for task, metric in columns.values()]
        + [_number(found.forgetting(metric)) for metric in ("mse", "mae")]
        + [_number(found.overall("mse")), str(len(found.records))]
        for found in measured.rows
    ]
    return _grid(header, lines)


def _stream_of_paper(measured: Measured) -> str:
    columns = _stream_columns(measured)
    lines = [
        [*_names(measured, found)]
        + [_published(paper.per_task[m].get(task)) for task, m in columns.values()]
        for found in measured.rows
        if (paper := found.row.paper)
    ]
    return _grid([*_heading(measured), *columns], lines)


def _stream_columns(measured: Measured) -> dict[str, tuple[str, str]]:
    """Return the title of each column with its task and metric."""
    return {
        f"{display_name(task)} {KNOWN_METRICS[metric].label}": (task, metric)
        for task in measured.tasks
        for metric in METRICS
    }


def _transfer_parts(measured: Measured) -> list[str]:
    compared = transfers(measured.rows)
    gains = {(t.known, t.new): t.gain for t in compared}
    header = ["known \\ new", *map(display_name, measured.tasks)]
    lines = [
        [display_name(known)]
        + [_number(gains.get((known, new)), 3) for new in measured.tasks]
        for known in measured.tasks
    ]
    note = "R² of the new structure, less that of learning it alone in as many steps."
    correlation = rank_correlation(compared)
    relation = (
        "Not enough is measured to relate gains to gates."
        if correlation is None
        else "Spearman's rank correlation of the gain and the distance of the gates of "
        f"both structures: {correlation:+.2f} over {len(compared)} pairs. Pairs "
        "share structures, so they are not independent."
    )
    return ["## Gain in R²", note, _grid(header, lines), relation]


def _costs(measured: Measured) -> str:
    header = [*_heading(measured), "parameters", "parameters of the last task"]
    header += ["steps", "s per step", "MB per step", "s per volume"]
    lines = [
        [
            *_names(measured, found),
            _count(found.parameters()),
            _count(found.parameters_per_task()),
            _count(found.steps()),
            _number(found.cost("step_s"), 3),
            _number(found.cost("step_bytes"), 0, scale=1e-6),
            _number(found.cost("volume_s"), 3),
        ]
        for found in measured.rows
    ]
    return _grid(header, lines)


def _difference_note(measured: Measured) -> str:
    what = "the new tasks" if measured.is_stream else "all tasks"
    return (
        f"MSE of every test image of {what} against the same image and seed of the "
        "reference row, ± standard error over the images. “Larger than its spread”: "
        "all seeds agree in sign, and the mean exceeds twice that error and, with "
        "several seeds, their standard deviation."
    )


def _differences(measured: Measured) -> str:
    header = [*_heading(measured), "reference", "MSE difference", "standard deviation "]
    header[-1] += "over seeds"
    header += ["seeds of equal sign", "images", "in words"]
    lines = []
    for found in measured.rows:
        reference = measured.reference_of(found)
        if reference is found:
            continue
        tasks = measured.tasks if measured.is_stream else None
        difference = paired_difference(found, reference, "mse", tasks)
        names = [*_names(measured, found), reference.row.label]
        lines.append(names + _difference_cells(difference))
    return _grid(header, lines)


def _difference_cells(difference: Difference | None) -> Cells:
    if difference is None:
        return [NONE, NONE, NONE, NONE, "not measured"]
    spread = difference.seed_spread
    return [
        f"{difference.mean:+.4f} ± {difference.error:.4f}",
        NONE if spread is None else f"{spread:.4f}",
        f"{difference.num_same_sign} of {difference.num_seeds}",
        str(difference.num_images),
        in_words(difference),
    ]


def in_words(difference: Difference) -> str:
    """Say whether an error differs by more than its spread."""
    if not difference.is_larger_than_spread:
        return "no difference larger than its spread"
    better = "better" if difference.mean < 0 else "worse"
    return f"{better}, larger than its spread"


def _missing(measured: Measured) -> Iterator[str]:
    for found in measured.rows:
        for seed, reason in found.missing.items():
            yield f"- {found.row.label} (`{found.row.name}`), seed {seed}: {reason}"


def _heading(measured: Measured) -> Cells:
    grouped = any(found.row.group for found in measured.rows)
    return ["group", "row"] if grouped else ["row"]


def _names(measured: Measured, found: RowResults) -> Cells:
    label = found.row.label
    return [found.row.group, label] if len(_heading(measured)) == 2 else [label]


def _number(value: Value | None, digits: int = 4, *, scale: float = 1.0) -> str:
    if value is None:
        return NONE
    if value.mean == 0 and not value.spread:
        return "0"
    text = f"{value.mean * scale:.{digits}f}"
    spread = value.spread
    return text if spread is None else f"{text} ± {spread * scale:.{digits}f}"


def _count(number: int | None) -> str:
    return NONE if number is None else f"{number:,}"


def _published(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
