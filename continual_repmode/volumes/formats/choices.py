"""What was asked for of a file that has no such thing."""

from collections.abc import Container
from pathlib import Path

from continual_repmode.volumes.volume import CHOICES, Choices, chosen_index


def refuse_other_choices(path: Path, choices: Choices, known: Container[str]) -> None:
    """Raise if a choice is made that a format does not know; 0 always is the only one.

    Parameters
    ----------
    path : Path
        For messages.
    choices : mapping
        What was asked for.
    known : container of str
        What the format knows of ``CHOICES``.
    """
    for what in CHOICES:
        if what not in known:
            chosen_index(path, what, [""], choices)
