"""What the gates learned: which experts each structure prefers (paper, Sec. 4.4, Fig. 6).

Two views of the same weights: :class:`GatingRow`, the mean over the output channels of
a block, for tables and figures; and :class:`GatingTable`, every channel, for comparing
the gates of two tasks.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.models import GatingTable, RepModeUNet, load_model
from continual_repmode.results import RunFolder
from continual_repmode.runtime import write_text_atomically

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
class GatingRow:
    """The gating weight of one expert for one task in one MoDE block.

    Attributes
    ----------
    experience : int or None
        The experience in which the task was learned, from 0, if known.
    part : str
        ``encoder``, ``bottleneck``, ``decoder`` or ``output``.
    block : str
        Name of the block, such as ``encoder1.conv1``.
    level : int
        Level of the U-Net, 1 at full resolution, halved at each further one.
    task : str
    expert : str
        Name of the expert; ``extension_<task>`` was added for that task.
    extent_px : int
        Kernel extent of the expert along X, in voxels of its level.
    weight : float
        Mean of the weights over the output channels, 0 to 1; they sum to 1 over the
        experts.
    std : float
        Standard deviation over the output channels.
    """

    experience: int | None
    part: str
    block: str
    level: int
    task: str
    expert: str
    extent_px: int
    weight: float
    std: float


@dataclass(frozen=True, slots=True)
class PartExtent:
    """The kernel extent that a task prefers in one part of the network.

    Attributes
    ----------
    task, part : str
    extent_px : float
        Kernel extent averaged with the gating weights, then over the blocks.
    structure_scale_um : float or None
        From :data:`STRUCTURE_SCALE_UM`; ``None`` for a structure not in it.
    """

    task: str
    part: str
    extent_px: float
    structure_scale_um: float | None


@dataclass(frozen=True, slots=True)
class GateDistance:
    """How far the gates of two tasks are apart in one block.

    Attributes
    ----------
    task, other : str
    part, block : str
        As in :class:`GatingRow`.
    divergence : float
        Jensen-Shannon divergence in bits, 0 (alike) to 1 (no expert in common),
        averaged over the output channels.
    """

    task: str
    other: str
    part: str
    block: str
    divergence: float


def gating_rows(
    net: RepModeUNet, learned_in: Mapping[str, int] | None = None
) -> list[GatingRow]:
    """Return the channel-averaged gating weights: by block in network order, then task.

    Parameters
    ----------
    net : RepModeUNet
    learned_in : mapping of str to int, optional
        The experience in which each task was learned.
    """
    learned_in = learned_in or {}
    blocks = net.blocks()
    rows = []
    for table in net.gating_weights():
        experts = blocks[table.block].conv.experts_of(table.task)
        weights = _per_channel(table)
        for expert, channels in zip(table.experts, weights, strict=True):
            rows.append(
                GatingRow(
                    experience=learned_in.get(table.task),
                    part=part_of(table.block),
                    block=table.block,
                    level=_level(table.block, net.unet.depth),
                    task=table.task,
                    expert=expert,
                    extent_px=experts[expert].kernel().shape[-1],
                    weight=float(channels.mean()),
                    std=float(channels.std()),
                )
            )
    return rows


def load_gating(folder: RunFolder) -> tuple[list[GatingRow], list[GatingTable]]:
    """Read the gating weights after the last complete experience of a run.

    Both come from the checkpoint of that experience.

    Returns
    -------
    rows : list of GatingRow
        Averaged over channels.
    tables : list of GatingTable
        Every channel.

    Raises
    ------
    UserError
        If the folder has no complete experience, or its checkpoint is broken.
    """
    records = folder.records()
    if not records:
        raise UserError(
            f"{folder.path}: no complete experience here; name the folder of a run, "
            "made by `continual-repmode run`"
        )
    net = load_model(folder.checkpoint(records[-1].experience))
    return gating_rows(net, _learned_in(folder)), net.gating_weights()


def write_gating_weights(folder: RunFolder, net: RepModeUNet) -> None:
    """Write ``gating_weights.csv``, one line per :class:`GatingRow`."""
    text = io.StringIO()
    names = [field.name for field in fields(GatingRow)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in gating_rows(net, _learned_in(folder)):
        writer.writerow(asdict(row))
    write_text_atomically(folder.gating_weights, text.getvalue())


def read_gating_weights(folder: RunFolder) -> list[GatingRow]:
    """Read ``gating_weights.csv``.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    path = folder.gating_weights
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_parse(line) for line in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a table of gating weights ({error}); write it again with "
            f"`continual-repmode run resume={folder.path}`"
        ) from error


