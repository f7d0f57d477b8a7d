"""The scores of a run as tables: one line per structure, colored cells, bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import to_hex

from continual_repmode.metrics.further import shown_metrics
from continual_repmode.metrics.learned import ValidationScore
from continual_repmode.metrics.regression import METRICS, Metric
from continual_repmode.reporting.run_content import RunContent
from continual_repmode.tasks import display_name

REPORTED: Mapping[str, Metric] = {
    name: METRICS[name] for name in ("r2", "pearson_r", "mse", "mae")
}
"""The metrics in the order of the report; others follow them in result tables."""
_OVER_IMAGES = "all, over images"
_OVER_TASKS = "all, over structures"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A number in a table."""

    value: float | None
    #: CSS.
    style: str
    #: The structure was learned in the experience of this column.
    is_new: bool = False
    #: The structure is not yet learned.
    is_future: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreTable:
    """A table of colors of one metric."""

    #: The metric.
    label: str
    #: "higher is better" or "lower is better".
    direction: str
    columns: list[str]
    #: Name of the structure and its cells.
    rows: list[tuple[str, list[Cell]]]
    #: Below them: what a mean is over, and its value per column.
    means: list[tuple[str, list[float | None]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskLine:
    """What is known about one structure at the end."""

    task: str
    name: str
    #: The experience it was learned in, from 1.
    arrived: int
    #: Split -> images; splits that are unknown are absent.
    num_images: dict[str, int]
    #: Parameters that exist for it only.
    num_parameters: int | None
    #: Metric -> mean over its test images after the last experience.
    scores: dict[str, float | None]
    #: Metric -> forgetting, backward transfer.
    forgetting: dict[str, float | None]
    transfer: dict[str, float | None]
    #: Metric -> forward transfer; empty without a reference run.
    forward: dict[str, float | None]
    #: Of the kept weights; None if it is unknown.
    validation: ValidationScore | None


def task_lines(run: RunContent) -> list[TaskLine]:
    """Return a line for every structure that was learned, in order of arrival."""
    results = run.results
    if results is None:
        return []
    metrics = {name: results["metrics"][name] for name in REPORTED}
    arrived = {
        task: number
        for number, tasks in enumerate(results["experiences"], start=1)
        for task in tasks
    }

    def per_task(field: str, task: str) -> dict[str, float | None]:
        tables = {n: of.get(field) for n, of in metrics.items()}
        return {n: t["per_task"].get(task) for n, t in tables.items() if t is not None}

    parameters = results.get("parameters", {}).get("per_task", {})
    validation = {
        task: ValidationScore.from_record(record)
        for task, record in results.get("validation", {}).items()
    }
    return [
        TaskLine(
            task=task,
            name=display_name(task),
            arrived=arrived[task],
            num_images=_num_images(run, task),
            num_parameters=parameters.get(task),
            scores={n: of["result_matrix"][-1][j] for n, of in metrics.items()},
            forgetting=per_task("forgetting", task),
            transfer=per_task("backward_transfer", task),
            forward=per_task("forward_transfer", task),
            validation=validation.get(task),
        )
        for j, task in enumerate(results["tasks"])
    ]


def result_tables(results: Mapping[str, Any]) -> list[ScoreTable]:
    """Return the result matrix of every metric; rows are structures."""
    tasks, experiences = results["tasks"], results["experiences"]
    tables = []
    for name, metric in {**REPORTED, **shown_metrics(results)}.items():
        scores = results["metrics"][name]
        matrix = scores["result_matrix"]
        limits = metric.color_limits(v for row in matrix for v in row if v is not None)
        rows = []
        for j, task in enumerate(tasks):
            learned = next(i for i, names in enumerate(experiences) if task in names)
            cells = [
                Cell(
                    value=row[j],
                    style=cell_style(
                        row[j], *limits, better_up=metric.higher_is_better
                    ),
                    is_new=i == learned,
                    is_future=i < learned,
                )
                for i, row in enumerate(matrix)
            ]
            rows.append((display_name(task), cells))
        tables.append(
            ScoreTable(
                label=metric.label,
                direction=_direction(metric.higher_is_better),
                columns=[str(number + 1) for number in range(len(experiences))],
                rows=rows,
                means=[
                    (_OVER_IMAGES, scores["overall"]["over_images"]),
                    (_OVER_TASKS, scores["overall"]["over_tasks"]),
                ],
            )
        )
    return tables


def compared_tables(
    runs: Sequence[RunContent], labels: Sequence[str]
) -> list[ScoreTable]:
    """Return the R2 of every structure at the end, and its forgetting, run by run."""
    tested = [run for run in runs if run.results is not None]
    columns = [name for name, run in zip(labels, runs, strict=True) if run.results]
    lines = [task_lines(run) for run in tested]
    label = REPORTED["r2"].label
    scores = [{line.name: line.scores["r2"] for line in of_run} for of_run in lines]
    losses = [
        {
            line.name: lost
            for line in of_run
            if (lost := line.forgetting["r2"]) is not None
        }
        for of_run in lines
    ]
    over_tasks = [overall(run, "r2", "over_tasks") for run in tested]
    return [
        ScoreTable(
            label=label,
            direction=_direction(True),
            columns=columns,
            rows=_compared_rows(scores, better_up=True),
            means=[
                (_OVER_IMAGES, [overall(run, "r2") for run in tested]),
                (_OVER_TASKS, over_tasks),
            ],
        ),
        ScoreTable(
            label=f"Forgetting, {label}",
            direction=_direction(False),
            columns=columns,
            rows=_compared_rows(losses, better_up=False),
            means=[("mean", [mean_forgetting(run, "r2") for run in tested])],
        ),
    ]


def _compared_rows(
    runs: Sequence[Mapping[str, float | None]], *, better_up: bool
) -> list[tuple[str, list[Cell]]]:
    """Return a row per structure that any run has, colored on the scale of R2."""
    limits = METRICS["r2"].color_limits(())  # also of a loss of R2
    names = dict.fromkeys(name for values in runs for name in values)
    return [
        (
            name,
            [
                Cell(
                    value=values.get(name),
                    style=cell_style(values.get(name), *limits, better_up=better_up),
                    is_future=name not in values,
                )
                for values in runs
            ],
        )
        for name in names
    ]


def overall(run: RunContent, metric: str, over: str = "over_images") -> float | None:
    """Return the mean of a metric after the last experience."""
    if run.results is None:
        return None
    value: float | None = run.results["metrics"][metric]["overall"][over][-1]
    return value


def mean_forgetting(run: RunContent, metric: str) -> float | None:
    """Return the mean forgetting; None if no structure was there to be forgotten."""
    if run.results is None:
        return None
    value: float | None = run.results["metrics"][metric]["forgetting"]["mean"]
    return value


def _direction(higher_is_better: bool) -> str:
    return f"{'higher' if higher_is_better else 'lower'} is better"


def _num_images(run: RunContent, task: str) -> dict[str, int]:
    """Return the images per split from the model file, else from the settings."""
    known = run.card.task(task).num_images
    if known is not None:
        return dict(known)
    names = {"train": "data.num_train", "valid": "data.num_valid"}
    counts = {split: run.setting(name) for split, name in names.items()}
    tested = [row for r in run.records[-1:] for row in r.rows if row["task"] == task]
    if tested:
        counts["test"] = len(tested)
    return {split: n for split, n in counts.items() if isinstance(n, int)}


_PALE = "transparent"


def cell_style(value: float | None, low: float, high: float, *, better_up: bool) -> str:
    """Return the CSS of a cell: bright means good, on a scale from low to high.

    Values beyond an end have its color.

    >>> cell_style(1.0, 0.0, 1.0, better_up=True)
    'background:#fde725;color:#000'
    """
    if value is None:
        return f"background:{_PALE}"
    position = 0.5 if high <= low else (value - low) / (high - low)
    red, green, blue, _ = colormaps["viridis"](position if better_up else 1 - position)
    text = "#000" if _luminance(red, green, blue) > 0.179 else "#fff"
    return f"background:{to_hex((red, green, blue))};color:{text}"


def _luminance(*rgb: float) -> float:
    """Return the relative luminance (WCAG 2); beyond 0.179 black contrasts better."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
