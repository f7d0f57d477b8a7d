"""The manifest of a downloaded collection, built from the files that are there."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from continual_repmode.allen.catalog import DATASETS, Dataset
from continual_repmode.allen.folder import AllenFolder
from continual_repmode.allen.pairs import (
    AllenPair,
    dna_pairs,
    own_pairs,
    read_headers,
)
from continual_repmode.allen.splits import (
    SPLITS,
    read_published_order,
    split_images,
)
from continual_repmode.data.collection import Split
from continual_repmode.data.splits import split_counts
from continual_repmode.errors import UserError
from continual_repmode.files import replacing
from continual_repmode.manifests.rows import VOXEL_SIZE
from continual_repmode.tasks import TASKS
from continual_repmode.volumes.formats import readable
from continual_repmode.volumes.volume import VoxelSize

PAPER_CODE_UM = (0.29, 0.108, 0.108)
"""Voxel size (z, y, x) that the published code assumes for every image: it shrinks X
and Y by 0.37241 = 0.108 / 0.29, also of ``membrane_caax_63x``."""

VoxelSizeFrom = Literal["metadata", "paper_code"]


@dataclass(frozen=True, slots=True)
class BuiltManifest:
    """What a new manifest says."""

    path: Path
    #: Task -> split -> how many images.
    counts: Mapping[str, Mapping[Split, int]]
    #: What is not as in the paper, or was decided on weaker grounds than usual.
    notes: tuple[str, ...]


def build_manifest(
    folder: AllenFolder,
    *,
    voxel_size: VoxelSizeFrom = "metadata",
    published_lists: str | Path | None = None,
) -> BuiltManifest:
    """Write ``manifest.csv`` for the data sets that are completely there.

    ``voxel_size``: ``metadata``: what each image says, when it is read. ``paper_code``:
        columns with the size that the published code assumes.
    ``published_lists``: folder with the image lists of the published code; see
        :mod:`continual_repmode.allen.splits`.
    Raises UserError if there is no data set, an image cannot be read, or the channels
        of no image of a data set can be told for sure.
    """
    datasets = [d for d in DATASETS if folder.state(d) in {"complete", "found"}]
    if not datasets:
        raise UserError(f"{folder.path}: no complete data set to make a manifest of")
    notes = [_order_note(published_lists)]
    notes += [
        f"{dataset.name}: left out, because files are missing"
        for dataset in DATASETS
        if folder.state(dataset) == "damaged"
    ]
    lists = {
        dataset.name: split_images(_ordered(folder, dataset, published_lists, notes))
        for dataset in datasets
    }
    headers = read_headers(folder.path, lists)
    pairs = [
        *own_pairs(datasets, lists, headers, notes),
        *dna_pairs(datasets, lists, headers, notes),
    ]
    pairs.sort(key=lambda pair: (TASKS.index(pair.task), SPLITS.index(pair.split)))
    notes += _channel_notes(pairs) + _voxel_size_notes(pairs, voxel_size)
    path = folder.path / "manifest.csv"
    _write(path, folder.path, pairs, voxel_size)
    counts = Counter((pair.task, pair.split) for pair in pairs)
    tasks = dict.fromkeys(pair.task for pair in pairs)
    return BuiltManifest(
        path,
        {task: {split: counts[task, split] for split in SPLITS} for task in tasks},
        tuple(notes),
    )


def _order_note(published_lists: str | Path | None) -> str:
    """Return what the division is based on."""
    if published_lists is None:
        return (
            "splits: drawn as in the paper's code (seed 42), but from file names in "
            "alphabetical order, so not its very images; --published-lists repeats "
            "those"
        )
    return f"splits: drawn as in the paper's code, from its lists in {published_lists}"


def _ordered(
    folder: AllenFolder,
    dataset: Dataset,
    published_lists: str | Path | None,
    notes: list[str],
) -> list[str]:
    """Return the images of a data set in the order in which they are divided."""
    images = folder.images(dataset)
    if not images:
        raise UserError(
            f"{folder.path / dataset.name}: no images ({', '.join(readable())}) in it"
        )
    if published_lists is not None:
        by_name = {Path(image).name: image for image in images}
        listed = read_published_order(published_lists, dataset.name)
        missing = [name for name in listed if name not in by_name]
        if missing:
            raise UserError(
                f"{folder.path / dataset.name}: lacks {missing[0]!r} and "
                f"{len(missing) - 1} more of the {len(listed)} published images; build "
                "the manifest without --published-lists"
            )
        if len(listed) < len(images):
            notes.append(
                f"{dataset.name}: {len(images) - len(listed)} images that are not in "
                "the published list are left out"
            )
        images = [by_name[name] for name in listed]
    if len(images) != dataset.num_images:
        counts = split_counts(len(images))
        notes.append(
            f"{dataset.name}: {len(images)} images, the paper used "
            f"{dataset.num_images}; divided by the same rule into "
            + "/".join(str(counts[split]) for split in SPLITS)
        )
    return images


def _channel_notes(pairs: Sequence[AllenPair]) -> list[str]:
    """Return which channels were found by name or place alone, with how often."""
    found = Counter(
        (pair.dataset, what, channel)
        for pair in pairs
        for what, channel in (("light", pair.signal), (pair.task, pair.target))
        if channel.grounds != "name and place"
    )
    return [
        f"{dataset}: {what} is channel {channel.index} {channel.name!r} by its "
        f"{channel.grounds} alone in {number} rows"
        for (dataset, what, channel), number in found.items()
    ]


def _voxel_size_notes(pairs: Sequence[AllenPair], source: VoxelSizeFrom) -> list[str]:
    """Return what the images say of their voxel size, and what will be used."""
    sizes = Counter(
        (pair.dataset, _written(pair.header.voxel_size_um))
        for pair in {pair.header.path: pair for pair in pairs}.values()
    )
    if source == "paper_code":
        used = _written(PAPER_CODE_UM)
        return [f"voxel size: {used} (z, y, x) for every image, as the paper's code"]
    remedy = "; choose --voxel-size paper_code, or fill in the columns"
    return [
        f"{dataset}: voxel size {size} (z, y, x) in {number} images"
        + (remedy if "unknown" in size else "")
        for (dataset, size), number in sorted(sizes.items())
    ]


def _written(size_um: VoxelSize) -> str:
    """Return a voxel size as text."""
    return " x ".join("unknown" if um is None else f"{um:.4g} um" for um in size_um)


def _write(
    path: Path, root: Path, pairs: Sequence[AllenPair], voxel_size: VoxelSizeFrom
) -> None:
    """Write the table, whole or not at all."""
    sizes = dict(zip(VOXEL_SIZE, PAPER_CODE_UM, strict=True))
    given: dict[str, float] = sizes if voxel_size == "paper_code" else {}
    rows = [
        {
            "task": pair.task,
            "split": pair.split,
            "path": pair.header.path.relative_to(root).as_posix(),
            "channel_signal": pair.signal.index,
            "channel_target": pair.target.index,
            **given,
            "dataset": pair.dataset,
            "channel_signal_name": pair.signal.name,
            "channel_target_name": pair.target.name,
            "voxel_size_from": voxel_size,
        }
        for pair in pairs
    ]
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
