"""What the collection holds: its data sets, the task each serves, where it lies.

DNA has no data set of its own: nine of the eleven have a DNA dye next to their own
structure, and the paper draws its DNA images from those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from continual_repmode.errors import UserError
from continual_repmode.tasks import TASKS

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
    """One archive of the collection.

    Attributes
    ----------
    name : str
        Of the archive without its ending, and of the folder in it.
    task : str
        The structure that its images are the targets of.
    num_images : int
        How many images the paper used.
    has_dna : bool
        Whether the DNA images are drawn from it too.
    """

    name: str
    task: str
    num_images: int = 80
    has_dna: bool = True

    @property
    def archive(self) -> str:
        """File name of the archive."""
        return f"{self.name}.tar.gz"


DATASETS = (
    Dataset("alpha_tubulin", "microtubule"),
    Dataset("beta_actin", "actin_filament"),
    Dataset("desmoplakin", "desmosome"),
    Dataset("fibrillarin", "nucleolus", has_dna=False),
    Dataset("lamin_b1", "nuclear_envelope"),
    Dataset("membrane_caax_63x", "cell_membrane", num_images=51, has_dna=False),
    Dataset("myosin_iib", "actomyosin_bundle"),
    Dataset("sec61_beta", "endoplasmic_reticulum"),
    Dataset("st6gal1", "golgi_apparatus"),
    Dataset("tom20", "mitochondria"),
    Dataset("zo1", "tight_junction"),
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

    Parameters
    ----------
    names : sequence of str
        Tasks or data sets; none means everything.

    Raises
    ------
    UserError
        If there is neither a task nor a data set of such a name.
    """
    chosen: set[str] = set()
    for name in names or TASKS:
        needed = [dataset.name for dataset in DATASETS if dataset.name == name]
        needed = needed or [dataset.name for dataset in datasets_of(name)]
        if not needed:
            raise UserError(
                f"no task or data set {name!r} in the collection; choose from the "
                f"tasks {', '.join(TASKS)}, or the data sets "
                f"{', '.join(dataset.name for dataset in DATASETS)}"
            )
        chosen.update(needed)
    return tuple(dataset for dataset in DATASETS if dataset.name in chosen)
