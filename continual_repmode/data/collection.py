"""What a data source offers to the rest: pairs of volumes per task and split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from continual_repmode.volumes.normalization import Intensity

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """Both channels of a pair, ready for the network."""

    #: (Z, Y, X). Transmitted light and fluorescence, z-scored per image, on the model
    #: grid; possibly read-only maps of files. Compute with them in float32. NaN where
    #: nothing was recorded; the target is, wherever the light is.
    signal: NDArray[np.floating]
    target: NDArray[np.floating]
    #: What the z-scores were before, in raw camera counts.
    signal_intensity: Intensity
    target_intensity: Intensity
    #: Share of the raw voxels, 0 to 1, where nothing was recorded.
    hidden: float = 0.0


class Pair(Protocol):
    """One transmitted-light volume with the fluorescence of one structure."""

    @property
    def name(self) -> str:
        """Unique within the collection, fit for a table and a file name."""
        ...

    @property
    def task(self) -> str:
        """Name of the structure in the target."""
        ...

    def load(self) -> LoadedPair:
        """Return both volumes, z-scored and on the model grid."""
        ...


class Collection(Protocol):
    """Every pair of a data source, by task and split."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the structures for which there are pairs."""
        ...

    @property
    def voxel_size_um(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) of the model grid in micrometres."""
        ...

    def pairs(self, task: str, split: Split) -> Sequence[Pair]:
        """Return the pairs of one task and split, in a stable order."""
        ...
