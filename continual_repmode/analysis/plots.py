"""The figures of a run; each function returns a matplotlib ``Figure``.

Nothing here touches pyplot, so figures can be made anywhere and shown by a notebook or
saved by :func:`save_figures`.
"""

from pathlib import Path

from continual_repmode.analysis._figure import save_figure
from continual_repmode.analysis._gating_figures import plot_gating, plot_gating_overview
from continual_repmode.analysis._preference_figures import (
    plot_extent_profile,
    plot_gate_distances,
    plot_scale_preference,
)
from continual_repmode.analysis._result_figures import (
    plot_forgetting,
    plot_learning_curves,
    plot_result_matrix,
)
from continual_repmode.analysis._sample_figures import plot_predictions, plot_samples
from continual_repmode.analysis.gating import read_gating_weights
from continual_repmode.results import RunFolder

__all__ = [
    "plot_extent_profile",
    "plot_forgetting",
    "plot_gate_distances",
    "plot_gating",
    "plot_gating_overview",
    "plot_learning_curves",
    "plot_predictions",
    "plot_result_matrix",
    "plot_samples",
    "plot_scale_preference",
    "save_figure",
    "save_figures",
]


def save_figures(folder: RunFolder, *formats: str) -> list[Path]:
    """Write all figures of a run as PNG files into its folder ``figures``.

    ``folder``: with results, records and samples; figures of gating weights are left
        out where the network has none.
    Returns: the files.
    Raises UserError if one of these is missing or damaged.
    """
    results = folder.read_results()
    z, y, x = results["voxel_size_um"] or (1, 1, 1)
    figures = {
        "learning_curves": plot_learning_curves(folder.records()),
        "samples": plot_samples(folder, (z, y, x)),
    }
    if folder.gating_weights.exists():
        rows = read_gating_weights(folder)
        figures |= {
            "gating": plot_gating(rows),
            "gating_overview": plot_gating_overview(rows),
            "scale_preference": plot_scale_preference(rows),
            "extent_profile": plot_extent_profile(rows),
        }
    for metric in results["metrics"]:
        figures[f"result_matrix_{metric}"] = plot_result_matrix(results, metric)
    if len(results["experiences"]) > 1:
        name = results["strategy"]
        figures["forgetting"] = plot_forgetting({name: results}, "r2")
    return [
        save_figure(figure, folder.figures / f"{name}.png", *formats)
        for name, figure in figures.items()
    ]
