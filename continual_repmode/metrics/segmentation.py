"""Objects in a fluorescence volume, by one fixed way for targets and predictions.

Nuclei and nucleoli can be counted. Another package offers a segmenter of its own for a
structure by an entry point of the group ``continual_repmode.segmenters`` with the name
of that structure; it is then countable, too, and a built-in segmenter makes way for it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.offers import offers

VoxelSizeUm = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectKind:
    """How large the objects of a structure are."""

    #: Standard deviation of the Gaussian before thresholding, and of the one that
    #: smooths distances from the background.
    smooth_um: float
    #: Two maxima of the distance this close along each axis are one object.
    apart_um: float
    #: Smaller objects are left out.
    smallest_um3: float


NUCLEI = ObjectKind(smooth_um=0.5, apart_um=3.0, smallest_um3=20.0)
NUCLEOLI = ObjectKind(smooth_um=0.2, apart_um=0.8, smallest_um3=0.5)

_KINDS = {
    **dict.fromkeys(("dna", "nucleus", "nuclei", "dapi", "hoechst", "h2b"), NUCLEI),
    **dict.fromkeys(("nucleolus", "nucleoli", "fibrillarin"), NUCLEOLI),
}
"""Word in the name of a task -> its objects."""


def is_countable(task: str) -> bool:
    """Tell whether objects of a task can be counted.

    >>> is_countable("dna-round"), is_countable("nuclear_envelope")
    (True, False)
    """
    return structure_of(task) in offers("segmenters") or _kind(task) is not None


def structure_of(task: str) -> str:
    """Return the name of a task without the kind of cells, such as ``-round``."""
    return task.partition("-")[0]


def segment(
    image: NDArray[Any], task: str, voxel_size_um: VoxelSizeUm
) -> NDArray[np.intp]:
    """Return the objects of an image, by the segmenter of its task.

    The built-in one smooths, thresholds by Otsu's method, and splits what touches by a
    watershed from the maxima of the smoothed distance to the background.

    ``image``: (Z, Y, X).
    Returns: (Z, Y, X); 0 outside of objects, and 1, 2, ... in them.
    Raises UserError if the segmenter of another package cannot be used, or does not
        return labels of the shape of the image.
    """
    offer = offers("segmenters").get(structure_of(task))
    if offer is None:
        kind = _kind(task)
        assert kind is not None
        return _segmented(image, kind, voxel_size_um)
    labels = np.asarray(offer.load(Callable)(image, voxel_size_um))  # type: ignore[arg-type]
    if labels.shape != image.shape or labels.dtype.kind not in "iub":
        raise UserError(
            f"the segmenter {offer.name!r} of {offer.package} returned {labels.dtype} "
            f"of shape {labels.shape} for an image of shape {image.shape}; it has to "
            "return whole numbers of that shape: update or uninstall it"
        )
    return _numbered(labels)


def _kind(task: str) -> ObjectKind | None:
    words = re.split(r"[-_]", task.lower())
    return next((_KINDS[word] for word in words if word in _KINDS), None)


def _segmented(
    image: NDArray[Any], kind: ObjectKind, voxel_size_um: VoxelSizeUm
) -> NDArray[np.intp]:
    from scipy import ndimage
    from skimage.filters import threshold_otsu
    from skimage.segmentation import watershed

    voxel = np.asarray(voxel_size_um)
    sigma = kind.smooth_um / voxel
    smooth = ndimage.gaussian_filter(image.astype(np.float32), sigma)
    mask = smooth > threshold_otsu(smooth.ravel())
    distance = ndimage.distance_transform_edt(mask, sampling=voxel)
    distance = ndimage.gaussian_filter(distance, sigma)
    size = 2 * np.floor(kind.apart_um / voxel).astype(int) + 1
    tops = mask & (distance == ndimage.maximum_filter(distance, size.tolist()))
    markers, _ = ndimage.label(tops, np.ones((3, 3, 3)))
    labels = watershed(-distance, markers, mask=mask)
    counts = np.bincount(labels.ravel())
    small = counts * voxel.prod() < kind.smallest_um3
    return _numbered(np.where(small[labels], 0, labels))


def _numbered(labels: NDArray[Any]) -> NDArray[np.intp]:
    """Return labels without gaps; what is not above 0 is outside of objects."""
    inside = np.where(labels > 0, labels, 0)
    _, numbers = np.unique(inside.ravel(), return_inverse=True)
    without_outside = int(inside.all())  # no voxel is outside
    return np.asarray(numbers.reshape(labels.shape) + without_outside)
