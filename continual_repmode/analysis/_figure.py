"""What all figures share: colours, labels and saving.

Figures are made without pyplot, so making one changes nothing outside it. Colours keep
apart for people with colour-vision deficiencies (Okabe and Ito 2008; viridis).
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from continual_repmode.analysis.gating import part_of
from continual_repmode.files import write_whole
from continual_repmode.tasks import display_name

BLUE = "#0072B2"
ORANGE = "#D55E00"
GREY = "#999999"
DARK = "#333333"

SMALL = 8.5
LEGEND: dict[str, Any] = {"fontsize": SMALL, "frameon": False}
BOLD = "bold: added after the first experience"
DOTS_PER_INCH = 150


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches whose parts make room for another."""
    return Figure(figsize=(width, height), layout="constrained", dpi=DOTS_PER_INCH)


def save_figure(figure: Figure, path: Path, *further: str) -> Path:
    """Write a figure as PNG, all at once or not at all; return ``path``.

    ``further``: of :data:`continual_repmode.results.FORMATS`, written next to it. Text
        in them stays text.
    """
    for kind in dict.fromkeys(("png", *further)):
        buffer = io.BytesIO()
        with rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
            figure.savefig(buffer, format=kind)
        write_whole(path.with_suffix(f".{kind}"), buffer.getvalue())
    return path


def set_title(axes: Axes, text: str) -> None:
    """Set a left-aligned title."""
    axes.set_title(text, loc="left", fontsize=10, fontweight="bold", color=DARK)


def plain_frame(axes: Axes) -> None:
    """Leave only the two spines that carry the axes, and shrink the tick labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    axes.set_axisbelow(True)


def bare_cells(axes: Axes) -> None:
    """Remove frame and tick marks, as around a table of cells."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL)


def mark_new(labels: Sequence[Text], tasks: Sequence[str], new: set[str]) -> None:
    """Set the labels of the tasks that arrived after the first experience in bold."""
    for label, task in zip(labels, tasks, strict=True):
        if task in new:
            label.set_fontweight("bold")


def name_tasks(tasks: list[str]) -> str:
    """Return the task names if they are short, or how many there are.

    >>> name_tasks(["dna", "nucleolus"])
    'DNA, nucleolus'
    """
    text = ", ".join(display_name(task) for task in tasks)
    return text if len(tasks) == 1 or len(text) <= 25 else f"{len(tasks)} tasks"


def part_borders(blocks: Sequence[str]) -> list[int]:
    """Return the positions in a list of blocks where a part of the net begins."""
    parts = [part_of(block) for block in blocks]
    return [index for index in range(1, len(parts)) if parts[index] != parts[index - 1]]
