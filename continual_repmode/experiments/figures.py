"""The figures of the tables; each function returns a matplotlib ``Figure``."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from continual_repmode.analysis._figure import (
    BLUE,
    DARK,
    GREY,
    LEGEND,
    ORANGE,
    SMALL,
    new_figure,
    plain_frame,
    set_title,
)
from continual_repmode.experiments._panels import (
    colors_of,
    draw_curve,
    mark,
    panels_of_rows,
    scatter,
)
from continual_repmode.experiments.comparisons import Transfer, transfers
from continual_repmode.experiments.measured import Measured
from continual_repmode.experiments.paper import LABEL
from continual_repmode.experiments.summary import RowResults, Value
from continual_repmode.tasks import display_name

_LONGEST_BAR = 2.5
"""In MSE of z-scores: 1 is as bad as predicting the mean, for each of two parts."""

_CURVES = (BLUE, ORANGE, DARK, "#009E73", "#CC79A7")
"""Colors of curves in one panel."""

_LINEAR_UP_TO = 0.1
"""MSE beyond which forgetting is drawn on a logarithmic scale."""


def draw(measured: Measured) -> Figure | None:
    """Return the figure of a table; None if nothing of it is measured yet."""
    if not measured.shown:
        return None
    match measured.table.picture:
        case "bars":
            return plot_overall(measured)
        case "forgetting":
            return plot_new_and_lost(measured)
        case "losses":
            return plot_losses(measured)
        case "parameters":
            return plot_quality_against_parameters(measured)
        case "images":
            return plot_quality_against_images(measured)
        case "transfer":
            return plot_transfer(measured)
        case "choices":
            return plot_choices(measured)
        case "growth":
            return plot_growth(measured)


def plot_overall(measured: Measured) -> Figure:
    """Draw the MSE over all test images of every row, and the paper's next to it."""
    rows = measured.shown
    figure, (ours, papers) = panels_of_rows(rows, ("measured here", LABEL))
    for y, found in enumerate(rows):
        if (value := found.overall("mse")) is not None:
            mark(ours, value, y, BLUE)
        if found.row.paper and "mse" in found.row.paper.overall:
            mark(papers, Value(found.row.paper.overall["mse"], None), y, GREY)
    for axes in (ours, papers):
        axes.set_xlabel("MSE, mean over all test images", fontsize=SMALL + 0.5)
    return figure


def plot_new_and_lost(measured: Measured) -> Figure:
    """Draw how well new tasks are learned and what is lost, for what is measured."""
    rows = measured.shown
    titles = ("when learned", "what is lost")
    figure, (new, lost) = panels_of_rows(rows, titles)
    for y, found in enumerate(rows):
        if (value := found.mean_when_learned("mse", measured.tasks)) is not None:
            mark(new, value, y, BLUE)
        if (value := found.forgetting("mse")) is not None:
            mark(lost, value, y, ORANGE)
    lost.set_xscale("symlog", linthresh=_LINEAR_UP_TO)
    lost.set_xlim(left=min(-_LINEAR_UP_TO, lost.get_xlim()[0]))
    lost.xaxis.set_major_formatter("{x:g}")
    lost.axvline(0, color=GREY, lw=0.8, zorder=0)
    new.set_xlabel("MSE of the new tasks, right after each", fontsize=SMALL + 0.5)
    lost.set_xlabel("forgetting: MSE that earlier tasks gained", fontsize=SMALL + 0.5)
    return figure


def plot_losses(measured: Measured) -> Figure:
    """Draw for every row what is not learned of new tasks plus what is lost of others.

    One panel for each group of rows; longer bars than fit end in their number.
    """
    groups = measured.groups()
    in_groups = [[f for f in measured.shown if f.row.group == g] for g in groups]
    figure = new_figure(9.5, 1.6 + 0.24 * max(map(len, in_groups)))
    panels = figure.subplots(1, len(groups), squeeze=False, sharex=True)[0]
    for axes, group, rows in zip(panels, groups, in_groups, strict=True):
        _draw_losses(axes, rows, measured.tasks)
        set_title(axes, group)
        plain_frame(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, **LEGEND)
    return figure


