"""What the collection holds: its data sets, the task each serves, where it lies.

DNA has no data set of its own: nine of the eleven have a DNA dye next to their own
structure, and the paper draws its DNA images from those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from continual_repmode.errors import UserError
from continual_repmode.tasks import TASK_OF_LABEL, TASKS, meant_task

BASE_URL = (
    "https://s3-us-west-2.amazonaws.com/downloads.allencell.org/"
    "publication-data/label-free-prediction/"
)
"""Folder of the archives, one ``.tar.gz`` per data set."""

DNA = "dna"
DNA_IMAGES = 80
"""How many images of the other data sets the paper's DNA task draws."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One archive of the collection."""

    #: Of the archive without its ending, and of the folder in it.
    name: str
    #: The structure that its images are the targets of.
    task: str
    #: How many images the paper used.
    num_images: int = 80
    #: Whether the DNA images are drawn from it too.
    has_dna: bool = True

    @property
    def archive(self) -> str:
        """File name of the archive."""
        return f"{self.name}.tar.gz"


_DEVIATING: dict[str, dict[str, Any]] = {
    "fibrillarin": {"has_dna": False},
    "membrane_caax_63x": {"num_images": 51, "has_dna": False},
}

DATASETS = tuple(
    Dataset(name, task, **_DEVIATING.get(name, {}))
    for name, task in TASK_OF_LABEL.items()
)
"""In alphabetical order, in which the paper's DNA lists are put together."""


def datasets_of(task: str) -> tuple[Dataset, ...]:
    """Return the data sets that a task needs: one, or nine for DNA."""
    return tuple(
        dataset
        for dataset in DATASETS
        if dataset.task == task or (task == DNA and dataset.has_dna)
    )


def choose_datasets(names: Sequence[str]) -> tuple[Dataset, ...]:
    """Return the data sets of some tasks, in the order of the catalog.

    ``names``: tasks or data sets; none means everything.
    Raises UserError if there is neither a task nor a data set of such a name.
    """
    chosen: set[str] = set()
    for said in names or TASKS:
        name = meant_task(said, (*TASKS, *(dataset.name for dataset in DATASETS)))
        needed = [dataset.name for dataset in DATASETS if dataset.name == name]
        needed = needed or [dataset.name for dataset in datasets_of(name)]
        if not needed:
            raise UserError(
                f"no task or data set {said!r} in the collection; choose from the "
                f"tasks {', '.join(TASKS)}, or the data sets "
                f"{', '.join(dataset.name for dataset in DATASETS)}"
            )
        chosen.update(needed)
    return tuple(dataset for dataset in DATASETS if dataset.name in chosen)
