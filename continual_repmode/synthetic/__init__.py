"""Generated cells: paired volumes for trying things out without any download.

See :func:`simulate_field` for one pair, :func:`simulate_structures` for all structures
of one field and :class:`SyntheticCells` for a whole data source.
"""

from continual_repmode.synthetic.collection import SyntheticCells
from continual_repmode.synthetic.field import simulate_field, simulate_structures

__all__ = ["SyntheticCells", "simulate_field", "simulate_structures"]
