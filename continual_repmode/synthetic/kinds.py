"""Kinds of cells: the same structures in cells of another size, shape and texture."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from continual_repmode.errors import UserError

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class CellKind:
    """What all cells of a field have in common."""

    #: Range of the mean distance between neighboring cells.
    spacing_um: Range
    #: Flattest and tallest layer; a shallow volume gets flat, spread-out cells.
    height_um: Range
    #: How far the apical surface rises over a cell, as a share of the height.
    dome: float
    #: Range of half the height of a nucleus, as a share of the layer's.
    nucleus_height: Range
    #: Range of its longer lateral semi-axis, as a share of half the distance to the
    #: neighbors.
    nucleus_length: Range
    #: Range of its shorter lateral semi-axis, as a share of the longer one.
    nucleus_width: Range
    #: Sizes of rough and fine texture.
    grain_um: Range


COLONY = CellKind(
    spacing_um=(9.5, 11.5),
    height_um=(4.0, 8.0),
    dome=0.28,
    nucleus_height=(0.3, 0.37),
    nucleus_length=(0.76, 0.95),
    nucleus_width=(0.7, 0.95),
    grain_um=(0.9, 0.3),
)
"""Tightly packed cells, like hiPS cells in a colony."""

ROUND = CellKind(
    spacing_um=(14.0, 17.0),
    height_um=(4.6, 11.0),
    dome=0.5,
    nucleus_height=(0.36, 0.42),
    nucleus_length=(0.62, 0.74),
    nucleus_width=(0.92, 1.0),
    grain_um=(1.5, 0.55),
)
"""Larger and taller cells with round nuclei, domed tops and coarser texture."""

KINDS: Mapping[str, CellKind] = MappingProxyType({"round": ROUND})
"""What follows the structure in the name of a task, after a hyphen -> its cells."""


def split_task(task: str) -> tuple[str, CellKind]:
    """Return the structure that a task stains and the kind of its cells.

    Raises UserError if there is no such kind.

    Examples
    --------
    >>> structure, kind = split_task("dna-round")
    >>> structure, kind is ROUND
    ('dna', True)
    >>> split_task("dna")[1] is COLONY
    True
    """
    structure, hyphen, name = task.partition("-")
    if not hyphen:
        return structure, COLONY
    if name not in KINDS:
        raise UserError(
            f"no generated cells for task {task!r}: after a hyphen comes the kind of "
            f"cells, {', '.join(KINDS)}; without one they are those of a colony"
        )
    return structure, KINDS[name]
