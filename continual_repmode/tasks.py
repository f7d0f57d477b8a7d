"""The twelve structures of the paper and how a task is named.

A *task* is one structure to predict. Its name is a short identifier such as
``nuclear_envelope``; its integer *task label* is its position in the network that
learns it, so labels belong to a network and not to this table.
"""

import re
from collections.abc import Iterable

from continual_repmode.errors import UserError
from continual_repmode.paths import check_file_name

TASKS: tuple[str, ...] = (
    "actin_filament",
    "actomyosin_bundle",
    "cell_membrane",
    "desmosome",
    "dna",
    "endoplasmic_reticulum",
    "golgi_apparatus",
    "microtubule",
    "mitochondria",
    "nuclear_envelope",
    "nucleolus",
    "tight_junction",
)
"""The structures of Table 1 of the paper, in its (alphabetical) order."""

TASK_OF_LABEL: dict[str, str] = {
    "alpha_tubulin": "microtubule",
    "beta_actin": "actin_filament",
    "desmoplakin": "desmosome",
    "fibrillarin": "nucleolus",
    "lamin_b1": "nuclear_envelope",
    "membrane_caax_63x": "cell_membrane",
    "myosin_iib": "actomyosin_bundle",
    "sec61_beta": "endoplasmic_reticulum",
    "st6gal1": "golgi_apparatus",
    "tom20": "mitochondria",
    "zo1": "tight_junction",
}
"""What carries the label, as collections and lists of images are named after it."""

_WRITTEN = {"dna": "DNA", "golgi_apparatus": "Golgi apparatus"}

_RESERVED = ("all", "closest", "fresh", "mean", "none", "uniform")
"""What options say in the place of a task."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def check_task_name(name: str) -> str:
    """Return ``name`` if it can name a task.

    Raises UserError if it is anything but letters, digits, ``_`` and ``-`` (names
        become file names, channel names and parts of parameter names), or a word that
        options have in the place of a task.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"task name {name!r}: use letters, digits, '_' and '-' only, "
            "starting with a letter or digit"
        )
    if name in _RESERVED:
        raise UserError(
            f"task name {name!r} is reserved, as options mean something else by it; "
            f"choose another name, such as {name}_cells"
        )
    return check_file_name(name, "task name")


def check_apart(names: Iterable[str], where: str) -> None:
    """Raise if two tasks, whose names become file names, differ by case only.

    Raises UserError: naming both; many file systems of Windows and macOS take them for
        one.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise UserError(
                f"{where}: the tasks {other!r} and {name!r} differ by case only, which "
                "not every file system tells apart; rename one of them"
            )


def meant_task(said: str, known: Iterable[str]) -> str:
    """Return the task that somebody means, as tables print it or in any case.

    Returns: ``said`` itself if it is a known task, or means none of them, or several.

    Examples
    --------
    >>> meant_task("Nuclear envelope", TASKS)
    'nuclear_envelope'
    >>> meant_task("DNA", ("dna", "DNA"))
    'DNA'
    """
    names = list(dict.fromkeys(known))
    found = [name for name in names if _plain(name) == _plain(said)]
    return found[0] if len(found) == 1 and said not in names else said


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.strip().casefold())


def display_name(task: str) -> str:
    """Return the name of a task as text for people.

    >>> display_name("nuclear_envelope")
    'nuclear envelope'
    >>> display_name("dna")
    'DNA'
    >>> display_name("dna-round")
    'DNA-round'
    """
    structure, hyphen, rest = task.partition("-")
    return f"{_WRITTEN.get(structure, structure)}{hyphen}{rest}".replace("_", " ")
