"""Figures of the gating weights: which experts each structure prefers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from continual_repmode.analysis._figure import (
    BOLD,
    DARK,
    GREY,
    LEGEND,
    SMALL,
    bare_cells,
    mark_new,
    new_figure,
    part_borders,
    plain_frame,
    set_title,
)
from continual_repmode.analysis.gating import GatingRow, part_of
from continual_repmode.analysis.preferences import (
    STRUCTURE_SCALE_UM,
    earlier_tasks,
    tasks_by_scale,
)
from continual_repmode.errors import UserError
from continual_repmode.models.gating import extension_name
from continual_repmode.tasks import display_name

_NO_LABELS = [""]
_DIVERGING = "PuOr_r"  # keeps apart for people with color-vision deficiencies
_UNUSED = "#c8c8c8"
_OWN = "own expert"
_EARLIER = "own experts of others"
_MARKERS = "osD^vP*X<>"


def plot_gating(
    rows: Sequence[GatingRow], blocks: Sequence[str] | None = None
) -> Figure:
    """Draw the channel-averaged gating weights of some blocks (as Fig. 6 of the paper).

    One panel per block, one line per task, from large structures to small ones. Tasks
    that were added later stand out in bold.

    ``blocks``: names of MoDE blocks; by default the block of the encoder and the one of
        the decoder in which the tasks differ most (if that part has gates).
    Raises UserError if there is no such block.
    """
    weights = _weights_by_block(rows)
    parts = dict.fromkeys(map(part_of, weights))
    chosen = [part for part in ("encoder", "decoder") if part in parts]
    blocks = blocks or [_most_varied(weights, part) for part in chosen]
    for block in blocks:
        if block not in weights:
            raise UserError(f"block {block!r}: choose one of {', '.join(weights)}")
    tasks, experts = tasks_by_scale(rows), _expert_labels(rows)
    styles = _expert_styles(experts)
    figure = new_figure(2.2 + 3.3 * len(blocks), 1.9 + 0.32 * len(tasks))
    panels = figure.subplots(1, len(blocks), sharex=True, squeeze=False)[0]
    for axes, block in zip(panels, blocks, strict=True):
        _draw_gates(axes, [weights[block][task] for task in tasks], styles)
        set_title(axes, f"block {block}")
    panels[0].set_yticks(range(len(tasks)), [display_name(task) for task in tasks])
    mark_new(panels[0].get_yticklabels(), tasks, set(earlier_tasks(rows)))
    handles = [Line2D([], [], ls="", ms=7, label=e, **styles[e]) for e in experts]
    handles.append(Line2D([], [], color=GREY, lw=1, ls=":", label="equal weights"))
    if all(task in STRUCTURE_SCALE_UM for task in tasks):
        text = "small  \N{RIGHTWARDS ARROW}  large structures"
        panels[0].set_ylabel(text, fontsize=SMALL)
    if earlier_tasks(rows):
        handles.append(Line2D([], [], ls="", label=BOLD))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=2 * len(blocks), **LEGEND
    )
    return figure


def plot_gating_overview(rows: Sequence[GatingRow]) -> Figure:
    """Draw all channel-averaged gating weights: block by expert, one panel per task.

    From large structures to small ones; tasks that were added later are in bold, and
    experts that a task does not use are grey. White is an equal share of the base
    experts, so that preferences show; experts that were added may be beyond the scale.
    """
    weights = _weights_by_block(rows)
    tasks, experts, blocks = tasks_by_scale(rows), _expert_labels(rows), list(weights)
    new = set(earlier_tasks(rows))
    columns = min(len(tasks), 6 if len(tasks) > 8 else 4)
    num_rows = math.ceil(len(tasks) / columns)
    figure = new_figure(
        2.4 + (0.35 + 0.24 * len(experts)) * columns,
        0.4 + (1.1 + 0.16 * len(blocks)) * num_rows,
    )
    panels = figure.subplots(num_rows, columns, squeeze=False).ravel()
    shared = [e for e in experts if e not in (_OWN, _EARLIER)]
    equal = 1 / len(shared)
    found = [w[e] for of in weights.values() for w in of.values() for e in shared]
    low, high = min(found), max(found)
    norm = TwoSlopeNorm(equal, min(low, equal - 0.01), max(high, equal + 0.01))
    for index, (axes, task) in enumerate(zip(panels, tasks, strict=False)):
        table = [
            [weights[block][task].get(expert, math.nan) for expert in experts]
            for block in blocks
        ]
        image = axes.imshow(table, cmap=_DIVERGING, norm=norm, aspect="auto")
        axes.set_facecolor(_UNUSED)
        title = axes.set_title(display_name(task), fontsize=SMALL, color=DARK)
        mark_new([title], [task], new)
        lowest, leftmost = index + columns >= len(tasks), index % columns == 0
        axes.set_xticks(
            range(len(experts)),
            experts if lowest else _NO_LABELS * len(experts),
            rotation=90,
        )
        axes.set_yticks(
            range(len(blocks)), blocks if leftmost else _NO_LABELS * len(blocks)
        )
        bare_cells(axes)
        axes.tick_params(labelsize=SMALL - 1.5)
        for y in part_borders(blocks):
            axes.axhline(y - 0.5, color="white", lw=1.5)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    if new:
        figure.supxlabel(f"{BOLD}; grey: expert not used", fontsize=SMALL)
    bar = figure.colorbar(image, ax=panels, pad=0.01, aspect=40, extend="max")
    label = f"mean gating weight; white: equal share, 1/{len(shared)}"
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def _draw_gates(
    axes: Axes, weights: Sequence[Mapping[str, float]], styles: Mapping[str, Any]
) -> None:
    """Draw one line per task, its experts as markers along the weight."""
    for expert, style in styles.items():
        points = [
            (found[expert], y) for y, found in enumerate(weights) if expert in found
        ]
        axes.plot(*zip(*points, strict=True), ls="", ms=7, alpha=0.9, **style)
    for y, found in enumerate(weights):
        axes.hlines(
            y, min(found.values()), max(found.values()), "#e0e0e0", lw=1, zorder=0
        )
    num_base = len(set(styles) - {_OWN, _EARLIER})
    axes.axvline(1 / num_base, color=GREY, lw=1, ls=":", zorder=0)
    axes.set_xlabel("gating weight, mean over channels", fontsize=SMALL + 0.5)
    plain_frame(axes)
    axes.set_yticks(range(len(weights)), _NO_LABELS * len(weights))
    axes.set_ylim(len(weights) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


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
        return _OWN
    if row.expert.startswith(extension_name("")):
        return _EARLIER
    return row.expert.replace("_conv1", " + conv1").replace("_", " ")


def _expert_labels(rows: Sequence[GatingRow]) -> list[str]:
    """Return the labels of all experts: convolutions, poolings, then added ones.

    The base experts of each kind go from the largest kernel to the smallest.
    """
    extents = {_expert_label(row): row.extent_px for row in rows}
    added = [label for label in (_OWN, _EARLIER) if label in extents]
    base = [label for label in extents if label not in added]
    base.sort(key=lambda label: (label.startswith("avg"), -extents[label]))
    return base + added


def _expert_styles(experts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give convolutions blues, poolings oranges and added experts greys."""
    families = {
        "Blues": [e for e in experts if e.startswith("conv")],
        "Oranges": [e for e in experts if e.startswith("avg")],
        "Greys": [e for e in experts if e in (_OWN, _EARLIER)],
    }
    return {
        expert: {"color": colour, "marker": _MARKERS[experts.index(expert) % 10]}
        for name, family in families.items()
        for expert, colour in zip(
            family, colormaps[name](np.linspace(0.95, 0.45, len(family))), strict=True
        )
    }


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
