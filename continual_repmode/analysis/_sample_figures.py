"""The figure of predictions: one test image of every task."""

import math
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from continual_repmode.analysis._figure import DARK, SMALL, new_figure
from continual_repmode.errors import UserError
from continual_repmode.metrics.regression import RegressionSums
from continual_repmode.results import RunFolder
from continual_repmode.tasks import display_name
from continual_repmode.volumes.volume import VolumeReader

_COLUMNS = ("signal", "target", "prediction")
_IMAGE_INCHES = 1.35
_PREDICTIONS_PER_ROW = 5
_BAR_LENGTHS_UM = (1, 2, 5, 10, 20, 50, 100)


def plot_samples(
    folder: RunFolder, voxel_size_um: tuple[float, float, float] | None = None
) -> Figure:
    """Draw signal, target and prediction of one test image of every task.

    Above the middle xy slice, below the middle xz section. Target and prediction share
    one intensity scale, the central 99 % of the target.

    Parameters
    ----------
    folder : RunFolder
        With ``samples/<task>.npz``.
    voxel_size_um : tuple of float, optional
        Voxel size (Z, Y, X): gives a scale bar, and xz sections true proportions.

    Raises
    ------
    UserError
        If the folder holds no samples, or a broken one.
    """
    samples = {path.stem: _read(path) for path in sorted(folder.samples.glob("*.npz"))}
    if not samples:
        raise UserError(f"{folder.samples}: no samples here; they come with a run")
    spacing = voxel_size_um or (1.0, 1.0, 1.0)
    columns = 2 if len(samples) == 4 else min(len(samples), 3)
    num_rows = math.ceil(len(samples) / columns)
    height = max(_relative_height(s["signal"], spacing) for s in samples.values())
    panel_size = (3 * _IMAGE_INCHES + 0.35, height * _IMAGE_INCHES + 0.5)
    above = 0.3
    total = panel_size[1] * num_rows + above
    figure = new_figure(panel_size[0] * columns, total)
    # Its solver moves parts by shares of a pixel from one drawing to the next.
    figure.set_layout_engine("none")
    figure.suptitle(
        "xy slice and xz section; target and prediction on one scale",
        y=1 - 0.05 / total,
        fontsize=SMALL,
        color=DARK,
    )
    heights = [above, *[panel_size[1]] * num_rows]
    places = figure.add_gridspec(num_rows + 1, columns, height_ratios=heights)
    for number, (task, sample) in enumerate(samples.items()):
        place = places[1 + number // columns, number % columns]
        panel = figure.add_subfigure(place)
        _draw_sample(
            panel, panel_size, task, sample, spacing, voxel_size_um is not None
        )
    return figure


def plot_predictions(image: VolumeReader, predicted: VolumeReader) -> Figure:
    """Draw the channels of an image and of its prediction.

    Shown are middle planes, each on a scale of its own.

    ``image``, ``predicted``: on the same grid; channels of the prediction are named
        after tasks.
    """
    panels = {name: image.read_channel(name) for name in image.channel_names}
    panels = {f"{name} (measured)": volume for name, volume in panels.items()}
    panels |= {
        display_name(task): predicted.read_channel(task)
        for task in predicted.channel_names
    }
    columns = min(len(panels), _PREDICTIONS_PER_ROW)
    num_rows = math.ceil(len(panels) / columns)
    shape = next(iter(panels.values())).shape
    height = shape[1] / shape[2]
    figure = new_figure(
        _IMAGE_INCHES * columns, (_IMAGE_INCHES * height + 0.25) * num_rows
    )
    axes = figure.subplots(num_rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (title, volume) in zip(axes, panels.items(), strict=False):
        low, high = np.nanpercentile(volume, (0.5, 99.5))
        axis.imshow(volume[len(volume) // 2], cmap="gray", vmin=low, vmax=high)
        axis.set_title(title, fontsize=SMALL - 1.5, color=DARK, pad=2)
    step_um = image.voxel_size_um[2]
    if step_um is not None:
        _draw_scale_bar(axes[0], shape, step_um)
    return figure


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with path.open("rb") as file, np.load(file) as content:
            return {name: content[name].astype(np.float32) for name in _COLUMNS}
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise UserError(f"{path}: not a sample of a run ({error})") from error


def _relative_height(volume: Any, spacing: tuple[float, float, float]) -> float:
    """Return the height of slice and section together, as a multiple of their width."""
    z, y, x = (size * step for size, step in zip(volume.shape, spacing, strict=True))
    return float((y + z) / x)


def _draw_sample(
    panel: SubFigure,
    size: tuple[float, float],
    task: str,
    sample: dict[str, NDArray[np.float32]],
    spacing: tuple[float, float, float],
    with_bar: bool,
) -> None:
    """Draw one task into a panel of a size (width, height) in inches."""
    width, tall = size
    depth, height, _ = sample["signal"].shape
    sums = RegressionSums.of(sample["prediction"], sample["target"]).result()
    panel.suptitle(
        f"{display_name(task)}   R² {sums.r2:.2f}   r {sums.pearson_r:.2f}",
        y=1 - 0.04 / tall,
        fontsize=SMALL + 0.5,
        fontweight="bold",
        color=DARK,
    )
    ratios = (height * spacing[1], depth * spacing[0])
    gaps = {"left": 0.1 / width, "right": 1 - 0.1 / width, "wspace": 0.05}
    gaps |= {"bottom": 0.04 / tall, "top": 1 - 0.36 / tall, "hspace": 0.03}
    axes = panel.subplots(2, 3, height_ratios=ratios, gridspec_kw=gaps)
    limits = {
        "signal": np.nanpercentile(sample["signal"], (0.5, 99.5)),
        "target": np.nanpercentile(sample["target"], (0.5, 99.5)),
    }
    limits["prediction"] = limits["target"]
    for column, name in enumerate(_COLUMNS):
        low, high = limits[name]
        volume = sample[name]
        for row, plane, step in (
            (0, volume[depth // 2], spacing[1]),
            (1, volume[:, height // 2], spacing[0]),
        ):
            axes[row, column].imshow(
                plane, cmap="gray", vmin=low, vmax=high, aspect=step / spacing[2]
            )
            axes[row, column].set_axis_off()
            axes[row, column].set_anchor("S" if row == 0 else "N")
        title = "transmitted light" if name == "signal" else name
        axes[0, column].set_title(title, fontsize=SMALL - 0.5, color=DARK, pad=2)
    if with_bar:
        _draw_scale_bar(axes[0, 0], sample["signal"].shape, spacing[2])


def _draw_scale_bar(axes: Axes, shape: tuple[int, ...], step_um: float) -> None:
    """Draw a bar of a round length, at most a third of the width."""
    _, height, width = shape
    fitting = [um for um in _BAR_LENGTHS_UM if um / step_um <= width / 3]
    if not fitting:
        return
    end = width - 0.5 - 0.05 * width
    start = end - fitting[-1] / step_um
    outline = [withStroke(linewidth=1.5, foreground="black")]
    y = height - 0.5 - 0.06 * height
    axes.plot([start, end], [y, y], color="white", lw=2, solid_capstyle="butt")
    axes.text(
        (start + end) / 2,
        y - 0.03 * height,
        f"{fitting[-1]} µm",
        color="white",
        fontsize=SMALL - 1.5,
        ha="center",
        va="bottom",
        path_effects=outline,
    )
