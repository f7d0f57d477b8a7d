"""What a caller may choose about predicting files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from continual_repmode.inference.windows import Overlap, Size3
from continual_repmode.trained_model import Precision
from continual_repmode.volumes.preparation import VoxelSizeUm

Unit = Literal["zscore", "target"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictOptions:
    """Choices for all images of a call alike.

    Attributes
    ----------
    tasks : str or sequence of str
        Structures to predict, in the order of the channels: names, names with commas
        between them, or ``"all"``.
    channel : int, str or None
        Index or name of the transmitted light; None to find it by its name.
    choices : mapping of str to str
        Scene, time point and so on, of files that hold several; see
        :func:`continual_repmode.volumes.opening.open_volume`.
    target : int, str, Path or None
        Fluorescence to compare the one task with: a channel of the image, or a file.
    voxel_size_um : tuple of float or None
        Voxel size (z, y, x) of images that do not tell theirs.
    model_voxel_size_um : tuple of float or None
        Voxel size (z, y, x) of the model grid, for models that do not tell it.
    intensity : {"zscore", "target"}
        Write z-scores, or intensities: ``target`` undoes the z-score with the mean
        statistics of the training targets.
    window : (int, int, int) or None
        Prediction window (z, y, x) in voxels of the model grid; by default the one
        that the model was tested with.
    overlap : float, sequence of float or None
        Share of a window that the next one covers again; by default the one that the
        model was tested with (:attr:`TrainedModel.overlap`).
    batch_size : int or None
        Windows that the network sees at once, at most; by default one on a CPU and
        eight elsewhere.
    memory : int or None
        Bytes that the process may take in all; by default half of the machine's.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    precision : {"float32", "bfloat16"}
        Of the network's convolutions.
    overwrite : bool
        Replace outputs that were made otherwise.
    progress : bool
        Show progress bars, if stderr is a terminal.
    """

    tasks: str | tuple[str, ...] = "all"
    channel: int | str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    target: int | str | Path | None = None
    voxel_size_um: VoxelSizeUm | None = None
    model_voxel_size_um: VoxelSizeUm | None = None
    intensity: Unit = "zscore"
    window: Size3 | None = None
    overlap: Overlap | None = None
    batch_size: int | None = None
    memory: int | None = None
    device: str = "auto"
    precision: Precision = "float32"
    overwrite: bool = False
    progress: bool = False
