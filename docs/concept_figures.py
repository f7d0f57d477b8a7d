"""Figures of the page on concepts: ``python docs/concept_figures.py``.

Kernels and gating weights in them are those of a network before it is trained.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from continual_repmode import RepModeUNet
from continual_repmode.analysis._figure import (
    BLUE,
    DARK,
    GREY,
    ORANGE,
    new_figure,
    save_figure,
)
from continual_repmode.models.mode_conv import MoDEConv
from continual_repmode.tasks import display_name

FOLDER = Path(__file__).parent / "figures"
TASK, OTHER = "dna", "mitochondria"
PALE, PALE_ORANGE = "#E8F1F8", "#FBE9DD"


def main() -> None:
    """Draw all of them."""
    torch.manual_seed(3)
    net = RepModeUNet((TASK, OTHER), width=4, depth=1).eval()
    conv = list(net.blocks().values())[1].conv
    for name, figure in {
        "concept_block": block_figure(conv),
        "concept_merging": merging_figure(conv),
        "concept_stream": stream_figure(),
    }.items():
        print(save_figure(figure, FOLDER / f"{name}.png"))


def block_figure(conv: MoDEConv) -> Figure:
    """Draw what a block does for a task: experts, gate, one kernel."""
    figure = new_figure(7.5, 3.5)
    axes = canvas(figure, 15, 7)
    axes.set_xlim(2.8, 15)
    names = [expert_label(name) for name in conv.experts]
    for index, name in enumerate(names):
        y = 5.7 - 1.25 * index
        box(axes, (3.0, y), (3.2, 0.8), name, BLUE, PALE)
        arrow(axes, (6.2, y + 0.4), (9.9, 3.6), width=0.8)
    title = {"ha": "center", "va": "center", "fontsize": 9}
    axes.text(4.6, 6.75, "experts, shared by all tasks", color=BLUE, **title)
    with torch.no_grad():
        gates = {task: conv.gate(task).mean(1).numpy() for task in (TASK, OTHER)}
    for index in range(len(names)):
        y = 5.7 - 1.25 * index
        for row, (task, color) in enumerate(((TASK, ORANGE), (OTHER, GREY))):
            length = 4 * float(gates[task][index])
            low = y + 0.42 - 0.36 * row
            axes.barh(low, length, 0.3, left=6.6, color=color, zorder=3)
    axes.text(8.0, 6.75, "gate: weights of a task", color=ORANGE, **title)
    for row, (task, color) in enumerate(((TASK, ORANGE), (OTHER, GREY))):
        place = (6.6 + 1.2 * row, 0.12)
        axes.text(*place, display_name(task), color=color, fontsize=8.5)
    box(axes, (9.9, 3), (1.7, 1.2), "one kernel\nper task", ORANGE, PALE_ORANGE)
    arrow(axes, (11.6, 3.6), (12.1, 3.6))
    box(axes, (12.1, 3), (2.7, 1.2), "convolution,\nnormalization, ReLU")
    box(axes, (12.5, 5.2), (1.9, 1.1), "features\nfrom before")
    arrow(axes, (13.45, 5.2), (13.45, 4.2))
    box(axes, (12.5, 0.9), (1.9, 1.1), "features\nfor the next")
    arrow(axes, (13.45, 3.0), (13.45, 2.0))
    return figure


def merging_figure(conv: MoDEConv) -> Figure:
    """Draw the gated kernels of the experts, and the one that is their sum."""
    with torch.no_grad():
        gates = conv.gate(TASK)[:, 0].numpy()
        kernels = [
            kernel_plane(expert.kernel()) for expert in conv.experts_of(TASK).values()
        ]
        merged = kernel_plane(conv.merged_kernel(TASK))
    parts = [gate * kernel for gate, kernel in zip(gates, kernels, strict=True)]
    figure = new_figure(7.5, 1.9)
    panels = figure.subplots(1, len(parts) + 1)
    labels = [
        f"{gate:.2f} $\\times$\n{expert_label(name)}"
        for gate, name in zip(gates, conv.experts, strict=True)
    ]
    signs = ["", *["+"] * (len(parts) - 1), "="]
    shown = zip(
        panels, [*parts, merged], [*labels, "one 5x5x5\nkernel"], signs, strict=True
    )
    for axes, values, label, sign in shown:
        axes.imshow(values, cmap="PuOr_r", vmin=-np.abs(values).max(),
                    vmax=np.abs(values).max())  # fmt: skip
        axes.set(xticks=[], yticks=[])
        axes.set_title(label, fontsize=8.5, color=ORANGE if sign == "=" else DARK)
        axes.text(-0.22, 0.5, sign, transform=axes.transAxes, ha="center", va="center",
                  fontsize=14)  # fmt: skip
        for spine in axes.spines.values():
            spine.set(color=ORANGE if sign == "=" else GREY)
    return figure


def stream_figure() -> Figure:
    """Draw three experiences: what is frozen, what is added, what is tested."""
    figure = new_figure(7.5, 3.3)
    axes = canvas(figure, 15, 6.6)
    steps = (("1", "ten tasks"), ("2", "nucleolus"), ("3", "cell membrane"))
    added = ("nucleolus", "cell membrane")
    for index, (number, tasks) in enumerate(steps):
        x = 5.1 * index
        title = f"experience {number}: {tasks}"
        bold = {"fontweight": "bold", "fontsize": 8.5}
        axes.text(x + 2.1, 6.2, title, ha="center", color=DARK, **bold)
        frozen = index > 0
        box(axes, (x + 0.1, 3.6), (4.0, 2.1),
            "experts, gates and\nnormalizations of ten tasks"
            + ("\nfrozen" if frozen else "\ntrained"),
            GREY if frozen else BLUE, "#F2F2F2" if frozen else PALE)  # fmt: skip
        for later, name in enumerate(added[:index]):
            new = later == index - 1
            y = 2.55 - 0.95 * later
            box(axes, (x + 0.1, y), (4.0, 0.8),
                f"those of {name}" + (", trained" if new else ", frozen"),
                ORANGE if new else GREY, PALE_ORANGE if new else "#F2F2F2")  # fmt: skip
        told = "test all tasks so far"
        if frozen:
            told += ";\nearlier ones unchanged (SHA-256)"
        axes.text(x + 2.1, 0.95, told, ha="center", va="top", fontsize=8.5, color=DARK)
        if index < len(steps) - 1:
            arrow(axes, (x + 4.2, 4.65), (x + 5.1, 4.65))
    return figure


def canvas(figure: Figure, width: float, height: float) -> Axes:
    """Return empty axes of a size in units of their own."""
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return axes


def box(
    axes: Axes,
    place: tuple[float, float],
    size: tuple[float, float],
    text: str,
    color: str = GREY,
    face: str = "white",
) -> None:
    """Draw a box with a text in its middle."""
    style = "round,pad=0,rounding_size=0.15"
    patch = FancyBboxPatch(
        place, *size, boxstyle=style, edgecolor=color, facecolor=face, linewidth=1.2
    )
    axes.add_patch(patch)
    middle = [start + length / 2 for start, length in zip(place, size, strict=True)]
    axes.text(*middle, text, ha="center", va="center", fontsize=8.5, color=DARK)


def arrow(
    axes: Axes, start: Sequence[float], end: Sequence[float], width: float = 1.0
) -> None:
    """Draw an arrow."""
    props = {"arrowstyle": "-|>", "color": GREY, "linewidth": width, "shrinkA": 0,
             "shrinkB": 0}  # fmt: skip
    axes.annotate("", end, start, arrowprops=props, zorder=1)


def kernel_plane(kernel: torch.Tensor) -> np.ndarray:
    """Return the middle plane of the first kernel, 5x5."""
    plane = kernel[0, 0, kernel.shape[2] // 2].detach().numpy()
    return np.asarray(np.pad(plane, (5 - len(plane)) // 2))


def expert_label(name: str) -> str:
    """Return what an expert is."""
    return {
        "conv5": "5x5x5 conv.",
        "conv3": "3x3x3 conv.",
        "conv1": "1x1x1 conv.",
        "avg3_conv1": "mean of 3x3x3",
        "avg5_conv1": "mean of 5x5x5",
    }[name]


if __name__ == "__main__":
    main()