def plot_quality_against_parameters(measured: Measured) -> Figure:
    """Draw for every row the R2 of the new tasks against the parameters of the last."""
    figure = new_figure(9.5, 4.8)
    axes = figure.subplots()
    points = [
        (Value(added, None), y, found.row.label)
        for found in measured.shown
        if (y := found.mean_over("r2", measured.tasks)) is not None
        and (added := found.parameters_per_task())
    ]
    scatter(axes, points)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("parameters of one new task", fontsize=SMALL + 0.5)
    axes.set_ylabel("R² of the new tasks", fontsize=SMALL + 0.5)
    set_title(axes, "Upper left is better")
    plain_frame(axes)
    return figure


def plot_quality_against_images(measured: Measured) -> Figure:
    """Draw the R2 of each new task against its number of labelled images.

    Solid: right after learning; dashed: at the end, where something was lost since.
    """
    figure = new_figure(1.5 + 3.6 * len(measured.tasks), 3.8)
    panels = figure.subplots(1, len(measured.tasks), squeeze=False)[0]
    has_losses = False
    for axes, task in zip(panels, measured.tasks, strict=True):
        has_losses |= _draw_curves(axes, measured.shown, task)
        set_title(axes, display_name(task))
        plain_frame(axes)
    name = "R² (dashed: at the end)" if has_losses else "R²"
    panels[0].set_ylabel(name, fontsize=SMALL + 0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, **LEGEND)
    return figure


def plot_choices(measured: Measured) -> Figure:
    """Draw the validation MSE of every try, the lowest of each group in orange."""
    groups, lowest = measured.groups(), measured.lowest_validation()
    in_groups = [[f for f in measured.shown if f.row.group == g] for g in groups]
    columns = min(2, len(groups))
    lines = -(-len(groups) // columns)
    height = 0.9 + 0.17 * max(map(len, in_groups))
    figure = new_figure(4.75 * columns, 0.4 + height * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True).ravel()
    for axes, group, rows in zip(panels, groups, in_groups, strict=False):
        for y, found in enumerate(rows):
            if (value := found.validation()) is not None:
                mark(axes, value, y, ORANGE if found.row.name in lowest else BLUE)
        labels = [found.row.label for found in rows]
        axes.set_yticks(range(len(rows)), labels, fontsize=SMALL)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x", color="#e5e5e5")
        set_title(axes, group)
        plain_frame(axes)
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    figure.supxlabel("validation MSE", fontsize=SMALL + 0.5)
    return figure


def plot_growth(measured: Measured) -> Figure:
    """Draw R2 of all tasks so far, and parameters, against the number of tasks."""
    groups = measured.groups()
    labels = list(dict.fromkeys(found.row.label for found in measured.shown))
    colors = dict(zip(labels, colors_of(len(labels)), strict=True))
    figure = new_figure(1.5 + 3.8 * len(groups), 6.0)
    panels = figure.subplots(2, len(groups), squeeze=False, sharex="col", sharey="row")
    for (quality, size), group in zip(panels.T, groups, strict=True):
        for found in measured.shown:
            if found.row.group == group:
                label = found.row.label
                style = {"color": colors[label], "marker": "o", "label": label}
                grown = found.growth("r2")
                draw_curve(quality, list(grown), list(grown.values()), **style)
                sizes = found.parameter_growth()
                size.plot(list(sizes), list(sizes.values()), ms=4, **style)
        set_title(quality, group)
        size.set_yscale("log")
        size.set_xlabel("tasks", fontsize=SMALL + 0.5)
        for axes in (quality, size):
            axes.grid(axis="y", color="#e5e5e5")
            plain_frame(axes)
    panels[0, 0].set_ylabel("R² of all tasks so far", fontsize=SMALL + 0.5)
    panels[1, 0].set_ylabel("parameters", fontsize=SMALL + 0.5)
    drawn = [axes.get_legend_handles_labels() for axes in panels[0]]
    named = {
        label: handle for pair in drawn for handle, label in zip(*pair, strict=True)
    }
    figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=2, **LEGEND
    )
    return figure


