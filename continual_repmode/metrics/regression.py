"""Agreement of a prediction with its target, over one image, in one pass.

The paper reports MSE, MAE and R2 of z-scored images (Section 4, "Evaluation metrics"),
computed per image and then averaged.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from continual_repmode.metrics.image_pair import ImagePair

ArrayLike: TypeAlias = "NDArray[Any] | Tensor"


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is written, which way is up, and the scale of its colors.

    Attributes
    ----------
    name, label : str
    higher_is_better : bool
    limits : tuple of float or None
        Worst and best value that colors tell apart, so that they mean the same in all
        tables and figures; None where there is no best value: colors then span the
        values that there are.
    measure : callable or None
        Called with prediction and target of an image, float arrays (Z, Y, X), z-scored;
        returns a number.
    measure_pair : callable or None
        In place of it: called with an
        :class:`~continual_repmode.metrics.image_pair.ImagePair`, which also has the
        task and the voxel size.
    applies_to : callable or None
        Called with the name of a task: whether the metric means something for it; None:
        for all.
    """

    name: str
    label: str
    higher_is_better: bool
    limits: tuple[float, float] | None = None
    measure: Callable[[NDArray[Any], NDArray[Any]], float] | None = None
    measure_pair: Callable[["ImagePair"], float] | None = None
    applies_to: Callable[[str], bool] | None = None

    def value_of(self, pair: "ImagePair") -> float:
        """Return the value for an image; NaN if it is not defined for it."""
        if self.applies_to is not None and not self.applies_to(pair.task):
            return math.nan
        if self.measure_pair is not None:
            return float(self.measure_pair(pair))
        if self.measure is None:
            raise TypeError(f"metric {self.name!r} has nothing to measure with")
        return float(self.measure(pair.prediction, pair.target))

    def color_limits(self, values: Iterable[float]) -> tuple[float, float]:
        """Return the ends of the color scale for some values."""
        known = list(values)
        return self.limits or (min(known, default=0.0), max(known, default=1.0))


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("mse", "MSE", higher_is_better=False),
            Metric("mae", "MAE", higher_is_better=False),
            Metric("r2", "R²", higher_is_better=True, limits=(0.0, 1.0)),
            Metric("pearson_r", "Pearson r", higher_is_better=True, limits=(0.0, 1.0)),
        )
    }
)
"""The metrics, by the name of their field in :class:`ImageMetrics`."""


@dataclass(frozen=True, slots=True)
class ImageMetrics:
    """Metrics of one image.

    Attributes
    ----------
    mse, mae : float
        Mean squared and mean absolute error, in the (squared) unit of the target.
    r2 : float
        One minus the ratio of the squared error to the spread of the target about its
        own mean; NaN for a constant target.
    pearson_r : float
        Correlation, -1 to 1; NaN if the target or the prediction is constant.
    num_voxels : int
    """

    mse: float
    mae: float
    r2: float
    pearson_r: float
    num_voxels: int


@dataclass(slots=True)
class RegressionSums:
    """Running sums from which the metrics of one image follow.

    Volumes may be added whole or slab by slab, in any order, and sums of separate
    slabs may be merged. Everything is float64, and spreads are kept about the means
    (Chan, Golub and LeVeque 1983), so a large offset of the intensities does no harm.

    Examples
    --------
    >>> sums = RegressionSums()
    >>> sums.update(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
    >>> sums.update(np.array([3.0]), np.array([2.0]))
    >>> sums.result().mae
    0.6666666666666666
    """

    num_voxels: int = 0
    squared_error: float = 0.0
    absolute_error: float = 0.0
    prediction_mean: float = 0.0
    target_mean: float = 0.0
    prediction_spread: float = 0.0
    target_spread: float = 0.0
    shared_spread: float = 0.0

    @classmethod
    def of(cls, prediction: ArrayLike, target: ArrayLike) -> Self:
        """Return the sums of one volume or slab, arrays or tensors of equal shape.

        Voxels whose target is NaN were not recorded and are left out.
        """
        predicted, true = _float64(prediction), _float64(target)
        if predicted.shape != true.shape:
            raise UserError(
                f"prediction {predicted.shape} and target {true.shape} differ in shape"
            )
        unknown = np.isnan(true)
        if unknown.any():
            predicted, true = predicted[~unknown], true[~unknown]
        if true.size == 0:
            return cls()
        error = predicted - true
        prediction_mean, target_mean = _mean(predicted), _mean(true)
        prediction_deviation = (predicted - prediction_mean).ravel()
        target_deviation = (true - target_mean).ravel()
        return cls(
            num_voxels=true.size,
            squared_error=float(np.square(error).sum()),
            absolute_error=float(np.abs(error).sum()),
            prediction_mean=prediction_mean,
            target_mean=target_mean,
            prediction_spread=float(np.square(prediction_deviation).sum()),
            target_spread=float(np.square(target_deviation).sum()),
            shared_spread=float((prediction_deviation * target_deviation).sum()),
        )

    def update(self, prediction: ArrayLike, target: ArrayLike) -> None:
        """Add a volume or slab of any shape, the same for prediction and target."""
        self.merge(self.of(prediction, target))

    def merge(self, other: "RegressionSums") -> None:
        """Add the sums of other voxels of the same image."""
        num_voxels = self.num_voxels + other.num_voxels
        if other.num_voxels == 0:
            return
        share = other.num_voxels / num_voxels
        prediction_step = other.prediction_mean - self.prediction_mean
        target_step = other.target_mean - self.target_mean
        weight = self.num_voxels * share
        self.prediction_spread += other.prediction_spread + prediction_step**2 * weight
        self.target_spread += other.target_spread + target_step**2 * weight
        self.shared_spread += (
            other.shared_spread + prediction_step * target_step * weight
        )
        self.prediction_mean += prediction_step * share
        self.target_mean += target_step * share
        self.squared_error += other.squared_error
        self.absolute_error += other.absolute_error
        self.num_voxels = num_voxels

    def result(self) -> ImageMetrics:
        """Return the metrics of all voxels added so far.

        Raises
        ------
        UserError
            If there were none.
        """
        if self.num_voxels == 0:
            raise UserError("no voxels were added: metrics of an empty image")
        norm = math.sqrt(self.prediction_spread) * math.sqrt(self.target_spread)
        return ImageMetrics(
            mse=self.squared_error / self.num_voxels,
            mae=self.absolute_error / self.num_voxels,
            r2=1 - self.squared_error / self.target_spread
            if self.target_spread
            else math.nan,
            pearson_r=min(1.0, max(-1.0, self.shared_spread / norm))
            if norm
            else math.nan,
            num_voxels=self.num_voxels,
        )


def _float64(values: ArrayLike) -> NDArray[np.float64]:
    """Return an array or tensor as float64, without importing PyTorch for it."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return np.asarray(values.detach().cpu().double().numpy())
    return np.asarray(values, dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean, exact for a constant array whatever its value."""
    first = values.flat[0]
    return float(first + (values - first).mean())
