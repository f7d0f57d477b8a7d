"""The metrics of the Light My Cells challenge (ISBI 2024), for volumes.

Prediction and target are each scaled so that their percentiles 2 and 99.8 become 0 and
1. Nuclei and mitochondria have all metrics, actin and tubulin SSIM and Pearson's r
(which scaling does not change: the column ``pearson_r`` has it). The challenge has
planes; here SSIM is that of volumes.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.metrics.image_pair import ImagePair
from continual_repmode.metrics.regression import Metric
from continual_repmode.metrics.similarity import ssim

_FULL = {"dna", "nucleus", "nuclei", "dapi", "hoechst", "mitochondria", "tom20"}
_PART = {"actin", "microtubule", "microtubules", "tubulin"}


def has_all(task: str) -> bool:
    """Tell whether a task is nuclei or mitochondria, by the words of its name."""
    return not _FULL.isdisjoint(_words(task))


def has_some(task: str) -> bool:
    """Tell whether a task is one of the four structures of the challenge.

    >>> has_some("actin_filament"), has_some("golgi_apparatus")
    (True, False)
    """
    return has_all(task) or not _PART.isdisjoint(_words(task))


def scaled(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return an image with its percentiles 2 and 99.8 at 0 and 1; as is if equal."""
    low, high = np.percentile(image, (2, 99.8))
    values = image.astype(np.float64)
    return (values - low) / (high - low) if high > low else values


def _words(task: str) -> set[str]:
    return set(re.split(r"[-_]", task.lower()))


def _both(pair: ImagePair) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return scaled(pair.prediction), scaled(pair.target)


def _mae(pair: ImagePair) -> float:
    prediction, target = _both(pair)
    return float(np.abs(prediction - target).mean())


def _ssim(pair: ImagePair) -> float:
    both = _both(pair)
    return ssim(*both, data_range=float(max(map(np.ptp, both))))


def _euclidean(pair: ImagePair) -> float:
    prediction, target = _both(pair)
    return float(np.linalg.norm(prediction - target))


def _cosine(pair: ImagePair) -> float:
    prediction, target = _both(pair)
    norm = np.linalg.norm(prediction) * np.linalg.norm(target)
    return float(1 - np.vdot(prediction, target) / norm) if norm else math.nan


MAE = Metric(
    "lmc_mae",
    "LMC MAE",
    higher_is_better=False,
    measure_pair=_mae,
    applies_to=has_all,
)
SSIM = Metric(
    "lmc_ssim",
    "LMC SSIM",
    higher_is_better=True,
    limits=(0.0, 1.0),
    measure_pair=_ssim,
    applies_to=has_some,
)
EUCLIDEAN = Metric(
    "lmc_euclidean",
    "LMC Eucl.",
    higher_is_better=False,
    measure_pair=_euclidean,
    applies_to=has_all,
)
COSINE = Metric(
    "lmc_cosine",
    "LMC cosine",
    higher_is_better=False,
    measure_pair=_cosine,
    applies_to=has_all,
)
