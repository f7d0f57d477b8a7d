"""The rows of a manifest: one per pair of volumes, their cells converted."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from continual_repmode.data.collection import Split
from continual_repmode.errors import Faults, UserError
from continual_repmode.inference.projection import PROJECTIONS, Projection
from continual_repmode.manifests.files import (
    MAX_SHOWN,
    SPLIT_NAMES,
    csv_files,
    read_csv,
    told_by_name,
)
from continual_repmode.paths import is_there, not_there, user_path
from continual_repmode.tasks import check_task_name
from continual_repmode.volumes.choices import CHOICES, index_from
from continual_repmode.volumes.formats.plane_pattern import is_pattern, plane_files
from continual_repmode.volumes.preparation import VOXEL_RANGE_UM, is_voxel_length
from continual_repmode.volumes.volume import VoxelSize

ONE_FILE = ("path", "channel_signal", "channel_target")
TWO_FILES = ("path_signal", "path_target")
VOXEL_SIZE = ("voxel_size_z_um", "voxel_size_y_um", "voxel_size_x_um")
TARGET_KIND = "target_kind"
CROP = ("z0", "z1", "y0", "y1", "x0", "x1")

_OTHER_NAMES = {"path_czi": "path"}
"""Columns of other programs' manifests (pytorch_fnet and RepMode)."""

