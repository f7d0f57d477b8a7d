"""The paper's division into training, validation and test images."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from continual_repmode.data.collection import Split
from continual_repmode.errors import UserError

MIN_SOURCES = 3
"""Fewer source images than this cannot fill three splits."""


def split_counts(num_sources: int) -> dict[Split, int]:
    """Return how many source images of a task go where.

    A quarter is for testing, then a tenth of the rest for validation (Section 4,
    "Datasets"), both rounded up: 80 images give 54/6/20 and 51 give 34/4/13.
    """
    num_test = -(-num_sources // 4)
    num_valid = -(-(num_sources - num_test) // 10)
    return {
        "train": num_sources - num_test - num_valid,
        "valid": num_valid,
        "test": num_test,
    }


def split_sources(
    sources: Mapping[str, Sequence[str]], *, seed: int = 0
) -> dict[str, Split]:
    """Place every source image on one side, for all tasks at once.

    Each task is shuffled by itself, from ``seed`` and its name, so adding a task with
    images of its own moves nothing. Tasks may share images (the paper's DNA images all
    serve another task too): an image keeps the side that the task with fewest images
    gave it, and later tasks fill up around it as closely as they can.

    ``sources``: names of the source images of each task; order and repeats do not
        matter.
    Returns: the side of every source image.
    Raises UserError if a task has fewer than three images, or shares so many that a
        side stays empty.
    """
    names = {task: sorted(set(listed)) for task, listed in sources.items()}
    sides: dict[str, Split] = {}
    for task in sorted(names, key=lambda task: (len(names[task]), task)):
        if len(names[task]) < MIN_SOURCES:
            raise UserError(
                f"task {task!r} has {len(names[task])} source image(s); a random split "
                f"needs {MIN_SOURCES} or more: add images, or fill the column 'split'"
            )
        _place(task, names[task], sides, seed)
    return sides


def _place(task: str, names: list[str], sides: dict[str, Split], seed: int) -> None:
    """Give the unplaced images of one task the places its quotas still have."""
    generator = np.random.default_rng([seed, zlib.crc32(task.encode())])
    free = [name for name in generator.permutation(names) if name not in sides]
    quotas = split_counts(len(names))
    order: tuple[Split, ...] = ("test", "valid", "train")
    for split in order:
        num_placed = sum(sides.get(name) == split for name in names)
        num_wanted = max(0, quotas[split] - num_placed)
        taken, free = free[:num_wanted], free[num_wanted:]
        sides.update({str(name): split for name in taken})
    sides.update({str(name): "train" for name in free})
    for split in order:
        if not any(sides[name] == split for name in names):
            raise UserError(
                f"task {task!r} shares its images with other tasks and got none for "
                f"{split!r}: try another seed, add images, or fill the column 'split'"
            )
