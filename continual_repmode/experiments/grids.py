"""The grids that a table is written as: cells of text, the header first."""

from continual_repmode.experiments.comparisons import (
    Difference,
    paired_difference,
    transfers,
)
from continual_repmode.experiments.measured import Measured
from continual_repmode.experiments.paper import METRICS
from continual_repmode.experiments.summary import RowResults, Value
from continual_repmode.metrics.regression import METRICS as KNOWN_METRICS
from continual_repmode.tasks import display_name

NONE = "-"

Cells = list[str]
Grid = list[Cells]


def overview(measured: Measured) -> Grid:
    """Return what a table is about, with a line for every row that is measured."""
    match measured.table.layout:
        case "joint":
            return _joint_overview(measured)
        case "stream":
            return _stream_overview(measured)
        case "transfer":
            return _transfer_matrix(measured)
        case "choices":
            return _choices(measured)
        case "growth":
            return _growth_overview(measured)


def aligned(grid: Grid) -> str:
    """Return a grid as text in columns."""
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        for cells in grid
    )
    return "\n".join(line.rstrip() for line in lines)


def _joint_overview(measured: Measured) -> Grid:
    lines = [
        [*_names(measured, found)]
        + [_number(found.overall(metric)) for metric in METRICS]
        + [_number(measured.gain_percent(found, metric), 2) for metric in METRICS]
        + [str(len(found.records))]
        for found in measured.shown
    ]
    return [[*_heading(measured), *_joint_columns(), "seeds"], *lines]


def _joint_columns() -> Cells:
    labels = [KNOWN_METRICS[metric].label for metric in METRICS]
    return [*labels, *(f"{label} gain (%)" for label in labels)]


def _stream_overview(measured: Measured) -> Grid:
    columns = _stream_columns(measured)
    header = [*_heading(measured), *columns, "forgetting MSE", "forgetting MAE"]
    header += ["all tasks MSE", "seeds"]
    lines = [
        [*_names(measured, found)]
        + [_number(found.task(metric, task)) for task, metric in columns.values()]
        + [_number(found.forgetting(metric)) for metric in ("mse", "mae")]
        + [_number(found.overall("mse")), str(len(found.records))]
        for found in measured.shown
    ]
    return [header, *lines]


def _transfer_matrix(measured: Measured) -> Grid:
    gains = {(t.known, t.new): t.gain for t in transfers(measured.rows)}
    header = ["known \\ new", *map(display_name, measured.tasks)]
    lines = [
        [display_name(known)]
        + [_number(gains.get((known, new)), 3) for new in measured.tasks]
        for known in measured.tasks
    ]
    return [header, *lines]


def _choices(measured: Measured) -> Grid:
    lowest = measured.lowest_validation()
    lines = [
        [
            *_names(measured, found),
            _number(found.validation()),
            "lowest" if found.row.name in lowest else "",
            str(len(found.records)),
        ]
        for found in measured.shown
    ]
    return [[*_heading(measured), "validation MSE", "of its group", "seeds"], *lines]


def _growth_overview(measured: Measured) -> Grid:
    header = [*_heading(measured), "tasks", "R² of the first", "R² of all"]
    header += [
        "forgetting MSE",
        "parameters at first",
        "parameters at the end",
        "seeds",
    ]
    lines = []
    for found in measured.shown:
        quality, size = found.growth("r2"), found.parameter_growth()
        first, last = min(size, default=0), max(size, default=0)
        lines.append(
            [
                *_names(measured, found),
                f"{first} to {last}" if size else NONE,
                _number(quality.get(first)),
                _number(quality.get(last)),
                _number(found.forgetting("mse")),
                _count(size.get(first)),
                _count(size.get(last)),
                str(len(found.records)),
            ]
        )
    return [header, *lines]


def growth(measured: Measured, group: str) -> Grid:
    """Return the R2 of all tasks so far for every number of tasks, of one group."""
    rows = [found for found in measured.shown if found.row.group == group]
    numbers = sorted({number for found in rows for number in found.growth("r2")})
    lines = []
    for found in rows:
        quality = found.growth("r2")
        values = (_number(quality.get(number), 3) for number in numbers)
        lines.append([found.row.label, *values])
    return [["row", *map(str, numbers)], *lines]


