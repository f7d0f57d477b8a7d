"""What the gates say: preferred kernel extents, and whom a new task resembles.

The paper observes that large structures prefer large kernels and that the decoder pays
more attention to small scales (Sec. 4.4, Fig. 6); these functions measure both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continual_repmode.analysis.gating import GatingRow, part_of
from continual_repmode.models import GatingTable

STRUCTURE_SCALE_UM: Mapping[str, float] = {
    "actin_filament": 0.007,
    "actomyosin_bundle": 0.5,
    "cell_membrane": 15.0,
    "desmosome": 0.3,
    "dna": 10.0,
    "endoplasmic_reticulum": 0.1,
    "golgi_apparatus": 5.0,
    "microtubule": 0.025,
    "mitochondria": 0.5,
    "nuclear_envelope": 10.0,
    "nucleolus": 2.0,
    "tight_junction": 15.0,
}
"""Approximate size of each structure in micrometres.

Textbook orders of magnitude, not measured on any image: the thickness of filaments,
tubules and bundles, the diameter of compact bodies, and for closed surfaces and belts
(cell membrane, nuclear envelope, tight junction) the diameter of what they enclose. A
light microscope blurs everything below about 0.3 um.
"""


@dataclass(frozen=True, slots=True)
class PartExtent:
    """The kernel extent that a task prefers in one part of the network."""

    task: str
    part: str
    #: Kernel extent averaged with the gating weights, then over the blocks.
    extent_px: float
    #: From :data:`STRUCTURE_SCALE_UM`; ``None`` for a structure not in it.
    structure_scale_um: float | None


@dataclass(frozen=True, slots=True)
class GateDistance:
    """How far the gates of two tasks are apart in one block."""

    task: str
    other: str
    #: As in :class:`GatingRow`.
    part: str
    block: str
    #: Jensen-Shannon divergence in bits, 0 (the same) to 1 (no expert in common),
    #: averaged over the output channels.
    divergence: float


def block_extents(rows: Sequence[GatingRow]) -> dict[str, dict[str, float]]:
    """Return each task's preferred kernel extent in each block.

    That is sum_e weight_e * extent_e / sum_e weight_e, in voxels of the block's level;
    the weights of a softmax sum to 1, those of a sigmoid do not.

    Returns: task, then block in network order.
    """
    gates: dict[str, dict[str, list[GatingRow]]] = {}
    for row in rows:
        gates.setdefault(row.task, {}).setdefault(row.block, []).append(row)
    return {
        task: {block: _mean_extent(found) for block, found in of_task.items()}
        for task, of_task in gates.items()
    }


def part_extents(rows: Sequence[GatingRow]) -> list[PartExtent]:
    """Return each task's preferred kernel extent in each part of the network."""
    found = []
    for task, of_task in block_extents(rows).items():
        for part in dict.fromkeys(part_of(block) for block in of_task):
            values = [
                value for block, value in of_task.items() if part_of(block) == part
            ]
            scale = STRUCTURE_SCALE_UM.get(task)
            found.append(PartExtent(task, part, sum(values) / len(values), scale))
    return found


def tasks_by_scale(rows: Sequence[GatingRow]) -> list[str]:
    """Return the tasks from large structures to small, those of unknown size last."""
    tasks = dict.fromkeys(row.task for row in rows)
    return sorted(tasks, key=lambda task: -STRUCTURE_SCALE_UM.get(task, 0.0))


def earlier_tasks(rows: Sequence[GatingRow]) -> dict[str, list[str]]:
    """Return, for each task of a later experience, the tasks learned before it."""
    learned_in = {row.task: row.experience for row in rows}
    known = {task: exp for task, exp in learned_in.items() if exp is not None}
    return {
        new: [old for old, before in known.items() if before < experience]
        for new, experience in known.items()
        if experience > 0
    }


def gate_distances(
    tables: Sequence[GatingTable], task: str, others: Sequence[str]
) -> list[GateDistance]:
    """Compare the gates of a task with those of other tasks, block by block.

    Only the experts that both tasks use are compared, renormalized to sum to 1 in each
    channel: an expert of its own says nothing about whom a task resembles.

    ``tables``: with every channel, such as ``net.gating_weights()``.
    """
    by_block: dict[str, dict[str, GatingTable]] = {}
    for table in tables:
        by_block.setdefault(table.block, {})[table.task] = table
    return [
        GateDistance(
            task, other, part_of(block), block, _divergence(gates[task], gates[other])
        )
        for other in others
        for block, gates in by_block.items()
    ]


def mean_distances(
    distances: Sequence[GateDistance], part: str | None = None
) -> dict[str, float]:
    """Average the distances of one task over the blocks, all or those of one part.

    Returns: other task -> mean divergence, the nearest task first.
    """
    values: dict[str, list[float]] = {}
    for distance in distances:
        if part in (None, distance.part):
            values.setdefault(distance.other, []).append(distance.divergence)
    means = {other: sum(found) / len(found) for other, found in values.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def _mean_extent(rows: Sequence[GatingRow]) -> float:
    total = sum(row.weight for row in rows)
    return sum(row.weight * row.extent_px for row in rows) / total


def _divergence(one: GatingTable, other: GatingTable) -> float:
    """Return the mean over channels of the Jensen-Shannon divergence, in bits."""
    shared = [expert for expert in one.experts if expert in other.experts]
    p, q = _renormalized(one, shared), _renormalized(other, shared)
    middle = (p + q) / 2
    terms = p * np.log2(p / middle) + q * np.log2(q / middle)
    return max(0.0, float(terms.sum(axis=0).mean() / 2))


def _renormalized(table: GatingTable, experts: Sequence[str]) -> NDArray[np.float64]:
    """Return the weights of some experts, (E', O), each column summing to 1."""
    weights = table.weights.cpu().double().numpy()
    chosen = weights[[table.experts.index(expert) for expert in experts]]
    chosen = np.maximum(chosen, np.finfo(np.float32).tiny)  # a softmax may round to 0
    return np.asarray(chosen / chosen.sum(axis=0))