def plot_transfer(measured: Measured) -> Figure | None:
    """Draw what each structure gains from each other, and how that goes with gates."""
    compared = transfers(measured.shown)
    if not compared:
        return None
    figure = new_figure(10.0, 4.2)
    matrix, relation = figure.subplots(1, 2)
    _draw_matrix(matrix, compared, measured.tasks)
    points = [t for t in compared if t.gate_distance is not None]
    for new, color in zip(measured.tasks, colors_of(len(measured.tasks)), strict=True):
        chosen = [t for t in points if t.new == new]
        relation.scatter(
            [t.gate_distance.mean for t in chosen if t.gate_distance],
            [t.gain.mean for t in chosen],
            color=color,
            label=display_name(new),
        )
    relation.axhline(0, color=GREY, lw=0.8, zorder=0)
    relation.set_xlabel("distance of the gates (bits)", fontsize=SMALL + 0.5)
    relation.set_ylabel("gain in R² of the new structure", fontsize=SMALL + 0.5)
    relation.legend(**LEGEND)
    set_title(relation, "Gain and gates")
    plain_frame(relation)
    return figure


def _draw_matrix(
    axes: Axes, compared: Sequence[Transfer], tasks: Sequence[str]
) -> None:
    gains = np.full((len(tasks), len(tasks)), np.nan)
    for t in compared:
        gains[tasks.index(t.known), tasks.index(t.new)] = t.gain.mean
    largest = float(np.nanmax(np.abs(gains))) or 1.0
    axes.imshow(gains, cmap="RdBu", vmin=-largest, vmax=largest)
    for (row, column), gain in np.ndenumerate(gains):
        if np.isfinite(gain):
            strong = abs(gain) > 0.6 * largest
            axes.text(
                column,
                row,
                f"{gain:+.2f}",
                ha="center",
                va="center",
                fontsize=SMALL,
                color="white" if strong else DARK,
            )
    names = [display_name(task) for task in tasks]
    axes.set_xticks(range(len(tasks)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(tasks)), names)
    axes.set_xlabel("new structure", fontsize=SMALL + 0.5)
    axes.set_ylabel("known structure", fontsize=SMALL + 0.5)
    set_title(axes, "Gain in R² over learning alone")


def _draw_losses(axes: Axes, rows: Sequence[RowResults], tasks: Sequence[str]) -> None:
    new = [found.mean_over("mse", tasks) for found in rows]
    lost = [found.forgetting("mse") for found in rows]
    errors = np.array([0.0 if value is None else value.mean for value in new])
    losses = np.array([0.0 if value is None else value.mean for value in lost])
    places = range(len(rows))
    axes.barh(places, errors, color=BLUE, label="MSE of the new tasks")
    axes.barh(
        places, losses, left=errors, color=ORANGE, label="MSE that earlier tasks gained"
    )
    for place, total in enumerate(errors + losses):
        if total:
            beyond = total > _LONGEST_BAR
            axes.text(
                _LONGEST_BAR if beyond else total,
                place,
                f" {total:.2f} ",
                ha="right" if beyond else "left",
                va="center",
                fontsize=SMALL,
                color="white" if beyond else DARK,
            )
    axes.set_yticks(places, [found.row.label for found in rows], fontsize=SMALL)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, _LONGEST_BAR)


def _draw_curves(axes: Axes, rows: Sequence[RowResults], task: str) -> bool:
    """Draw a curve per way to learn; return whether any lost something since."""
    has_losses = False
    labels = list(dict.fromkeys(found.row.label for found in rows))
    for label, color in zip(labels, _CURVES, strict=False):
        chosen = [found for found in rows if found.row.label == label]
        learned = [found.when_learned("r2", task) for found in chosen]
        at_end = [found.task("r2", task) for found in chosen]
        images = [found.row.num_images for found in chosen]
        draw_curve(axes, images, learned, color=color, marker="o", label=label)
        if at_end != learned:
            has_losses = True
            draw_curve(
                axes, images, at_end, color=color, marker="o", ls="--", mfc="white"
            )
    counts = sorted({found.row.num_images for found in rows if found.row.num_images})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("labelled training images", fontsize=SMALL + 0.5)
    axes.grid(axis="y", color="#e5e5e5")
    return has_losses