def per_task(measured: Measured, metric: str) -> Grid:
    """Return a metric of every task."""
    header = [*_heading(measured), *map(display_name, measured.tasks), "All"]
    lines = [
        [*_names(measured, found)]
        + [_number(found.task(metric, task)) for task in measured.tasks]
        + [_number(found.overall(metric))]
        for found in measured.shown
    ]
    return [header, *lines]


def per_task_of_paper(measured: Measured, metric: str) -> Grid:
    """Return what the paper has of a metric of every task; may have no line."""
    header = [*_heading(measured), *map(display_name, measured.tasks), "All"]
    lines = [
        [*_names(measured, found)]
        + [_published(paper.per_task[metric].get(task)) for task in measured.tasks]
        + [_published(paper.overall.get(metric))]
        for found in measured.shown
        if (paper := found.row.paper) and paper.per_task
    ]
    return [header, *lines]


def overview_of_paper(measured: Measured) -> Grid:
    """Return what the paper has of the overview; may have no line."""
    if measured.is_stream:
        return _stream_of_paper(measured)
    lines = [
        [*_names(measured, found)]
        + [_published(paper.overall.get(metric)) for metric in METRICS]
        + [_published(paper.gain_percent.get(metric), 2) for metric in METRICS]
        for found in measured.shown
        if (paper := found.row.paper)
    ]
    return [[*_heading(measured), *_joint_columns()], *lines]


def _stream_of_paper(measured: Measured) -> Grid:
    columns = _stream_columns(measured)
    lines = [
        [*_names(measured, found)]
        + [_published(paper.per_task[m].get(task)) for task, m in columns.values()]
        for found in measured.shown
        if (paper := found.row.paper)
    ]
    return [[*_heading(measured), *columns], *lines]


def when_learned(measured: Measured) -> Grid:
    """Return the MSE of each new task right after it was learned, and what is lost."""
    header = [*_heading(measured)]
    header += [f"{display_name(task)} MSE when learned" for task in measured.tasks]
    header += ["forgetting MSE of the first tasks"]
    lines = [
        [*_names(measured, found)]
        + [_number(found.when_learned("mse", task)) for task in measured.tasks]
        + [_number(found.first_forgetting("mse"))]
        for found in measured.shown
    ]
    return [header, *lines]


def costs(measured: Measured) -> Grid:
    """Return parameters, steps, time and memory."""
    header = [*_heading(measured), "parameters", "parameters of the last task"]
    header += ["% of the network before"] if measured.is_stream else []
    header += ["steps", "s per step", "MB per step", "s per volume"]
    lines = [
        [
            *_names(measured, found),
            _count(found.parameters()),
            _count(found.parameters_per_task()),
            *([_percent(found.added_percent())] if measured.is_stream else []),
            _count(found.steps()),
            _number(found.cost("step_s"), 3),
            _number(found.cost("step_bytes"), 0, scale=1e-6),
            _number(found.cost("volume_s"), 3),
        ]
        for found in measured.shown
    ]
    return [header, *lines]


def differences(measured: Measured) -> Grid:
    """Compare every row with the one it refers to."""
    header = [*_heading(measured), "reference", "MSE difference", "standard deviation "]
    header[-1] += "over seeds"
    header += ["seeds of equal sign", "images", "in words"]
    lines = []
    for found in measured.shown:
        reference = measured.reference_of(found)
        if reference is found:
            continue
        tasks = measured.tasks if measured.is_stream else None
        difference = paired_difference(found, reference, "mse", tasks)
        names = [*_names(measured, found), reference.row.label]
        lines.append(names + _difference_cells(difference))
    return [header, *lines]


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


def _stream_columns(measured: Measured) -> dict[str, tuple[str, str]]:
    """Return the title of each column with its task and metric."""
    return {
        f"{display_name(task)} {KNOWN_METRICS[metric].label}": (task, metric)
        for task in measured.tasks
        for metric in METRICS
    }


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


def _percent(number: float | None) -> str:
    return NONE if number is None else f"{number:.2f}"


def _published(value: float | None, digits: int = 4) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
