"""What is refused before anything is predicted."""

import math
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from continual_repmode.errors import UserError
from continual_repmode.files import check_free
from continual_repmode.inference.windows import WindowGrid
from continual_repmode.paths import source_of
from continual_repmode.prediction.attributes import read_attributes
from continual_repmode.prediction.images import (
    Image,
)
from continual_repmode.prediction.job import Job
from continual_repmode.prediction.provenance import differences
from continual_repmode.volumes.plausibility import doubts, noise
from continual_repmode.volumes.stream_resizing import scratch_bytes

MOST_WINDOWS = 20_000
"""More take hours on a GPU and days without."""


def check_distinct(outputs: Sequence[tuple[Image, Path]]) -> None:
    """Raise if an output would replace another one, or an image that is read."""
    read = {
        source_of(channel.volume.path)
        for image, _ in outputs
        for channel in (image.signal, *image.targets.values())
    }
    taken: dict[str, Image] = {}
    folds = any(_ignores_case(output.parent) for _, output in outputs[:1])
    for image, output in outputs:
        if source_of(output) in read:
            raise UserError(
                f"{output}: would be replaced by a prediction, but is read for one; "
                "choose another output (--out)"
            )
        name = unicodedata.normalize("NFC", str(output)) if folds else str(output)
        other = taken.setdefault(name.casefold() if folds else name, image)
        if other is not image:
            raise UserError(
                f"{image.signal.volume.path} and {other.signal.volume.path} would both "
                f"be written to {output}; predict one of them into another folder"
            )


def _ignores_case(folder: Path) -> bool:
    """Return whether a folder, or the nearest one that exists, ignores case."""
    for place in (folder.absolute(), *folder.absolute().parents):
        if place.exists() and place.name.swapcase() != place.name:
            other = place.with_name(place.name.swapcase())
            return other.exists() and other.samefile(place)
    return os.name == "nt"


def refuse_other(job: Job) -> None:
    """Raise if the output, or work begun for it, has different settings."""
    remedy = (
        "--overwrite (in Python: overwrite=True) makes it again, or choose another "
        "output (--out)"
    )
    if job.output.exists():
        provenance = read_attributes(job.output).get("recipe")
        if not isinstance(provenance, dict):
            raise UserError(
                f"{job.output}: exists and is not a prediction of this program; choose "
                "another output (--out)"
            )
        other = differences(provenance, job.provenance)
        if not other:
            raise UserError(
                f"{job.output}: exists, but its metrics are not in the table beside "
                f"it; {remedy}"
            )
        raise UserError(
            f"{job.output}: exists with different settings ({other}); {remedy}"
        )
    begun = job.work.provenance
    if begun is not None and begun != job.recipe:
        raise UserError(
            f"{job.output}: was begun with other settings "
            f"({differences(begun, job.recipe)}); {remedy}"
        )


def check_plausible(job: Job) -> None:
    """Ask back what may be a mistake."""
    signal, setup = job.image.signal, job.setup
    if setup.options.yes:
        return
    grid_um = setup.preparation.voxel_size_um
    flat = setup.model.net.axes == "YX"
    found = list(doubts(signal, "light", job.image.signal_um, grid_um, flat))
    windows = WindowGrid.over(job.grid_shape, setup.window, setup.overlap)
    if windows.num_windows > MOST_WINDOWS:
        found.append(f"it takes {windows.num_windows:,} windows for each structure")
    found += noise(signal)
    if found:
        raise UserError(
            f"{signal.volume.path}: {', and '.join(found)}; mend it or, if it is "
            "right, continue with --yes (in Python: yes=True)"
        )


def check_targets(job: Job) -> None:
    """Raise if stacks would be compared with single planes, or the reverse."""
    kind = job.setup.projection
    for task, target in job.image.targets.items():
        planes = job.image.signal.shape[0] if kind is None else 1
        if task in job.setup.tasks and target.shape[0] != planes:
            raise UserError(
                f"{target.label}: has {target.shape[0]} planes, but "
                f"{job.setup.model.name} predicts {kind or 'a stack'} of {planes}; "
                "give a target of that kind"
            )


def check_disk(root: Path, jobs: Sequence[Job], at_once: int = 1) -> None:
    """Raise if the outputs, and the largest work for some, do not fit on the disk."""
    if jobs:
        needed = sum(job.num_bytes for job in jobs)
        needed += sum(sorted(map(_work_bytes, jobs))[-at_once:])
        begun = sum(job.work.num_bytes for job in jobs)
        what = f"predicting {len(jobs)} images"
        check_free(root, needed - begun, what, "--out")


def _work_bytes(job: Job) -> int:
    """Return what volumes on the model grid, a mask and resizing take."""
    grid, there, back = job.grid_shape, job.image.signal.shape, job.image.shape
    resizing = max(scratch_bytes(there, grid), scratch_bytes(grid, back))
    volumes = (4 if job.image.targets else 2) + job.setup.options.uncertainty
    return 4 * volumes * math.prod(grid) + resizing + math.prod(there) // 8
