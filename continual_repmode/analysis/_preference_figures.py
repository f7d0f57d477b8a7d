"""Figures of what the gates say: preferred kernel extents, nearest tasks."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

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
    part_borders,
    plain_frame,
    set_title,
)
from continual_repmode.analysis.gating import GatingRow
from continual_repmode.analysis.preferences import (
    STRUCTURE_SCALE_UM,
    GateDistance,
    block_extents,
    mean_distances,
    part_extents,
    tasks_by_scale,
)
from continual_repmode.tasks import display_name

_TWO_PARTS: dict[str, dict[str, Any]] = {
    "encoder": {"color": BLUE, "marker": "o"},
    "decoder": {"color": ORANGE, "marker": "s"},
}


def plot_scale_preference(rows: Sequence[GatingRow]) -> Figure:
    """Draw the kernel extent that each task prefers, from small structures to large.

    A line joins encoder and decoder of a task. Tasks of unknown size are left out.
    """
    known = [e for e in part_extents(rows) if e.structure_scale_um is not None]
    tasks = [
        task for task in reversed(tasks_by_scale(rows)) if task in STRUCTURE_SCALE_UM
    ]
    figure = new_figure(max(4.5, 2.2 + 0.42 * len(tasks)), 4.2)
    axes = figure.subplots()
    if not known:
        return _say(figure, axes, "no structure of known size in this run")
    for x, task in enumerate(tasks):
        ends = [e.extent_px for e in known if e.task == task and e.part in _TWO_PARTS]
        axes.plot([x] * len(ends), ends, color=GREY, lw=1, zorder=0)
    for part, style in _TWO_PARTS.items():
        extent = {e.task: e.extent_px for e in known if e.part == part}
        if extent:
            axes.plot([extent[t] for t in tasks], ls="", ms=7, label=part, **style)
    axes.set_xticks(
        range(len(tasks)),
        [f"{display_name(task)}, {STRUCTURE_SCALE_UM[task]:g} µm" for task in tasks],
        rotation=45,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_ylabel("preferred kernel extent (voxels)", fontsize=SMALL + 0.5)
    axes.margins(y=0.1)
    axes.grid(axis="y", color="#e5e5e5")
    set_title(axes, "From small structures to large ones")
    figure.legend(loc="outside lower center", ncols=2, **LEGEND)
    plain_frame(axes)
    return figure


def plot_extent_profile(rows: Sequence[GatingRow]) -> Figure:
    """Draw the preferred kernel extent along the network: thin per task, thick mean."""
    extents = block_extents(rows)
    blocks = list(dict.fromkeys(row.block for row in rows))
    figure = new_figure(max(5.5, 1.6 + 0.36 * len(blocks)), 3.6)
    axes = figure.subplots()
    for of_task in extents.values():
        axes.plot([of_task[block] for block in blocks], color=GREY, lw=0.7, alpha=0.7)
    columns = ([of_task[block] for of_task in extents.values()] for block in blocks)
    axes.plot(
        [sum(column) / len(column) for column in columns],
        color=DARK,
        lw=2.5,
        marker="o",
        ms=4,
    )
    borders = [0, *part_borders(blocks), len(blocks)]
    for index, (start, stop) in enumerate(pairwise(borders)):
        if index % 2 == 0:
            axes.axvspan(start - 0.5, stop - 0.5, color="#f0f0f0", zorder=0, lw=0)
    axes.set_xlim(-0.5, len(blocks) - 0.5)
    axes.set_xticks(
        range(len(blocks)), blocks, rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.set_ylabel("preferred kernel extent (voxels)", fontsize=SMALL + 0.5)
    set_title(axes, "From input to output: each task (thin), mean of all tasks (thick)")
    plain_frame(axes)
    return figure


def plot_gate_distances(distances: Sequence[GateDistance]) -> Figure:
    """Draw how far the gates of each new task are from those of every earlier one.

    One panel per new task, its nearest earlier task on top.

    ``distances``: of any number of new tasks, from
        :func:`~continual_repmode.analysis.preferences.gate_distances`.
    """
    new = list(dict.fromkeys(distance.task for distance in distances))
    if not new:
        figure = new_figure(7.2, 1.2)
        return _say(
            figure, figure.subplots(), "no task arrived after the first experience"
        )
    by_task = {task: [d for d in distances if d.task == task] for task in new}
    counts = [len(mean_distances(found)) for found in by_task.values()]
    columns = min(len(new), 3)
    places = [max(counts[i : i + columns]) for i in range(0, len(new), columns)]
    heights = [1.0 + 0.25 * most for most in places]
    figure = new_figure(max(7.0, 4.0 * columns), sum(heights) + 0.3)
    panels = figure.subplots(
        len(heights), columns, squeeze=False, sharex=True, height_ratios=heights
    )
    for index, (task, found) in enumerate(by_task.items()):
        row, column = divmod(index, columns)
        _draw_distances(panels[row, column], task, found)
        panels[row, column].set_ylim(places[row] - 0.4, -0.6)
    for axes in panels.flat[len(new) :]:
        axes.set_visible(False)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, **LEGEND)
    return figure


def _draw_distances(axes: Axes, task: str, distances: Sequence[GateDistance]) -> None:
    means = mean_distances(distances)
    places = range(len(means))
    axes.barh(places, list(means.values()), color="#d0d0d0", label="all blocks")
    for part, style in _TWO_PARTS.items():
        values = mean_distances(distances, part)
        if values:
            points = [values[other] for other in means]
            axes.plot(points, places, ls="", ms=6, label=part, **style)
    axes.set_yticks(places, [display_name(other) for other in means])
    axes.set_xlabel("Jensen-Shannon divergence (bits)", fontsize=SMALL + 0.5)
    set_title(axes, display_name(task))
    plain_frame(axes)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(labelbottom=True)


def _say(figure: Figure, axes: Axes, text: str) -> Figure:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=DARK)
    return figure
