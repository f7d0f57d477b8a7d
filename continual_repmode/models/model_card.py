"""What a model file says about the network in it, besides its structure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from continual_repmode.errors import UserError

NORMALIZATION = "z-score of each channel of each image"
"""How images are normalized before the network sees them (paper, Section 4)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCard:
    """What is known about one task of a network; None where it is not.

    Attributes
    ----------
    target_mean, target_std : float or None
        Means of the raw targets' mean and standard deviation over the training images,
        in camera counts: ``prediction * target_std + target_mean`` undoes the z-score
        on average.
    num_images : dict of str to int or None
        Split (train, valid, test) -> images the task was learned from and tested on.
    data_sha256 : str or None
        Over the prepared training pairs, as
        :func:`continual_repmode.training.data_hash.hash_of_pairs` takes it.
    metrics : dict of str to float or None
        Metric -> mean over the test images when the file was written.
    """

    target_mean: float | None = None
    target_std: float | None = None
    num_images: dict[str, int] | None = None
    data_sha256: str | None = None
    metrics: dict[str, float | None] | None = None


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

    Raises
    ------
    UserError
        If an entry is missing or unknown.
    """
    entries = dict(content)
    try:
        tasks = {n: TaskCard(**task) for n, task in entries.pop("tasks").items()}
        for key in ("voxel_size_um", "window", "overlap"):
            if entries.get(key) is not None:  # no overlap before version 4
                z, y, x = entries[key]
                entries[key] = (z, y, x)
        return ModelCard(tasks=tasks, **entries)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"metadata: missing or unknown entry ({error})") from None


def card_of_version_1(metadata: Any) -> ModelCard:
    """Return the card of a file of format version 1, whose metadata were any JSON.

    Runs wrote ``normalization``, ``voxel_size_um``, ``versions`` and, per task,
    ``target_intensity``; whatever else there is, or is not as they wrote it, goes into
    ``run``.
    """
    rest = dict(metadata) if isinstance(metadata, Mapping) else {}
    readers = {
        "normalization": _text,
        "voxel_size_um": _three_numbers,
        "versions": _texts,
        "target_intensity": _task_cards,
    }
    read = {key: readers[key](rest[key]) for key in readers.keys() & rest.keys()}
    known: dict[str, Any] = {k: v for k, v in read.items() if v is not None}
    run = {key: value for key, value in rest.items() if key not in known}
    return ModelCard(tasks=known.pop("target_intensity", {}), run=run, **known)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return value if all(isinstance(v, str) for v in value.values()) else None


def _three_numbers(value: Any) -> tuple[float, float, float] | None:
    match value:
        case [float() | int() as z, float() | int() as y, float() | int() as x]:
            return float(z), float(y), float(x)
    return None


def _task_cards(value: Any) -> dict[str, TaskCard] | None:
    if not isinstance(value, dict):
        return None
    cards: dict[str, TaskCard] = {}
    for task, intensity in value.items():
        match intensity:
            case {"mean": float() | int() as mean, "std": float() | int() as std}:
                cards[task] = TaskCard(target_mean=float(mean), target_std=float(std))
            case _:
                return None
    return cards
