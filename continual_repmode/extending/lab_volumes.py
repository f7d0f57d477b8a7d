"""A lab's own pairs of one structure: found, checked and prepared."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from continual_repmode import distributed
from continual_repmode.data.splits import MIN_SOURCES
from continual_repmode.errors import Faults, UserError
from continual_repmode.extending.settings import (
    DEFAULT_PATCH,
    DEFAULT_VOXEL_SIZE_UM,
    ExtensionSettings,
)
from continual_repmode.manifests.check import check_manifest, sound_collection
from continual_repmode.manifests.manifest import ManifestCollection
from continual_repmode.manifests.rows import ManifestRow, read_rows
from continual_repmode.models.spatial import Size3
from continual_repmode.paths import source_of, user_path
from continual_repmode.tasks import meant_task
from continual_repmode.trained_model import TrainedModel
from continual_repmode.workers import Workers

_PAD_SMALL = "pad it with --pad-small (in Python: pad_small=True)"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabVolumes:
    """Sound pairs of one task, prepared on the model grid."""

    collection: ManifestCollection
    #: Training patch (Z, Y, X) that fits into every training image.
    patch_size: Size3
    #: How the volumes came onto the model grid: as those of the earlier tasks did.
    resize: str
    order: str


def open_lab_volumes(
    manifest: Path, task: str, base: TrainedModel, settings: ExtensionSettings
) -> LabVolumes:
    """Check the rows of one task, as a run does, and prepare their volumes.

    Warnings and notes are logged, also of images that are unlike all that the model was
    trained on.

    Raises UserError if the manifest cannot be read, has no such task or too few images
        of it, if anything is wrong with its volumes, or if the patch does not fit.
    """
    _check_rows(manifest, task, settings)
    resize, order = base.resize, base.order
    chosen: dict[str, Any] = {
        "tasks": (task,),
        "workers": Workers(settings.workers),
        "root": settings.root,
        "voxel_size_um": base.card.voxel_size_um or DEFAULT_VOXEL_SIZE_UM,
        "source_voxel_size_um": settings.source_voxel_size_um,
        "seed": settings.seed,
        "resize": resize,
        "order": order,
        "cache_dir": settings.cache_dir,
        "refuse_missing_chunks": settings.refuse_missing_chunks,
    }
    divisor = base.net.divisor
    headers = check_manifest(manifest, patch_size=divisor, voxels="none", **chosen)
    shapes = [pair.grid_shape for pair in headers.pairs if pair.split == "train"]
    patch_size = choose_patch(
        settings.patch_size,
        base.card.window or DEFAULT_PATCH,
        shapes,
        divisor,
        pad_small=settings.pad_small,
    )
    if task in headers.collection.projections and settings.patch_size is None:
        deepest = max((z for z, _, _ in shapes), default=patch_size[0])
        part = divisor[0]  # a patch must hold every plane
        if settings.pad_small or deepest % part == 0:
            patch_size = (-(-deepest // part) * part, *patch_size[1:])
    check = sound_collection(
        manifest,
        patch_size=patch_size,
        pad_small=settings.pad_small,
        yes=settings.yes,
        unlike=base.unlike_all,
        **chosen,
    )
    for finding in check.findings if distributed.is_first() else ():
        _log.warning("%s: %s", finding.severity, finding.line())
    return LabVolumes(check.collection, patch_size, resize, order)


def choose_patch(
    asked: Size3 | None,
    window: Size3,
    shapes: list[Size3],
    divisor: Size3,
    *,
    pad_small: bool = False,
) -> Size3:
    """Return the training patch (Z, Y, X) in voxels.

    ``window``: what is good if the images are large enough.
    ``shapes``: of the training images on the model grid.
    ``divisor``: what its sides must be multiples of.
    Returns: ``asked``, or ``window`` with its sides cut to the largest multiples that
        fit all images, though not below one.
    Raises UserError if ``asked`` is no multiple, or it or the least multiple is larger
        than an image that is not padded.
    """
    smallest = [min(sides) for sides in zip(*shapes, strict=True)] or list(window)
    for axis, room, part in zip("ZYX", smallest, divisor, strict=True):
        if part > room and not pad_small:
            raise UserError(
                f"the smallest training image has {room} voxels along {axis} on the "
                f"model grid, fewer than the {part} that this network needs; "
                f"{_PAD_SMALL}, or leave it out"
            )
    if asked is None:
        z, y, x = (
            max(min(side, room) // part, 1) * part
            for side, room, part in zip(window, smallest, divisor, strict=True)
        )
        return z, y, x
    for axis, side, room, part in zip("ZYX", asked, smallest, divisor, strict=True):
        if side % part:
            raise UserError(
                f"patch size {_times(asked)}: the {axis} side {side} is not a multiple "
                f"of {part}, as this network needs it; choose one"
            )
        if side > room and not pad_small:
            raise UserError(
                f"patch size {_times(asked)}: the {axis} side {side} is larger than "
                f"that of the smallest training image, {room} voxels on the model "
                f"grid; choose {room // part * part} or less, or {_PAD_SMALL}"
            )
    return asked


def task_in(manifest: Path, task: str, settings: ExtensionSettings) -> str:
    """Return a task as the manifest writes it; looks at no files."""
    try:
        listed = [row.task for row in _rows(manifest, settings)]
    except UserError:  # told when the volumes are opened
        return task
    return meant_task(task, listed)


def _rows(manifest: Path, settings: ExtensionSettings) -> list[ManifestRow]:
    root = None if settings.root is None else user_path(settings.root)
    return read_rows(manifest, root, tasks=(), faults=Faults())


def _check_rows(manifest: Path, task: str, settings: ExtensionSettings) -> None:
    """Say what a manifest lacks of one task; looks at no files."""
    rows = _rows(manifest, settings)
    images = {source_of(row.signal_path) for row in rows if row.task == task}
    if not images:
        present = ", ".join(dict.fromkeys(row.task for row in rows)) or "no usable row"
        raise UserError(
            f"{manifest}: has no row of task {task!r}; it has {present}: add rows with "
            "this task, or choose another"
        )
    if len(images) < MIN_SOURCES and any(row.split is None for row in rows):
        raise UserError(
            f"{manifest}: {len(images)} image(s) of {task} cannot be divided into "
            f"training, validation and test images: add images until there are "
            f"{MIN_SOURCES}, or cut them into parts that do not overlap, one row each "
            "(columns z0, z1, y0, y1, x0, x1), and say train, valid or test in the "
            "column split"
        )


def _times(shape: Size3) -> str:
    return " x ".join(map(str, shape))
