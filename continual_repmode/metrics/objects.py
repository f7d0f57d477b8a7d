"""Whether the objects of a prediction are those of its target: counted, and matched."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.metrics.regression import Metric
from continual_repmode.metrics.segmentation import is_countable

Labels = NDArray[Any]
"""Shape (Z, Y, X): 0 outside, then 1, 2, ... without gaps per object."""


def count_error(predicted: Labels, true: Labels) -> float:
    """Return how far the number of objects is off, as a share of the true number."""
    count = int(true.max())
    return abs(int(predicted.max()) - count) / count if count else math.nan


def dice(predicted: Labels, true: Labels) -> float:
    """Return twice the shared volume of objects over the sum of volumes, 0 to 1."""
    one, other = predicted > 0, true > 0
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else math.nan


def average_precision(predicted: Labels, true: Labels) -> float:
    """Return found objects over found, missed and invented ones, 0 to 1.

    An object is found if more than half of its union with a predicted one is shared
    (IoU above 0.5), which can be so for one pair only: StarDist and Cellpose call that
    the average precision at 0.5.
    """
    num_predicted, num_true = int(predicted.max()), int(true.max())
    if not num_predicted + num_true:
        return math.nan
    width = num_predicted + 1
    shared = np.bincount(
        true.ravel() * width + predicted.ravel(), minlength=(num_true + 1) * width
    ).reshape(num_true + 1, width)
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    found = int((2 * shared > union)[1:, 1:].sum())
    return found / (num_predicted + num_true - found)


COUNT_ERROR = Metric(
    "count_error",
    "Count err.",
    higher_is_better=False,
    measure_pair=lambda pair: count_error(*pair.objects),
    applies_to=is_countable,
)
DICE = Metric(
    "dice",
    "Dice",
    higher_is_better=True,
    limits=(0.0, 1.0),
    measure_pair=lambda pair: dice(*pair.objects),
    applies_to=is_countable,
)
AVERAGE_PRECISION = Metric(
    "average_precision",
    "AP 0.5",
    higher_is_better=True,
    limits=(0.0, 1.0),
    measure_pair=lambda pair: average_precision(*pair.objects),
    applies_to=is_countable,
)
