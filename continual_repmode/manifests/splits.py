"""Which split each row of a manifest is in, and that no image is in two."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from continual_repmode.data.collection import Split
from continual_repmode.data.splits import split_sources
from continual_repmode.errors import Faults, UserError
from continual_repmode.manifests.pairs import ManifestPair
from continual_repmode.manifests.rows import (
    CROP,
    ManifestRow,
)
from continual_repmode.paths import source_of
from continual_repmode.volumes.source_channels import Box


def assign_splits(path: Path, rows: Sequence[ManifestRow], seed: int) -> list[Split]:
    """Return each row's split: the manifest's, or a random one per source image."""
    given = [row.split for row in rows if row.split is not None]
    if len(given) == len(rows):
        return given
    sources = defaultdict(list)
    for row in rows:
        sources[row.task].append(source_of(row.signal_path))
    try:
        sides = split_sources(sources, seed=seed)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return [sides[source_of(row.signal_path)] for row in rows]


def check_no_leak(pairs: Sequence[tuple[ManifestPair, Split]], faults: Faults) -> None:
    """Find pairs in two splits that share voxels of an image, in whatever channel."""
    seen: dict[object, list[tuple[ManifestPair, Split]]] = defaultdict(list)
    for pair, split in pairs:
        with faults:
            row = pair.row
            files = {
                source_of(path): path for path in (row.signal_path, row.target_path)
            }
            for source, path in files.items():
                field = (source, row.choices)
                for other, other_split in seen[field]:
                    if split != other_split and _overlap(
                        pair.signal.box, other.signal.box
                    ):
                        raise _leak(path, pair, split, other, other_split)
                seen[field].append((pair, split))


def _leak(
    path: Path,
    pair: ManifestPair,
    split: Split,
    other: ManifestPair,
    other_split: Split,
) -> UserError:
    return UserError(
        f"{pair.row.where}: {path.name} is in {split!r} here and in {other_split!r} in "
        f"row {other.row.number}; put both in one split, or give crops "
        f"({', '.join(CROP)}) that do not overlap"
    )


def _overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share a voxel."""
    return all(
        a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True)
    )
