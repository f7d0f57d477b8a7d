"""Gating weights as tables: how much each task makes of each expert (paper, Fig. 6).

Two views of the same weights: :class:`GatingRow`, the mean over the output channels of
a block, for tables and figures; and :class:`GatingTable`, every channel, for comparing
the gates of two tasks. :mod:`continual_repmode.analysis.preferences` reads them.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from continual_repmode.errors import UserError
from continual_repmode.files import write_whole
from continual_repmode.models import GatingTable, RepModeUNet, load_model
from continual_repmode.results import RunFolder


@dataclass(frozen=True, slots=True)
class GatingRow:
    """The gating weight of one expert for one task in one MoDE block."""

    #: The experience in which the task was learned, from 0, if known.
    experience: int | None
    #: ``encoder``, ``bottleneck``, ``decoder`` or ``output``.
    part: str
    #: Name of the block, such as ``encoder1.conv1``.
    block: str
    #: Level of the U-Net, 1 at full resolution, halved at each further one.
    level: int
    task: str
    #: Name of the expert; ``extension_<task>`` was added for that task.
    expert: str
    #: Kernel extent of the expert along X, in voxels of its level.
    extent_px: int
    #: Mean of the weights over the output channels, 0 to 1; they sum to 1 over the
    #: experts.
    weight: float
    #: Standard deviation over the output channels.
    std: float


def gating_rows(
    net: RepModeUNet, learned_in: Mapping[str, int] | None = None
) -> list[GatingRow]:
    """Return channel-averaged gating weights: by block in network order, then task."""
    learned_in = learned_in or {}
    blocks = net.blocks()
    rows = []
    for table in net.gating_weights():
        experts = blocks[table.block].conv.experts_of(table.task)
        weights = table.weights.double()
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
                    std=float(channels.std(correction=0)),
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
        If the folder has no complete experience, its checkpoint is broken, or the
        network has no gates.
    """
    records = folder.records()
    if not records:
        raise UserError(
            f"{folder.path}: no complete experience here; name the folder of a run, "
            "made by `continual-repmode run`"
        )
    net = load_model(folder.checkpoint(records[-1].experience))
    if not isinstance(net, RepModeUNet) or not net.blocks():
        raise UserError(
            f"{folder.path}: the network of this run is a {type(net).__name__} without "
            "gates of tasks; name the folder of a run with model=repmode"
        )
    return gating_rows(net, _learned_in(folder)), net.gating_weights()


def write_gating_weights(folder: RunFolder, net: RepModeUNet) -> None:
    """Write ``gating_weights.csv``, one line per :class:`GatingRow`."""
    text = io.StringIO()
    names = [field.name for field in fields(GatingRow)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in gating_rows(net, _learned_in(folder)):
        writer.writerow(asdict(row))
    write_whole(folder.gating_weights, text.getvalue())


def read_gating_weights(folder: RunFolder) -> list[GatingRow]:
    """Read ``gating_weights.csv``.

    Raises UserError if it is missing or damaged.
    """
    path = folder.gating_weights
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [_parse(line) for line in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a table of gating weights ({error}); write it again with "
            f"`continual-repmode run resume={folder.path}`"
        ) from error
    if not rows:
        raise UserError(f"{path}: is empty")
    return rows


def part_of(block: str) -> str:
    """Return the part of the network that a block lies in.

    >>> part_of("encoder2.conv1")
    'encoder'
    """
    return block.split(".")[0].rstrip("0123456789")


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
