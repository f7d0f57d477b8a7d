"""The metrics that a run measures: ours, and those of other packages."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from numpy.typing import NDArray

from continual_repmode.metrics.regression import METRICS, Metric
from continual_repmode.offers import offers


@cache
def known_metrics() -> Mapping[str, Metric]:
    """Return the metrics of an image by name; ours come first.

    Raises
    ------
    UserError
        If a package of others offers one that cannot be used.
    """
    further: dict[str, Metric] = {
        name: offer.load(Metric) for name, offer in offers("metrics").items()
    }
    return {**METRICS, **{n: m for n, m in further.items() if n not in METRICS}}


def measure_further(prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
    """Return the metrics of other packages, of an image (Z, Y, X), by name."""
    return {
        name: float(metric.measure(prediction, target))
        for name, metric in known_metrics().items()
        if metric.measure is not None
    }
