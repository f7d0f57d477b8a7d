"""What the figures of tables draw with: panels of rows, marks, curves, colors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from continual_repmode.analysis._figure import (
    LEGEND,
    SMALL,
    new_figure,
    plain_frame,
    set_title,
)
from continual_repmode.experiments.summary import RowResults, Value


def panels_of_rows(
    rows: Sequence[RowResults], titles: tuple[str, str]
) -> tuple[Figure, tuple[Axes, Axes]]:
    """Return two panels side by side with a place for every row."""
    labels = [found.row.label for found in rows]
    if len(set(labels)) < len(labels):
        labels = [f"{found.row.label}\n{found.row.group}" for found in rows]
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = new_figure(9.5, 1.3 + 0.3 * lines)
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_yticks(range(len(rows)), labels)
    left.set_ylim(len(rows) - 0.5, -0.5)
    for axes, title in zip((left, right), titles, strict=True):
        set_title(axes, title)
        axes.grid(axis="x", color="#e5e5e5")
        plain_frame(axes)
    return figure, (left, right)


def draw_curve(
    axes: Axes,
    counts: Sequence[int | None],
    values: Sequence[Value | None],
    **style: Any,
) -> None:
    """Draw means with their spreads against numbers of images."""
    points = [(c, v) for c, v in zip(counts, values, strict=True) if c and v]
    axes.errorbar(
        [count for count, _ in points],
        [value.mean for _, value in points],
        yerr=[value.spread or 0.0 for _, value in points],
        ms=4,
        capsize=2,
        **style,
    )


def mark(axes: Axes, value: Value, y: float, color: str) -> None:
    axes.errorbar(
        value.mean, y, xerr=value.spread, color=color, marker="o", ms=5, capsize=2
    )


def scatter(axes: Axes, points: Sequence[tuple[Value, Value, str]]) -> None:
    """Draw numbered points with their spreads; the names stand next to the axes.

    Among means over seeds, a point of one seed is hollow and its name says so.
    """
    colors = colors_of(len(points))
    has_means = any(y.spread is not None for _, y, _ in points)
    from_below = sorted(range(len(points)), key=lambda i: points[i][1].mean)
    for number, ((x, y, label), color) in enumerate(
        zip(points, colors, strict=True), start=1
    ):
        is_alone = has_means and y.spread is None
        axes.errorbar(
            x.mean,
            y.mean,
            xerr=x.spread,
            yerr=y.spread,
            color=color,
            marker="o",
            mfc="white" if is_alone else None,
            ms=5,
            capsize=2,
            label=f"{number}  {label}" + " (one seed)" * is_alone,
        )
        left = from_below.index(number - 1) % 2  # neighbors are read apart
        axes.annotate(
            str(number),
            (x.mean, y.mean),
            xytext=(-4 if left else 4, 3),
            ha="right" if left else "left",
            textcoords="offset points",
            fontsize=SMALL,
        )
    axes.margins(0.12)
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside right upper", **LEGEND)


def colors_of(count: int) -> NDArray[np.float64]:
    """Return so many colors that can be told apart, as RGBA."""
    colors: NDArray[np.float64] = colormaps["viridis"](np.linspace(0.0, 0.9, count))
    return colors
