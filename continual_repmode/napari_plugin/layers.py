"""From an image layer's values to layers of predicted structures.

Takes arrays, scales and names of units, not layers, and returns what napari calls layer
data: ``(data, metadata, "image")``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.prediction.arrays import predict_array
from continual_repmode.prediction.options import Unit
from continual_repmode.tasks import display_name
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.formats.units import unit_um
from continual_repmode.volumes.preparation import (
    VOXEL_RANGE_UM,
    VoxelSizeUm,
    is_voxel_length,
)

LayerData = tuple[NDArray[np.float32], dict[str, Any], str]

PLACEMENT = ("scale", "units", "translate", "rotate", "shear", "affine")
"""Where a layer lies; a prediction lies where its light does."""

_COLORMAPS = (
    *("green", "magenta", "cyan", "yellow", "blue", "red"),
    *("bop orange", "bop purple", "bop blue"),
)
"""Of napari; a task has the one of its label, so the same in every prediction."""

_SHOWN_PERCENTILES = (75.0, 99.9)
"""Of the values shown as black and as brightest: black lets the light through."""
_OPACITY = 0.6
"""Several structures on bright light would be white otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Which structures to predict from which image.

    Attributes
    ----------
    image : array, shape (Z, Y, X)
        Transmitted light, in intensities of any type; a dask array will do.
    image_name : str
        For the names of the results and for messages.
    placement : mapping
        ``PLACEMENT`` -> what the image's layer has there.
    voxel_size_um : tuple of float or None
        Voxel size (z, y, x) of the image in micrometres; None if nobody knows.
    model : str or Path
        A model file.
    tasks : sequence of str
        Structures, by name.
    intensity : {"zscore", "target"}
        See :class:`continual_repmode.prediction.options.PredictOptions`.

    Raises
    ------
    UserError
        If something is missing or the image is no single volume, with what to do.
    """

    image: Any
    image_name: str
    placement: Mapping[str, Any]
    voxel_size_um: VoxelSizeUm | None
    model: str | Path
    tasks: Sequence[str]
    intensity: Unit = "zscore"

    def __post_init__(self) -> None:
        """Refuse what cannot be predicted before any work starts."""
        _check_shape(self.image_name, self.image.shape)
        if self.voxel_size_um is None:
            raise UserError(
                "voxel size: enter z, y, x in micrometres, for example 0.29, 0.108, "
                f"0.108; the layer {self.image_name!r} has none in its metadata"
            )
        if not self.tasks:
            raise UserError("structures: choose one or more")


def task_names(model: str | Path) -> tuple[str, ...]:
    """Return the structures that a model file knows, without reading its tensors.

    Raises UserError if the file is missing, broken, or does not hold a network.
    """
    return TrainedModel.outline(model).net.task_names


def layer_voxel_size(
    scale: Sequence[float], units: Sequence[object] | None
) -> VoxelSizeUm | None:
    """Return the voxel size that a layer tells.

    ``scale``: of the layer's axes.
    ``units``: of its axes, as texts or as what prints as one (``micrometer``,
        ``pixel``).
    Returns: (z, y, x) in micrometres. None if the layer has none: it has not three
        axes, a scale is none, or an axis has no unit of length while all scales are 1,
        which is what napari gives a layer that nobody has said anything about. Other
        scales without a unit are taken as micrometres, as most readers mean them.
    """
    if len(scale) != 3:
        return None
    factors = [unit_um(str(unit)) for unit in units or ("pixel",) * 3]
    if None in factors:
        if any(factors) or all(side == 1 for side in scale):
            return None
        factors = [1.0] * 3
    z, y, x = (
        float(side) * (um or 0.0) for side, um in zip(scale, factors, strict=True)
    )
    return (z, y, x) if all(map(is_voxel_length, (z, y, x))) else None


def format_voxel_size(voxel_size_um: VoxelSizeUm | None) -> str:
    """Return a voxel size as text to be read and changed; "" for None.

    >>> format_voxel_size((0.29, 0.108, 0.108))
    '0.29, 0.108, 0.108'
    """
    return ", ".join(f"{side:.6g}" for side in voxel_size_um or ())


def parse_voxel_size(text: str) -> VoxelSizeUm | None:
    """Read a voxel size in micrometres: three numbers, or "" for unknown.

    >>> parse_voxel_size("0.29 0.108 0.108")
    (0.29, 0.108, 0.108)

    Raises UserError if the text is anything else.
    """
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    if not words:
        return None
    try:
        z, y, x = (float(word) for word in words)
    except ValueError:
        raise UserError(
            f"voxel size {text!r}: enter three numbers, z, y, x in micrometres, for "
            "example 0.29, 0.108, 0.108"
        ) from None
    if not all(map(is_voxel_length, (z, y, x))):
        shortest, longest = VOXEL_RANGE_UM
        raise UserError(
            f"voxel size {text!r}: use micrometres, from {shortest:g} to {longest:g}"
        )
    return z, y, x


def predict_layers(request: Request) -> Iterator[LayerData]:
    """Predict one structure after the other.

    Parameters
    ----------
    request : Request

    Yields
    ------
    (data, metadata, "image")
        A layer per structure as soon as it is there: float32 (Z, Y, X) on the grid of
        the image and where the image lies, to be shown on top of it.

    Raises
    ------
    UserError
        If the model cannot be read, does not know a structure or what the intensity
        needs, or the image is constant or not finite.
    """
    model = TrainedModel.load(request.model)
    tasks = model.choose_tasks(request.tasks)
    image = np.asarray(request.image)
    assert request.voxel_size_um is not None  # a request without it is refused
    for task in tasks:
        predicted = predict_array(
            model,
            image,
            request.voxel_size_um,
            (task,),
            intensity=request.intensity,
        )
        yield predicted[task], _metadata(request, model, task, predicted[task]), "image"


def _metadata(
    request: Request, model: TrainedModel, task: str, predicted: NDArray[np.float32]
) -> dict[str, Any]:
    """Return how a prediction is shown, and what made it."""
    low, high = map(float, np.percentile(predicted, _SHOWN_PERCENTILES))
    return {
        **request.placement,
        "name": f"{display_name(task)} ({request.image_name})",
        "colormap": _COLORMAPS[model.net.task_label(task) % len(_COLORMAPS)],
        "blending": "additive",
        "opacity": _OPACITY,
        "contrast_limits": (low, high if high > low else low + 1),
        "metadata": {
            "continual_repmode": {
                "model": model.name,
                "model_sha256": model.sha256,
                "task": task,
                "intensity": request.intensity,
                "voxel_size_um": request.voxel_size_um,
            }
        },
    }


def _check_shape(name: str, shape: Sequence[int]) -> None:
    if len(shape) == 3:
        return
    remedy = (
        "open the whole stack of planes as one layer"
        if len(shape) < 3
        else "right-click the layer, 'Split Stack', and take the one channel and time "
        "point with the transmitted light"
    )
    raise UserError(
        f"layer {name!r}: has {len(shape)} axes, {' x '.join(map(str, shape))}, but a "
        f"volume has three, z, y, x: {remedy}"
    )
