"""Figures of the gating weights: which experts each structure prefers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from continual_repmode.analysis._figure import (
    BLUE,
    DARK,
    GREY,
    ORANGE,
    SMALL,
    bare_cells,
    mark_new,
    new_figure,
    plain_frame,
    set_title,
)
from continual_repmode.analysis.gating import (
    STRUCTURE_SCALE_UM,
    GateDistance,
    GatingRow,
    block_extents,
    earlier_tasks,
    mean_distances,
    part_extents,
    part_of,
)
from continual_repmode.errors import UserError
from continual_repmode.models.mode_conv import extension_name
from continual_repmode.tasks import display_name

_LEGEND: dict[str, Any] = {"fontsize": SMALL, "frameon": False}
_NEW = "new expert"
_EARLIER_NEW = "earlier new experts"
_MARKERS = "osD^vP*X<>"
_TWO_PARTS: dict[str, dict[str, Any]] = {
    "encoder": {"color": BLUE, "marker": "o"},
    "decoder": {"color": ORANGE, "marker": "s"},
}


def plot_gating(
    rows: Sequence[GatingRow], blocks: Sequence[str] | None = None
) -> Figure:
    """Draw the channel-averaged gating weights of some blocks (as Fig. 6 of the paper).

    One panel per block, one line per task, from large structures to small ones.

    Parameters
    ----------
    rows : sequence of GatingRow
    blocks : sequence of str, optional
        Names of MoDE blocks; by default the block of the encoder and the one of the
        decoder in which the tasks differ most.

    Raises
    ------
    UserError
        If there is no such block.
    """
    weights = _weights_by_block(rows)
    blocks = blocks or [_most_varied(weights, part) for part in ("encoder", "decoder")]
    for block in blocks:
        if block not in weights:
            raise UserError(f"block {block!r}: choose one of {', '.join(weights)}")
    tasks, experts = _tasks_by_scale(rows), _expert_labels(rows)
    styles = _expert_styles(experts)
    figure = new_figure(2.2 + 3.3 * len(blocks), 1.9 + 0.32 * len(tasks))
    panels = figure.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    num_base = sum(expert not in (_NEW, _EARLIER_NEW) for expert in experts)
    for axes, block in zip(panels, blocks, strict=True):
        for y, task in enumerate(tasks):
            found = weights[block][task]
            axes.plot(list(found.values()), [y] * len(found), color="#e0e0e0", lw=1)
            for expert, weight in found.items():
                axes.plot(weight, y, ls="", ms=7, alpha=0.9, **styles[expert])
        axes.axvline(1 / num_base, color=GREY, lw=1, ls=":", zorder=0)
        axes.set_xlabel("gating weight, mean over channels", fontsize=SMALL + 0.5)
        set_title(axes, f"{part_of(block)}: block {block}")
        plain_frame(axes)
        axes.tick_params(axis="y", length=0)
    _label_tasks(panels[0], tasks, rows)
    handles = [Line2D([], [], ls="", ms=7, label=e, **styles[e]) for e in experts]
    handles.append(Line2D([], [], color=GREY, lw=1, ls=":", label="equal weights"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, **_LEGEND)
    return figure


def plot_gating_overview(rows: Sequence[GatingRow]) -> Figure:
    """Draw all channel-averaged gating weights: block by expert, one panel per task."""
    weights = _weights_by_block(rows)
    tasks, experts, blocks = _tasks_by_scale(rows), _expert_labels(rows), list(weights)
    new = set(earlier_tasks(rows))
    columns = min(len(tasks), 6 if len(tasks) > 8 else 4)
    num_rows = math.ceil(len(tasks) / columns)
    figure = new_figure(
        2.4 + (0.35 + 0.24 * len(experts)) * columns,
        0.4 + (1.1 + 0.16 * len(blocks)) * num_rows,
    )
    panels = figure.subplots(num_rows, columns, squeeze=False, sharex=True, sharey=True)
    norm = Normalize(0, max(row.weight for row in rows))
    for axes, task in zip(panels.ravel(), tasks, strict=False):
        table = [
            [weights[block][task].get(expert, math.nan) for expert in experts]
            for block in blocks
        ]
        image = axes.imshow(table, cmap="viridis", norm=norm, aspect="auto")
        axes.set_title(
            display_name(task),
            fontsize=SMALL,
            color=DARK,
            fontweight="bold" if task in new else "normal",
        )
        axes.set_xticks(range(len(experts)), experts, rotation=90)
        axes.set_yticks(range(len(blocks)), blocks)
        bare_cells(axes)
        axes.tick_params(labelsize=SMALL - 1.5)
        for y in _part_borders(blocks):
            axes.axhline(y - 0.5, color="white", lw=1.5)
    for index, axes in enumerate(panels.ravel()):
        if index >= len(tasks):
            axes.set_visible(False)
        elif index + columns >= len(tasks):
            axes.tick_params(labelbottom=True)
    bar = figure.colorbar(image, ax=panels, pad=0.01, aspect=40)
    bar.set_label("gating weight, mean over channels", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def plot_scale_preference(rows: Sequence[GatingRow]) -> Figure:
    """Draw the kernel extent that each task prefers, from small structures to large.

    A line joins encoder and decoder of a task. Tasks of unknown size are left out.
    """
    known = [e for e in part_extents(rows) if e.structure_scale_um is not None]
    tasks = [
        task for task in reversed(_tasks_by_scale(rows)) if task in STRUCTURE_SCALE_UM
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
    figure.legend(loc="outside lower center", ncols=2, **_LEGEND)
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
    mean = [
        np.mean([of_task[block] for of_task in extents.values()]) for block in blocks
    ]
    axes.plot(mean, color=DARK, lw=2.5, marker="o", ms=4)
    borders = [0, *_part_borders(blocks), len(blocks)]
    for index, (start, stop) in enumerate(zip(borders, borders[1:], strict=False)):
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

    Parameters
    ----------
    distances : sequence of GateDistance
        From :func:`continual_repmode.analysis.gating.gate_distances`, of any number of
        new tasks.
    """
    new = list(dict.fromkeys(distance.task for distance in distances))
    if not new:
        figure = new_figure(7.2, 1.2)
        return _say(
            figure, figure.subplots(), "no task arrived after the first experience"
        )
    by_task = {task: [d for d in distances if d.task == task] for task in new}
    most = max(len(mean_distances(found)) for found in by_task.values())
    columns = min(len(new), 3)
    num_rows = math.ceil(len(new) / columns)
    figure = new_figure(4.0 * columns + 0.4, (1.1 + 0.25 * most) * num_rows + 0.3)
    panels = figure.subplots(num_rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (task, found) in zip(panels, by_task.items(), strict=False):
        means = mean_distances(found)
        others = list(means)
        axes.barh(
            range(len(others)), list(means.values()), color="#d0d0d0", label="all"
        )
        for part, style in _TWO_PARTS.items():
            values = mean_distances(found, part)
            points = [values[other] for other in others]
            axes.plot(points, range(len(others)), ls="", ms=6, label=part, **style)
        axes.set_yticks(range(len(others)), [display_name(other) for other in others])
        axes.set_ylim(most - 0.4, -0.6)
        axes.set_xlabel("Jensen-Shannon divergence (bits)", fontsize=SMALL + 0.5)
        set_title(axes, f"{display_name(task)}: nearest is {display_name(others[0])}")
        plain_frame(axes)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(labelbottom=True)
    for axes in panels[len(new) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, **_LEGEND)
    return figure


def _weights_by_block(
    rows: Sequence[GatingRow],
) -> dict[str, dict[str, dict[str, float]]]:
    """Return block -> task -> expert label -> weight."""
    weights: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        found = weights.setdefault(row.block, {}).setdefault(row.task, {})
        label = _expert_label(row)
        found[label] = found.get(label, 0.0) + row.weight
    return weights


def _expert_label(row: GatingRow) -> str:
    """Return the expert as text; added experts are told apart by whose they are."""
    if row.expert == extension_name(row.task):
        return _NEW
    if row.expert.startswith(extension_name("")):
        return _EARLIER_NEW
    return row.expert.replace("_conv1", " + conv1").replace("_", " ")


def _expert_labels(rows: Sequence[GatingRow]) -> list[str]:
    """Return the labels of all experts: the base experts, then the added ones."""
    labels = list(dict.fromkeys(_expert_label(row) for row in rows))
    added = [label for label in (_NEW, _EARLIER_NEW) if label in labels]
    return [label for label in labels if label not in added] + added


def _expert_styles(experts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give convolutions blues, poolings oranges and added experts dark greys."""
    families = {
        "Blues": [e for e in experts if e.startswith("conv")],
        "Oranges": [e for e in experts if e.startswith("avg")],
        "Greys": [e for e in experts if e in (_NEW, _EARLIER_NEW)],
    }
    return {
        expert: {"color": colour, "marker": _MARKERS[experts.index(expert) % 10]}
        for name, family in families.items()
        for expert, colour in zip(
            family, colormaps[name](np.linspace(0.95, 0.45, len(family))), strict=True
        )
    }


def _tasks_by_scale(rows: Sequence[GatingRow]) -> list[str]:
    """Return the tasks from large structures to small, those of unknown size last."""
    tasks = dict.fromkeys(row.task for row in rows)
    return sorted(tasks, key=lambda task: -STRUCTURE_SCALE_UM.get(task, 0.0))


def _most_varied(
    weights: Mapping[str, Mapping[str, Mapping[str, float]]], part: str
) -> str:
    """Return the block of a part in which the weights vary most between tasks."""

    def spread(block: str) -> float:
        by_expert: dict[str, list[float]] = {}
        for found in weights[block].values():
            for expert, weight in found.items():
                by_expert.setdefault(expert, []).append(weight)
        return sum(float(np.var(values)) for values in by_expert.values())

    return max((block for block in weights if part_of(block) == part), key=spread)


def _label_tasks(axes: Axes, tasks: list[str], rows: Sequence[GatingRow]) -> None:
    labels = [
        f"{display_name(task)}, {STRUCTURE_SCALE_UM[task]:g} µm"
        if task in STRUCTURE_SCALE_UM
        else display_name(task)
        for task in tasks
    ]
    axes.set_yticks(range(len(tasks)), labels)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    mark_new(axes.get_yticklabels(), tasks, set(earlier_tasks(rows)))


def _part_borders(blocks: Sequence[str]) -> list[int]:
    """Return the positions at which another part of the network begins."""
    parts = [part_of(block) for block in blocks]
    return [index for index in range(1, len(parts)) if parts[index] != parts[index - 1]]


def _say(figure: Figure, axes: Axes, text: str) -> Figure:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=DARK)
    return figure
