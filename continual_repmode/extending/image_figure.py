"""The figure of how many images seem enough."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from continual_repmode.analysis._figure import (
    BLUE,
    DARK,
    GREY,
    LEGEND,
    SMALL,
    new_figure,
    plain_frame,
    set_title,
)
from continual_repmode.extending.image_curve import CurvePoint
from continual_repmode.tasks import display_name


def plot_images(points: Sequence[CurvePoint], task: str) -> Figure:
    """Draw the validation error over the number of training images.

    Beside the error of predicting each image's mean; a hollow point has not learned
    the structure.

    Parameters
    ----------
    points : sequence of CurvePoint
        By rising number of images; the last one is all of them.
    task : str
    """
    figure = new_figure(6.0, 3.6)
    axes = figure.subplots()
    numbers = [point.num_images for point in points]
    errors = [point.valid_mse for point in points]
    mean_error = points[-1].target_variance
    axes.axhline(
        mean_error, color=GREY, lw=1.2, ls="--", label="predicting each image's mean"
    )
    axes.plot(numbers, errors, color=BLUE, lw=1.2)
    for is_learned, name in ((True, "learned"), (False, "not learned")):
        drawn = [p for p in points if p.score.is_learned is is_learned]
        if drawn:
            axes.plot(
                [point.num_images for point in drawn],
                [point.valid_mse for point in drawn],
                color=BLUE,
                ls="",
                marker="s",
                ms=6,
                mfc=BLUE if is_learned else "white",
                label=name,
            )
    axes.plot(
        numbers[-1],
        errors[-1],
        marker="o",
        ms=12,
        mfc="none",
        mec=DARK,
        mew=1.5,
        ls="",
        label="all images: the model that is kept",
    )
    for number, error in zip(numbers, errors, strict=True):
        axes.annotate(
            f"{error:.3f}",
            (number, error),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL,
            color=DARK,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, list(map(str, numbers)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(numbers[0] / 1.25, numbers[-1] * 1.25)
    axes.set_ylim(0, 1.15 * max(*errors, mean_error))  # small changes look small
    axes.grid(axis="y", color="#e5e5e5")
    axes.set_xlabel("training images", fontsize=SMALL + 0.5)
    axes.set_ylabel("validation MSE (z-scores)", fontsize=SMALL + 0.5)
    set_title(axes, f"{display_name(task)}: how many images seem enough")
    plain_frame(axes)
    figure.legend(loc="outside lower center", ncols=2, **LEGEND)
    return figure