_KNOWN = {
    *("task", "split", *ONE_FILE, *TWO_FILES, *VOXEL_SIZE, *CROP, *CHOICES),
    TARGET_KIND,
    *_OTHER_NAMES,
}
_BLANK = {"nan", "<na>", "none", "null"}
"""What programs write for a cell without a value."""
_WHOLE = re.compile(r"(\d+)[.,]0+")
_THOUSANDS = re.compile(r"[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One row, its cells converted but not yet compared with the files."""

    #: Manifest and row number, for messages.
    where: str
    #: Line of the CSV file; the header is line 1.
    number: int
    task: str
    #: Absolute, links not followed; the same file if it holds both channels.
    signal_path: Path
    target_path: Path
    #: Index from 0, or name; None where the file must have one channel.
    signal_channel: str | None
    target_channel: str | None
    #: None where the split is left to chance.
    split: Split | None
    #: Scene, time point and so on, for both files.
    choices: tuple[tuple[str, str], ...]
    #: Voxel size (z, y, x) to use instead of the file's, None per axis where blank.
    voxel_size_um: VoxelSize
    #: ``z0, z1, y0, y1, x0, x1`` in raw voxels, None where blank.
    crop: tuple[int | None, ...]
    #: What the one plane of the target is of a stack; None for a stack.
    target_kind: Projection | None = None


def cell_error(where: str, column: str, value: object, remedy: str) -> UserError:
    """Return the error that points at one cell."""
    shown = str(value)
    if len(shown) > MAX_SHOWN:
        shown = f"{shown[:MAX_SHOWN]}..."
    return UserError(f"{where}, column {column!r}: {shown!r}: {remedy}")


def read_rows(
    path: Path,
    root: Path | None = None,
    tasks: Sequence[str] | None = None,
    faults: Faults | None = None,
) -> list[ManifestRow]:
    """Read a manifest, or a folder of them, and convert the cells.

    A file without a column ``task`` or ``split`` may say it by its name, as those of
    pytorch_fnet do: ``nucleolus.csv``, ``beta_actin_train.csv``, ``train/tom20.csv``.
    Of a folder, files that name a split are preferred to those of the same task that
    do not.

    ``root``: what relative paths in the rows are relative to; the folder of the CSV
        file by default.
    ``tasks``: tasks whose files must be there; by default, those of all.
    ``faults``: where to collect the errors of single rows, which are then left out.
    Raises UserError if there is no manifest, or one is no CSV, empty or lacks columns;
        and for the first cell that cannot be right, unless ``faults`` collects them.
    """
    faults = Faults(collect=False) if faults is None else faults
    rows = []
    for file in csv_files(path):
        rows += _read_file(file, root or file.parent, tasks, faults)
    split_known = {row.split is not None for row in rows}
    if len(split_known) == 2:
        blank = next(row for row in rows if row.split is None)
        with faults:
            raise cell_error(
                blank.where, "split", "", "fill it in every row or in none"
            )
    return rows


def misspelled_columns(path: Path) -> list[str]:
    """Return, a line each, columns that look like one of ours but are left alone."""
    known = {*_KNOWN} - {*_OTHER_NAMES}
    found = []
    for file in csv_files(path):
        header = [_OTHER_NAMES.get(name, name) for name in read_csv(file, _KNOWN)[0]]
        for name in header:
            meant = difflib.get_close_matches(name.lower(), known - {*header}, 1, 0.8)
            if name not in known and meant:
                found.append(f"column {name!r} is left alone; {meant[0]!r} is meant?")
    return list(dict.fromkeys(found))


def _read_file(
    path: Path, root: Path, tasks: Sequence[str] | None, faults: Faults
) -> list[ManifestRow]:
    header, lines = read_csv(path, _KNOWN)
    header = [_OTHER_NAMES.get(name, name) for name in header]
    task, split = told_by_name(path)
    _check_header(path, header, task)
    rows = []
    for number, values in lines:
        with faults:
            where = f"{path}: row {number}"
            while len(values) > len(header) and not values[-1]:
                values.pop()
            if len(values) > len(header):
                raise UserError(
                    f"{where}: {len(values)} values for {len(header)} columns; "
                    "put values that contain a comma in double quotes"
                )
            cells = dict(zip(header, values, strict=False))
            if "task" not in header and task:
                cells["task"] = task
            if "split" not in header and split:
                cells["split"] = split
            needed = tasks is None or cells.get("task") in tasks
            rows.append(
                _row(_Cells(where, cells, needed, "path" not in header), number, root)
            )
    if not lines:
        raise UserError(f"{path}: has no rows below its header")
    return rows


def _check_header(path: Path, header: Sequence[str], task: str | None) -> None:
    """Refuse a header without the columns of files; it may have those of both kinds."""
    counts = Counter(name for name in header if name)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise UserError(f"{path}: column {repeated[0]!r} appears twice; rename one")
    one_file, two_files = "path" in header, set(TWO_FILES) & set(header)
    needed = [*(TWO_FILES if two_files else ONE_FILE)]
    if one_file and two_files:
        needed = list(dict.fromkeys((*ONE_FILE, *TWO_FILES)))
    if task is None:
        needed.insert(0, "task")
    missing = [name for name in needed if name not in header]
    if missing:
        raise UserError(
            f"{path}: has no column {', '.join(map(repr, missing))}; needed are "
            f"task and {', '.join(ONE_FILE)} (both channels in one file), or task and "
            f"{', '.join(TWO_FILES)}; found {', '.join(header):.{MAX_SHOWN}}"
        )


def _row(cells: "_Cells", number: int, root: Path) -> ManifestRow:
    signal_column, target_column = cells.path_columns()
    try:
        task = check_task_name(cells.text("task"))
    except UserError as error:
        raise UserError(f"{cells.where}, column 'task': {error}") from error
    voxel_z_um, voxel_y_um, voxel_x_um = map(cells.positive, VOXEL_SIZE)
    return ManifestRow(
        where=cells.where,
        number=number,
        task=task,
        signal_path=cells.file(signal_column, root),
        target_path=cells.file(target_column, root),
        signal_channel=cells.choice("channel_signal") or None,
        target_channel=cells.choice("channel_target") or None,
        split=cells.split(),
        choices=tuple((n, cells.choice(n)) for n in CHOICES if cells.choice(n)),
        voxel_size_um=(voxel_z_um, voxel_y_um, voxel_x_um),
        crop=tuple(map(cells.voxel_index, CROP)),
        target_kind=cells.target_kind(),
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of one row, by column; a column that is absent reads as blank."""

    where: str
    values: dict[str, str]
    files_needed: bool
    two_files: bool
    """Whether there is no column of one file."""

    def text(self, column: str) -> str:
        value = self.values.get(column, "")
        return "" if value.lower() in _BLANK else value

    def path_columns(self) -> tuple[str, str]:
        """Return the columns of the signal's and the target's file in this row."""
        filled = [name for name in ("path", *TWO_FILES) if self.text(name)]
        if "path" in filled and len(filled) > 1:
            raise cell_error(
                self.where,
                filled[1],
                self.text(filled[1]),
                "'path' is filled, too; keep 'path' for a file with both channels, or "
                "'path_signal' and 'path_target' for two files",
            )
        if "path" in filled or not (filled or self.two_files):
            return "path", "path"
        return TWO_FILES

    def choice(self, column: str) -> str:
        """Return a cell, an index as a whole number though it is written as 1.0."""
        value = self.text(column)
        whole = _WHOLE.fullmatch(value)
        return whole[1] if whole else value

    def file(self, column: str, root: Path) -> Path:
        value = self.text(column)
        if "\\" in value and not is_there(root / value):  # written on Windows
            value = value.replace("\\", "/")
        try:
            path = user_path(value, root.absolute())
        except UserError:  # nothing can be called so
            path, found = root / value, False
        else:
            found = bool(plane_files(path)) if is_pattern(path) else is_there(path)
        if self.files_needed and not found:
            reason = not_there(path) if value else "no such file"
            remedy = (
                f"{reason}; paths are relative to {root}, or to another folder by "
                "data.root (--root DIR)"
            )
            raise cell_error(self.where, column, value, remedy)
        return path

    def split(self) -> Split | None:
        value = self.text("split")
        if value and value.lower() not in SPLIT_NAMES:
            raise cell_error(self.where, "split", value, "use train, valid or test")
        return SPLIT_NAMES[value.lower()] if value else None

    def target_kind(self) -> Projection | None:
        value = self.text(TARGET_KIND).lower()
        if value in ("", "stack"):
            return None
        found = next((kind for kind in PROJECTIONS if kind == value), None)
        if found is None:
            known = ", ".join(("stack", *PROJECTIONS))
            raise cell_error(self.where, TARGET_KIND, value, f"use one of {known}")
        return found

    def positive(self, column: str) -> float | None:
        value = self.text(column)
        if not value:
            return None
        if _THOUSANDS.fullmatch(value):
            remedy = f"is {value.replace(',', '.')} or {value.replace(',', '')} meant?"
            raise cell_error(self.where, column, value, remedy)
        try:
            number = float(value.replace(",", "."))
        except ValueError:
            number = 0.0
        if not is_voxel_length(number):
            shortest, longest = VOXEL_RANGE_UM
            remedy = f"use micrometres, from {shortest:g} to {longest:g}"
            raise cell_error(self.where, column, value, remedy)
        return number

    def voxel_index(self, column: str) -> int | None:
        value = self.choice(column)
        index = index_from(value)
        if value and index is None:
            raise cell_error(self.where, column, value, "use a whole number from 0")
        return index
