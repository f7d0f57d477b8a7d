"""Metrics beside MSE, MAE, R2 and Pearson's r, chosen by name: ours and of others."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from continual_repmode.errors import UserError, nearest
from continual_repmode.extras import require
from continual_repmode.metrics.image_pair import ImagePair
from continual_repmode.metrics.regression import METRICS, Metric
from continual_repmode.offers import offers

PRESETS: Mapping[str, tuple[str, ...]] = {
    "field": (
        "ssim",
        "nrmse",
        "psnr",
        "spectral_r",
        "fsc_um",
        "foreground_mse",
        "foreground_r",
    ),
    "objects": ("count_error", "dice", "average_precision"),
    "lightmycells": ("lmc_mae", "lmc_ssim", "lmc_euclidean", "lmc_cosine"),
}
"""Name of a set -> its metrics."""

BYTES_PER_VOXEL = 200
"""About what measuring a volume takes at most, beyond the volumes themselves."""


def choose_metrics(names: str | Iterable[str], setting: str) -> tuple[Metric, ...]:
    """Return metrics by their names, each once; those that are always there left out.

    ``names``: metrics and sets of them (:data:`PRESETS`); in a string with commas
        between.
    ``setting``: what the user calls the choice, up to the value, for messages.
    Raises UserError if there is no such metric, or what it needs is not installed.
    """
    words = names.split(",") if isinstance(names, str) else list(names)
    words = [str(word).strip() for word in words if str(word).strip()]
    known = offers("metrics")
    chosen: dict[str, Metric] = {}
    for word in words:
        for name in PRESETS.get(word, (word,)):
            if name in METRICS:
                continue
            if name not in known:
                offered = [*PRESETS, *known]
                hint = nearest(word, offered, otherwise=", ".join(offered))
                raise UserError(f"{setting}{word}: there is no such metric; {hint}")
            if known[name].package is None:
                require(("cubic", "skimage"), "metrics", f"{setting}{word}:")
            chosen[name] = known[name].load(Metric)
    return tuple(chosen.values())


def metric_named(name: str) -> Metric | None:
    """Return a metric, or None if no installed package has it."""
    if name in METRICS:
        return METRICS[name]
    offer = offers("metrics").get(name)
    return None if offer is None else offer.load(Metric)


def shown_metrics(results: Mapping[str, Any]) -> dict[str, Metric]:
    """Return what a ``results.json`` has results of, perhaps measured elsewhere."""
    return {
        name: metric_named(name) or Metric(name, name, scores["higher_is_better"])
        for name, scores in results["metrics"].items()
    }


def measure_further(metrics: Sequence[Metric], pair: ImagePair) -> dict[str, float]:
    """Return the values of metrics, by name, that are defined for an image.

    Raises UserError if a metric of another package cannot measure the image.
    """
    found = {}
    for metric in metrics:
        value = metric.value_of(pair)
        if math.isfinite(value):
            found[metric.name] = value
    return found
