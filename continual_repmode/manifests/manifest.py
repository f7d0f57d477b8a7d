"""Pairs of volumes listed in a CSV file, checked before any pixel is read."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from continual_repmode.data.collection import Split
from continual_repmode.errors import Faults, UserError
from continual_repmode.inference.projection import Projection
from continual_repmode.manifests.channels import (
    Readers,
    overruled_size,
    row_voxel_size_um,
    source_channels,
)
from continual_repmode.manifests.pairs import ManifestPair, check_grid
from continual_repmode.manifests.preparing import prepare_pairs
from continual_repmode.manifests.rows import (
    TARGET_KIND,
    VOXEL_SIZE,
    ManifestRow,
    misspelled_columns,
    read_rows,
)
from continual_repmode.manifests.splits import (
    assign_splits,
    check_no_leak,
)
from continual_repmode.paths import user_path
from continual_repmode.resources import cache_folder
from continual_repmode.tasks import check_apart
from continual_repmode.volumes.preparation import (
    VOXEL_RANGE_UM,
    Order,
    Preparation,
    Storage,
    VoxelSizeUm,
    is_voxel_length,
)
from continual_repmode.volumes.resampling import ResizeMethod
from continual_repmode.volumes.store import PreparedStore
from continual_repmode.workers import HERE, Workers

_log = logging.getLogger(__name__)
_QUICK_S = 1.0
"""Headers that are read in less time need no progress bar."""


class ManifestCollection:
    """The pairs of a manifest, by task and split.

    A manifest is a CSV file with one pair per row. Its columns are ``task`` and either
    ``path, channel_signal, channel_target`` (both channels in one file) or
    ``path_signal, path_target`` (two files; the channel columns may be added).
    Optional are ``split`` (train, valid, test), ``voxel_size_z_um``,
    ``voxel_size_y_um`` and ``voxel_size_x_um`` (micrometres, instead of what the file
    says), ``z0, z1, y0, y1, x0, x1`` (a crop in raw voxels; blank means to the edge),
    and, for files with several of them, ``scene, time, view, phase, illumination,
    rotation, block, tile, level``. Channels are indices from 0 or names, paths are
    relative to the manifest, and other columns are left alone. The manifests of
    pytorch_fnet and RepMode (``path_czi``, the task in the file name) work too, also
    as a folder of several.

    Volumes are prepared once, into a folder of read-only arrays that all processes
    share; see :class:`continual_repmode.volumes.store.PreparedStore`.

    Parameters
    ----------
    path : str or Path
        The manifest, or a folder of manifests.
    root : str or Path, optional
        What relative paths in the rows are relative to, instead of the manifest.
    tasks : sequence of str, optional
        Leave the rows of all other tasks alone; their files need not be there.
    voxel_size_um : sequence of float
        Voxel size (z, y, x) of the model grid in micrometres.
    source_voxel_size_um : sequence of float, optional
        Voxel size (z, y, x) of all files in micrometres, whatever their metadata say;
        only the columns of a row come before it.
    seed : int
        For the random split of a manifest without the column ``split``.
    resize, order, storage : str
        See :class:`continual_repmode.volumes.preparation.Preparation`.
    cache_dir : str or Path, optional
        Where prepared volumes are kept; the user's cache folder by default.
    refuse_missing_chunks : bool
        An OME-Zarr of which chunk files are missing is an error, not only a warning.
    faults : Faults, optional
        Where to collect what is wrong with single rows; these rows are left out.

    Raises
    ------
    UserError
        For whatever is wrong with a row or with the headers of its files: missing
        files and channels, shapes that differ, a crop outside the image, an unknown
        voxel size, or one region of an image in two splits. Pixels are not read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        root: str | Path | None = None,
        tasks: Sequence[str] | None = None,
        voxel_size_um: Sequence[float] = (0.29, 0.29, 0.29),
        source_voxel_size_um: Sequence[float] | None = None,
        seed: int = 0,
        resize: ResizeMethod = "paper",
        order: Order = "zscore_first",
        storage: Storage = "float16",
        cache_dir: str | Path | None = None,
        refuse_missing_chunks: bool = False,
        faults: Faults | None = None,
    ) -> None:
        faults = Faults(collect=False) if faults is None else faults
        if seed < 0:
            raise UserError(f"data.seed={seed}: use 0 or more")
        self._source_um = (
            None
            if source_voxel_size_um is None
            else _voxel_size("data.source_voxel_size_um", source_voxel_size_um)
        )
        grid_um = _voxel_size("data.voxel_size_um", voxel_size_um)
        self._preparation = Preparation(grid_um, resize, order, storage)
        self._store = PreparedStore(
            cache_folder("prepared") if cache_dir is None else user_path(cache_dir)
        )
        self._whole = refuse_missing_chunks
        self._path = path = user_path(path)
        below = None if root is None else user_path(root)
        rows = read_rows(path, below, tasks, faults)
        #: The tasks of all rows, also of those that are left alone or left out.
        self.listed_tasks = tuple(dict.fromkeys(row.task for row in rows))
        with faults:
            check_apart(self.listed_tasks, str(path))
        pairs = self._open(rows, tasks, faults)
        #: Whether images are divided at random, by ``seed``.
        self.splits_at_random = any(row.split is None for row in rows)
        splits: list[Split] = ["train"] * len(rows)
        with faults:
            splits = assign_splits(path, rows, seed)
        self._pairs = [(pair, splits[position]) for position, pair in pairs.items()]
        check_no_leak(self._pairs, faults)
        self._check_kinds(faults)

    def _check_kinds(self, faults: Faults) -> None:
        """Find tasks whose targets are of more than one kind."""
        first: dict[str, ManifestRow] = {}
        for pair, _ in self._pairs:
            with faults:
                known = first.setdefault(pair.task, pair.row)
                if known.target_kind != pair.row.target_kind:
                    raise UserError(
                        f"{pair.row.where}, column {TARGET_KIND!r}: "
                        f"{pair.row.target_kind or 'stack'}, but "
                        f"{known.target_kind or 'stack'} in row {known.number}; "
                        "targets of one task are of one kind, so name them differently"
                    )

    @property
    def projections(self) -> dict[str, Projection]:
        """The tasks whose targets are projections, and what kind."""
        return {
            pair.task: pair.row.target_kind
            for pair, _ in self._pairs
            if pair.row.target_kind is not None
        }

    def _open(
        self,
        rows: Sequence[ManifestRow],
        tasks: Sequence[str] | None,
        faults: Faults,
    ) -> dict[int, ManifestPair]:
        """Return the pairs of the needed rows by their position."""
        readers, pairs = Readers(self._whole), {}
        named = list(zip(rows, _pair_names(rows), strict=True))
        bar = tqdm(
            named, desc="reading headers", unit="row", delay=_QUICK_S, disable=None
        )
        for position, (row, name) in enumerate(bar):
            if tasks is not None and row.task not in tasks:
                continue
            with faults:
                full = self._source_um is not None
                signal, target = readers.open(row, None if full else self.voxel_size_um)
                pair = ManifestPair(
                    row,
                    name,
                    source_channels(row, signal, target),
                    row_voxel_size_um(row, signal, target, self._source_um),
                    self._preparation,
                    self._store,
                )
                check_grid(pair)
                pairs[position] = pair
        return pairs

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the structures, in the order in which the manifest names them."""
        return tuple(dict.fromkeys(pair.task for pair, _ in self._pairs))

    @property
    def voxel_size_um(self) -> VoxelSizeUm:
        """Voxel size (z, y, x) of the model grid in micrometres."""
        return self._preparation.voxel_size_um

    def pairs(self, task: str, split: Split) -> Sequence[ManifestPair]:
        """Return the pairs of one task and split, in the order of the manifest."""
        if task not in self.tasks:
            raise UserError(
                f"no task {task!r} here; choose from {', '.join(self.tasks)}"
            )
        return [
            pair for pair, side in self._pairs if pair.task == task and side == split
        ]

    def all_pairs(self) -> list[tuple[ManifestPair, Split]]:
        """Return every pair with its split, in the order of the manifest."""
        return list(self._pairs)

    def notes(self) -> list[str]:
        """Return, a line each, what the user said that is not used, or others overrule.

        That is a voxel size, or a column that may be misspelled.
        """
        found = misspelled_columns(self._path)
        overruled = [
            (pair, told)
            for pair, _ in self._pairs
            if (told := overruled_size(pair.signal.volume, pair.source_voxel_size_um))
        ]
        if overruled:
            pair, told = overruled[0]
            found.append(
                f"{_rows(overruled)}: the voxel size is {_times(pair)} as given, not "
                f"{told} ({pair.row.where}, {pair.row.signal_path.name})"
            )
        unused = [
            pair
            for pair, _ in self._pairs
            if self._source_um not in (None, pair.source_voxel_size_um)
        ]
        if unused:
            found.append(
                f"{_rows(unused)}: the columns {', '.join(VOXEL_SIZE)} come before "
                f"data.source_voxel_size_um (--source-voxel-size): {_times(unused[0])} "
                f"({unused[0].row.where})"
            )
        return found

    def prepare(self, progress: bool = True, workers: Workers = HERE) -> None:
        """Prepare every pair that is not in the store yet.

        Parameters
        ----------
        progress : bool
            Show a progress bar, if stderr is a terminal.
        workers : Workers
            Who shares the work. Processes are started afresh ("spawn"): a script that
            asks for more than one needs the usual ``if __name__ == "__main__"`` guard.

        Raises
        ------
        UserError
            If the disk lacks the space, or for the first channel that is damaged,
            constant or not finite. What has been prepared stays.
        """
        pairs = [pair for pair, _ in self._pairs]
        prepare_pairs(pairs, progress=progress, workers=workers)
        padded = {pair.name: pair.padded for pair in pairs if pair.padded}
        if padded:
            most = max(padded, key=padded.__getitem__)
            _log.warning(
                "%d of %d pairs have padding at their borders, which is left out of "
                "z-scores, losses and metrics; most in %s: %.1f%% of the voxels",
                *(len(padded), len(pairs), most, 100 * padded[most]),
            )


def _rows(found: Sequence[object]) -> str:
    return "1 row" if len(found) == 1 else f"{len(found)} rows"


def _times(pair: ManifestPair) -> str:
    return f"{' x '.join(f'{um:g}' for um in pair.source_voxel_size_um)} µm"


def _voxel_size(option: str, voxel_size_um: Sequence[float]) -> VoxelSizeUm:
    """Check a voxel size (z, y, x) in micrometres."""
    if len(voxel_size_um) != 3 or not all(map(is_voxel_length, voxel_size_um)):
        shortest, longest = VOXEL_RANGE_UM
        raise UserError(
            f"{option}={list(voxel_size_um)}: use three lengths [z,y,x] in "
            f"micrometres, from {shortest:g} to {longest:g}"
        )
    z, y, x = voxel_size_um
    return float(z), float(y), float(x)


def _pair_names(rows: Sequence[ManifestRow]) -> list[str]:
    """Name each pair after its task and its transmitted-light file."""
    names: list[str] = []
    for row in rows:
        stem = re.sub(r"(\.ome|\.companion)*$", "", row.signal_path.stem)
        name = f"{row.task}_" + re.sub(r"[^A-Za-z0-9._-]+", "-", stem)
        while name in names:
            name += f"_row{row.number}"
        names.append(name)
    return names
