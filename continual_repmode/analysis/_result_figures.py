"""Figures of how a run went: result matrix, scores over the stream, learning curves."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from scipy.ndimage import median_filter

from continual_repmode.analysis._figure import (
    BLUE,
    BOLD,
    DARK,
    GREY,
    LEGEND,
    ORANGE,
    SMALL,
    bare_cells,
    mark_new,
    name_tasks,
    new_figure,
    plain_frame,
    set_title,
)
from continual_repmode.metrics.further import shown_metrics
from continual_repmode.results import ExperienceRecord
from continual_repmode.tasks import display_name

_SPIKE = 4.0
"""Times the median error, beyond which a learning curve has a log axis."""


def plot_result_matrix(results: Mapping[str, Any], metric: str) -> Figure:
    """Draw the score of every task after every experience as a table of colors.

    The cells of the tasks that an experience taught are framed; a task not yet learned
    is left blank. The last column is the mean over all test images.
    """
    tasks, experiences = results["tasks"], results["experiences"]
    values = _result_array(results, metric)
    overall = results["metrics"][metric]["overall"]["over_images"]
    num_tasks, num_rows = len(tasks), len(experiences)
    figure = new_figure(max(7.0, 3.8 + 0.62 * num_tasks), 2.1 + 0.42 * num_rows)
    axes = figure.subplots()
    shown = shown_metrics(results)[metric]
    better = shown.higher_is_better
    colours = colormaps["viridis" if better else "viridis_r"]
    known = values[~np.isnan(values)]
    low, high = shown.color_limits(known)
    norm = Normalize(low, high)
    image = axes.imshow(values, cmap=colours, norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if tasks[column] in chain.from_iterable(experiences[: row + 1]):
            text = "n/a" if math.isnan(value) else f"{value:.3f}"
            _write(axes, column, row, text, _readable_on(colours(norm(value))))
        if tasks[column] in experiences[row]:
            axes.add_patch(_frame(column, row))
    for row, value in enumerate(overall):
        _write(axes, num_tasks + 0.15, row, _number(value), DARK)
    axes.set_xlim(-0.55, num_tasks + 0.7)
    axes.set_ylim(num_rows - 0.45, -0.55)
    axes.set_xticks(
        [*range(num_tasks), num_tasks + 0.15],
        [*map(display_name, tasks), "all images"],
        rotation=40,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_yticks(
        range(num_rows),
        [f"{n}: {name_tasks(names)}" for n, names in enumerate(experiences, start=1)],
    )
    axes.set_ylabel("after experience", fontsize=SMALL + 0.5)
    bare_cells(axes)
    direction = "higher" if better else "lower"
    set_title(axes, f"{shown.label} (framed: learned in this experience)")
    ends = "min" if (known < low).any() else "neither"
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=12, extend=ends)
    bar.set_label(f"{direction} is better", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def plot_forgetting(runs: Mapping[str, Mapping[str, Any]], metric: str) -> Figure:
    """Draw each task's score from when it was learned to the end of the stream.

    One panel per run, with a common scale. The open circle is the score right after
    learning; dots are the scores after later experiences. Where all lie on one another,
    nothing was forgotten.

    ``runs``: name of the run -> content of its ``results.json``; at least one.
    """
    num_tasks = max(len(results["tasks"]) for results in runs.values())
    num_experiences = max(len(results["experiences"]) for results in runs.values())
    figure = new_figure(3.4 + 3.4 * len(runs), 1.5 + 0.32 * num_tasks)
    panels = figure.subplots(1, len(runs), sharex=True, squeeze=False)[0]
    colours = colormaps["viridis"](np.linspace(0.95, 0.0, num_experiences))
    for axes, (name, results) in zip(panels, runs.items(), strict=True):
        _draw_scores(axes, results, metric, colours)
        set_title(axes, name)
        axes.set_xlabel(shown_metrics(results)[metric].label, fontsize=SMALL + 0.5)
    handles = [
        Line2D(
            [],
            [],
            color=DARK,
            marker="o",
            ls="",
            ms=9,
            mfc="none",
            label="right after learning",
        ),
        *(
            Line2D([], [], color=colours[index], marker="o", ls="", ms=5, label=text)
            for index, text in enumerate(_after(num_experiences))
            if index > 0
        ),
    ]
    handles.append(Line2D([], [], ls="", label=BOLD.replace(": ", ":\n")))
    figure.legend(handles=handles, loc="outside right center", **LEGEND)
    return figure


def plot_learning_curves(records: Sequence[ExperienceRecord]) -> Figure:
    """Draw training loss and validation MSE of every experience that was trained.

    ``records``: at least one that was not adopted.
    """
    records = [record for record in records if not record.adopted]
    columns = min(len(records), 3 if len(records) != 4 else 2)
    num_rows = math.ceil(len(records) / columns)
    figure = new_figure(max(7.0, 3.6 * columns), 0.5 + 2.5 * num_rows)
    panels = figure.subplots(num_rows, columns, squeeze=False).ravel()
    for axes, record in zip(panels, records, strict=False):
        _draw_curve(axes, record)
    for axes in panels[len(records) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel("mean squared error", fontsize=SMALL + 0.5)
    named = {
        label: handle
        for axes in panels[: len(records)]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(named.values()),
        list(named),
        loc="outside lower center",
        ncols=min(len(named), 3),
        **LEGEND,
    )
    return figure


def _result_array(results: Mapping[str, Any], metric: str) -> Any:
    """Return R as an array of floats, NaN where there is no score."""
    return np.array(results["metrics"][metric]["result_matrix"], dtype=np.float64)


def _write(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=SMALL, color=colour)


def _readable_on(colour: Sequence[float]) -> str:
    red, green, blue, alpha = colour
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return "black" if luma > 0.45 or alpha == 0 else "white"


def _frame(column: int, row: int) -> Rectangle:
    corner = (column - 0.46, row - 0.44)
    return Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=ORANGE, linewidth=2)


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _after(num_experiences: int) -> list[str]:
    return [f"after experience {n}" for n in range(1, num_experiences + 1)]


def _draw_scores(
    axes: Axes, results: Mapping[str, Any], metric: str, colours: Any
) -> None:
    tasks, experiences = results["tasks"], results["experiences"]
    for y, column in enumerate(_result_array(results, metric).T):
        (known,) = np.nonzero(~np.isnan(column))
        if known.size == 0:
            continue
        axes.plot(column[known], [y] * known.size, color=GREY, lw=1.2, zorder=1)
        axes.plot(column[known[0]], y, "o", ms=9, mfc="none", mec=DARK, zorder=2)
        for index in known[1:]:
            axes.plot(column[index], y, "o", ms=5, color=colours[index], zorder=3)
    axes.set_yticks(range(len(tasks)), [display_name(task) for task in tasks])
    mark_new(axes.get_yticklabels(), tasks, set(chain.from_iterable(experiences[1:])))
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", color="#e5e5e5")
    plain_frame(axes)
    axes.tick_params(axis="y", length=0)


def _draw_curve(axes: Axes, record: ExperienceRecord) -> None:
    epochs = [point["epoch"] for point in record.curve]
    losses = np.array([point["train_loss"] for point in record.curve], dtype=float)
    many = len(epochs) > 30
    validated = [p for p in record.curve if p["valid_mse"] is not None]
    axes.plot(
        epochs,
        losses,
        color=BLUE,
        lw=0.6 if many else 1.2,
        alpha=0.35 if many else 1.0,
        marker="" if many else ".",
        label="training patches",
    )
    if many:
        width = len(epochs) // 15
        smooth = median_filter(losses, width, mode="nearest")
        label = f"the same, median of {width} epochs"
        axes.plot(epochs, smooth, color=BLUE, lw=1.4, label=label)
    axes.plot(
        [point["epoch"] for point in validated],
        [point["valid_mse"] for point in validated],
        color=ORANGE,
        lw=1.2,
        marker="s",
        ms=3.5,
        label="validation images",
    )
    axes.plot(
        record.best_epoch,
        record.best_valid_mse,
        marker="o",
        ms=10,
        mfc="none",
        mec=DARK,
        mew=1.5,
        ls="",
        label="kept weights (lowest validation error)",
    )
    errors = [*losses, *(point["valid_mse"] for point in validated)]
    errors = [error for error in errors if error is not None and error > 0]
    if errors and max(errors) > _SPIKE * float(np.median(errors)):
        axes.set_yscale("log")  # one spike would flatten all else
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("epoch", fontsize=SMALL + 0.5)
    axes.set_xlim(0.5, len(epochs) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="#e5e5e5")
    set_title(axes, f"experience {record.experience + 1}: {name_tasks(record.tasks)}")
    plain_frame(axes)
