"""One predicted volume beside its target, with what several metrics need of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.metrics.segmentation import segment


@dataclass(frozen=True)
class ImagePair:
    """A prediction and its target; both are 0 where the target is NaN, not recorded."""

    #: (Z, Y, X). z-scored, on the model grid.
    prediction: NDArray[Any]
    target: NDArray[Any]
    task: str
    #: Edges (z, y, x) of a voxel, in micrometers.
    voxel_size_um: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Leave out what was not recorded."""
        unknown = np.isnan(self.target)
        if unknown.any():
            for name in ("prediction", "target"):
                known = np.where(unknown, 0, getattr(self, name))
                object.__setattr__(self, name, known)

    @cached_property
    def data_range(self) -> float:
        """Percentile 99.9 of the target less its percentile 0.1."""
        low, high = np.percentile(self.target, (0.1, 99.9))
        return float(high - low)

    @cached_property
    def foreground(self) -> NDArray[np.bool_]:
        """Where the target is above its threshold by Otsu's method."""
        from skimage.filters import threshold_otsu

        return np.asarray(self.target > threshold_otsu(self.target.ravel()))

    @cached_property
    def objects(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The segmented prediction and target: 0 outside, then 1, 2, ... per object."""
        prediction, target = (
            segment(image, self.task, self.voxel_size_um)
            for image in (self.prediction, self.target)
        )
        return prediction, target
