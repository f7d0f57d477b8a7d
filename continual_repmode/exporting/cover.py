"""The picture on a bioimage.io package: what goes in, what comes out."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from continual_repmode.tasks import display_name

_DOTS_PER_INCH = 150
_INCHES = (6.0, 3.0)  # 2:1, as the specification asks


def draw_cover(
    signal: NDArray[Any], prediction: NDArray[Any], task: str, path: Path
) -> None:
    """Draw one plane of a volume and its prediction side by side, as PNG.

    The plane where the prediction varies most, each on its own gray scale.

    ``signal``, ``prediction``: (Z, Y, X).
    """
    plane = int(np.argmax(prediction.std(axis=(1, 2))))
    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH)
    images = (
        (signal[plane], "transmitted light", (0.5, 99.5)),
        (
            prediction[plane],
            f"predicted {display_name(task)}",
            (1.0, 99.8),
        ),
    )
    for column, (image, title, percentiles) in enumerate(images):
        axes = figure.add_axes((0.5 * column, 0, 0.5, 1))
        low, high = np.percentile(image, percentiles)
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, aspect="auto")
        axes.set_axis_off()
        axes.text(
            0.03,
            0.96,
            title,
            transform=axes.transAxes,
            va="top",
            color="white",
            fontsize=10,
            bbox={"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 3},
        )
    figure.savefig(path)