def part_of(block: str) -> str:
    """Return the part of the network that a block lies in.

    >>> part_of("encoder2.conv1")
    'encoder'
    """
    return block.split(".")[0].rstrip("0123456789")


def block_extents(rows: Sequence[GatingRow]) -> dict[str, dict[str, float]]:
    """Return each task's preferred kernel extent in each block.

    That is sum_e weight_e * extent_e, in voxels of the block's level.

    Returns
    -------
    dict of str to dict of str to float
        Task, then block in network order.
    """
    extents: dict[str, dict[str, float]] = {}
    for row in rows:
        of_task = extents.setdefault(row.task, {})
        of_task[row.block] = of_task.get(row.block, 0.0) + row.weight * row.extent_px
    return extents


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

    Parameters
    ----------
    tables : sequence of GatingTable
        With every channel, from :func:`load_gating` or ``net.gating_weights()``.
    task : str
    others : sequence of str
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

    Returns
    -------
    dict of str to float
        Other task -> mean divergence, the nearest task first.
    """
    values: dict[str, list[float]] = {}
    for distance in distances:
        if part in (None, distance.part):
            values.setdefault(distance.other, []).append(distance.divergence)
    means = {other: sum(found) / len(found) for other, found in values.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def nearest_task(distances: Sequence[GateDistance]) -> str:
    """Return the other task whose gates are nearest, over all blocks."""
    return next(iter(mean_distances(distances)))


def _divergence(one: GatingTable, other: GatingTable) -> float:
    """Return the mean over channels of the Jensen-Shannon divergence, in bits."""
    shared = [expert for expert in one.experts if expert in other.experts]
    p, q = _renormalized(one, shared), _renormalized(other, shared)
    middle = (p + q) / 2
    terms = p * np.log2(p / middle) + q * np.log2(q / middle)
    return max(0.0, float(terms.sum(axis=0).mean() / 2))


def _renormalized(table: GatingTable, experts: Sequence[str]) -> NDArray[np.float64]:
    """Return the weights of some experts, (E', O), each column summing to 1."""
    chosen = _per_channel(table)[[table.experts.index(expert) for expert in experts]]
    chosen = np.maximum(chosen, np.finfo(np.float32).tiny)
    return np.asarray(chosen / chosen.sum(axis=0))


def _per_channel(table: GatingTable) -> NDArray[np.float64]:
    return np.asarray(table.weights.cpu().double().numpy())


def _level(block: str, depth: int) -> int:
    name = block.split(".")[0]
    part = part_of(block)
    return {"bottleneck": depth + 1, "output": 1}.get(name) or int(name[len(part) :])


def _learned_in(folder: RunFolder) -> dict[str, int]:
    return {t: record.experience for record in folder.records() for t in record.tasks}


def _parse(line: Mapping[str, str]) -> GatingRow:
    return GatingRow(
        experience=int(line["experience"]) if line["experience"] else None,
        part=line["part"],
        block=line["block"],
        level=int(line["level"]),
        task=line["task"],
        expert=line["expert"],
        extent_px=int(line["extent_px"]),
        weight=float(line["weight"]),
        std=float(line["std"]),
    )
