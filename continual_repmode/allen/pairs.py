"""The pairs of the collection: which image serves which task, by which channels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from continual_repmode.allen.catalog import DATASETS, DNA, DNA_IMAGES, Dataset
from continual_repmode.allen.channels import (
    CAAX_DATASET,
    LIGHT,
    MEMBRANE,
    STRUCTURE,
    FoundChannel,
    find_channel,
)
from continual_repmode.allen.splits import SPLITS, draw_dna
from continual_repmode.data.collection import Split
from continual_repmode.errors import UserError
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.volume import VoxelSize

Lists = Mapping[str, Mapping[Split, Sequence[str]]]
"""Data set -> split -> names of images."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the manifest needs of an image file."""

    path: Path
    channel_names: tuple[str, ...]
    voxel_size_um: VoxelSize


@dataclass(frozen=True, slots=True)
class AllenPair:
    """One row, its channels found."""

    task: str
    split: Split
    dataset: str
    header: Header
    signal: FoundChannel
    target: FoundChannel


def read_headers(root: Path, lists: Lists) -> dict[tuple[str, str], Header]:
    """Read the header of every image once, by data set and name."""
    names = [
        (dataset, image)
        for dataset, splits in lists.items()
        for images in splits.values()
        for image in images
    ]
    headers = {}
    for dataset, image in tqdm(names, desc="headers", unit="image", disable=None):
        path = root / dataset / image
        volume = open_volume(path)
        headers[dataset, image] = Header(
            path, tuple(volume.channel_names), volume.voxel_size_um
        )
    return headers


def own_pairs(
    datasets: Sequence[Dataset],
    lists: Lists,
    headers: Mapping[tuple[str, str], Header],
    notes: list[str],
) -> list[AllenPair]:
    """Return the pairs with each data set's own structure.

    An image whose channels cannot be told is left out, with a note.

    Raises UserError if the channels of no image of a data set can be told.
    """
    pairs: list[AllenPair] = []
    for dataset in datasets:
        wanted = [
            (dataset.task, split, dataset.name, headers[dataset.name, image])
            for split in SPLITS
            for image in lists[dataset.name][split]
        ]
        pairs += _told(wanted, notes)
    return pairs


def dna_pairs(
    datasets: Sequence[Dataset],
    lists: Lists,
    headers: Mapping[tuple[str, str], Header],
    notes: list[str],
) -> list[AllenPair]:
    """Return the pairs of the DNA task, as many as a data set has on average.

    Raises UserError if the channels of none can be told.
    """
    sources = [dataset.name for dataset in datasets if dataset.has_dna]
    if not sources:
        return []
    num_each = [sum(map(len, lists[name].values())) for name in sources]
    num_wanted = round(sum(num_each) / len(sources))
    drawn = draw_dna(lists, sources, num_wanted)
    num_drawn = "/".join(str(len(drawn[split])) for split in SPLITS)
    absent = [d.name for d in DATASETS if d.has_dna and d.name not in sources]
    if absent:
        notes.append(
            f"dna: {num_drawn} images drawn from {', '.join(sources)} only; the paper "
            f"drew from {', '.join(absent)} too"
        )
    elif num_wanted != DNA_IMAGES:
        notes.append(f"dna: {num_drawn} images drawn, the paper drew 54/6/20")
    return _told(
        [
            (DNA, split, name, headers[name, image])
            for split in SPLITS
            for name, image in drawn[split]
        ],
        notes,
    )


def _told(
    wanted: Sequence[tuple[str, Split, str, Header]], notes: list[str]
) -> list[AllenPair]:
    """Return the pairs whose channels can be told, and note what is left out."""
    pairs: list[AllenPair] = []
    faults: list[UserError] = []
    for each in wanted:
        try:
            pairs.append(_pair(*each))
        except UserError as error:
            faults.append(error)
    if faults and not pairs:
        raise faults[0]
    notes += [f"left out: {fault}" for fault in faults]
    return pairs


def _pair(task: str, split: Split, dataset: str, header: Header) -> AllenPair:
    """Find the channels of one row."""
    own = MEMBRANE if dataset == CAAX_DATASET else STRUCTURE
    signal, target = (
        find_channel(header.path, header.channel_names, role, dataset)
        for role in (LIGHT, DNA if task == DNA else own)
    )
    return AllenPair(task, split, dataset, header, signal, target)
