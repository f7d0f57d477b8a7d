"""What a model file says about the network in it, besides its structure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypedDict

import msgspec

from continual_repmode.errors import UserError

NORMALIZATION = "z-score of each channel of each image"
"""How images are normalized before the network sees them (paper, Section 4)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCard:
    """What is known about one task of a network; None where it is not."""

    #: Means of the raw targets' mean and standard deviation over the training images,
    #: in camera counts: ``prediction * target_std + target_mean`` undoes the z-score on
    #: average.
    target_mean: float | None = None
    target_std: float | None = None
    #: Split (train, valid, test) -> images the task was learned from and tested on.
    num_images: dict[str, int] | None = None
    #: Over the prepared training pairs, as
    #: :func:`continual_repmode.training.data_hash.hash_of_pairs` takes it.
    data_sha256: str | None = None
    #: Metric -> mean over the test images when the file was written.
    metrics: dict[str, float | None] | None = None
    #: How predicted stacks are projected to the one plane that targets are; None for
    #: targets that are stacks.
    target_kind: Literal["max", "focus"] | None = None
    #: What the training signals look like, as
    #: :func:`continual_repmode.data.signals.signal_statistics` measures it.
    signals: dict[str, list[float | None]] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What is known about a network; None or empty where it is not.

    Attributes
    ----------
    normalization : str
    voxel_size_um : tuple of float or None
        Voxel size (z, y, x) of the model grid in micrometres.
    resize, order : str or None
        How volumes come onto that grid; see
        :class:`continual_repmode.volumes.preparation.Preparation`.
    window : tuple of int or None
        Prediction window (Z, Y, X) that the network was tested with, in voxels.
    overlap : tuple of float or None
        Share of a window that it had in common with the next, along (Z, Y, X).
    tasks : dict of str to TaskCard
        By name; tasks that nothing is known about may be absent.
    versions : dict of str to str
        Package -> version that wrote the file.
    run : dict of JSON values
        Of the run that trained it: among others ``scenario``, ``strategy``, ``seed``,
        ``experience`` and, where it started from one, ``base_model``.
    """

    normalization: str = NORMALIZATION
    voxel_size_um: tuple[float, float, float] | None = None
    resize: str | None = None
    order: str | None = None
    window: tuple[int, int, int] | None = None
    overlap: tuple[float, float, float] | None = None
    tasks: dict[str, TaskCard] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)

    def task(self, name: str) -> TaskCard:
        """Return what is known about a task, possibly nothing."""
        return self.tasks.get(name, TaskCard())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def card_from_json(content: Mapping[str, Any]) -> ModelCard:
    """Rebuild a card from what :meth:`ModelCard.to_json` gave.

    Raises UserError if an entry is missing or unknown.
    """
    try:
        unknown = content.keys() - {entry.name for entry in fields(ModelCard)}
        if unknown:
            raise ValueError(f"unknown is {min(unknown)!r}")
        return msgspec.convert(content, ModelCard)
    except (AttributeError, ValueError) as error:
        raise UserError(f"metadata: missing or unknown entry ({error})") from None


def card_of_version_1(metadata: Any) -> ModelCard:
    """Return the card of a file of format version 1, whose metadata were any JSON.

    Runs wrote ``normalization``, ``voxel_size_um``, ``versions`` and, per task,
    ``target_intensity``; whatever else there is, or is not as they wrote it, goes into
    ``run``.
    """
    rest = dict(metadata) if isinstance(metadata, Mapping) else {}
    read = {k: _read(rest[k], kind) for k, kind in _VERSION_1.items() if k in rest}
    known: dict[str, Any] = {k: v for k, v in read.items() if v is not None}
    run = {key: value for key, value in rest.items() if key not in known}
    tasks = {
        task: TaskCard(target_mean=found["mean"], target_std=found["std"])
        for task, found in known.pop("target_intensity", {}).items()
    }
    return ModelCard(tasks=tasks, run=run, **known)


class _Intensity(TypedDict):
    mean: float
    std: float


_VERSION_1: dict[str, Any] = {
    "normalization": str,
    "voxel_size_um": tuple[float, float, float],
    "versions": dict[str, str],
    "target_intensity": dict[str, _Intensity],
}


def _read(value: Any, kind: Any) -> Any:
    """Return a value of a type, None if it is of another."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
