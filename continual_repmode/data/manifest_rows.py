"""The text of a manifest: a CSV file with one row per pair of volumes."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from continual_repmode.data.collection import Split
from continual_repmode.data.volumes import VoxelSize
from continual_repmode.errors import UserError
from continual_repmode.tasks import check_task_name

ONE_FILE = ("path", "channel_signal", "channel_target")
TWO_FILES = ("path_signal", "path_target")
VOXEL_SIZE = ("voxel_size_z_um", "voxel_size_y_um", "voxel_size_x_um")
CROP = ("z0", "z1", "y0", "y1", "x0", "x1")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One row, its cells converted but not yet compared with the files.

    Attributes
    ----------
    where : str
        Manifest and row number, for messages.
    number : int
        Line of the CSV file; the header is line 1.
    signal_path, target_path : Path
        Absolute; the same file if it holds both channels.
    signal_channel, target_channel : int, str or None
        Index from 0, or name; None where the file must have one channel.
    split : {"train", "valid", "test"} or None
        None where the split is left to chance.
    voxel_size_um : tuple
        Voxel size (z, y, x) to use instead of the file's, None per axis where blank.
    crop : tuple
        ``z0, z1, y0, y1, x0, x1`` in raw voxels, None where blank.
    """

    where: str
    number: int
    task: str
    signal_path: Path
    target_path: Path
    signal_channel: int | str | None
    target_channel: int | str | None
    split: Split | None
    voxel_size_um: VoxelSize
    crop: tuple[int | None, ...]


def cell_error(where: str, column: str, value: object, remedy: str) -> UserError:
    """Return the error that points at one cell."""
    return UserError(f"{where}, column {column!r}: {str(value)!r}: {remedy}")


def read_rows(path: Path) -> list[ManifestRow]:
    """Read a manifest and convert its cells.

    Raises
    ------
    UserError
        If it is missing, no CSV, empty, lacks columns, or a cell cannot be right.
    """
    header, lines = _read_csv(path)
    columns = _path_columns(path, header)
    rows = []
    for number, values in lines:
        where = f"{path}: row {number}"
        if len(values) > len(header):
            raise UserError(
                f"{where}: {len(values)} values for {len(header)} columns; "
                "put values that contain a comma in double quotes"
            )
        cells = dict(zip(header, values, strict=False))
        rows.append(_row(_Cells(where, cells), number, path.parent, columns))
    if not rows:
        raise UserError(f"{path}: has no rows below its header")
    split_known = {row.split is not None for row in rows}
    if len(split_known) == 2:
        blank = next(row for row in rows if row.split is None)
        raise cell_error(blank.where, "split", "", "fill it in every row or in none")
    return rows


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows that hold anything, with their line numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [
                (reader.line_num, [value.strip() for value in line]) for line in reader
            ]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such manifest") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a readable CSV file ({error}); save it as UTF-8 text with "
            "commas between the columns"
        ) from error
    lines = [(number, line) for number, line in lines if any(line)]
    if not lines:
        raise UserError(f"{path}: the manifest is empty")
    return lines[0][1], lines[1:]


def _path_columns(path: Path, header: Sequence[str]) -> tuple[str, str]:
    """Return the columns of the signal's and the target's file."""
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise UserError(f"{path}: column {repeated[0]!r} appears twice; rename one")
    one_file, two_files = "path" in header, set(TWO_FILES) & set(header)
    if one_file and two_files:
        raise UserError(
            f"{path}: has column 'path' and {min(two_files)!r}; keep 'path' for files "
            "with both channels, or 'path_signal' and 'path_target' for two files"
        )
    needed = ("task", *(TWO_FILES if two_files else ONE_FILE))
    missing = [name for name in needed if name not in header]
    if missing:
        raise UserError(
            f"{path}: has no column {', '.join(map(repr, missing))}; needed are "
            f"task and {', '.join(ONE_FILE)} (both channels in one file), or task and "
            f"{', '.join(TWO_FILES)}; found {', '.join(header)}"
        )
    return TWO_FILES if two_files else ("path", "path")


def _row(
    cells: "_Cells", number: int, folder: Path, columns: tuple[str, str]
) -> ManifestRow:
    signal_column, target_column = columns
    try:
        task = check_task_name(cells.text("task"))
    except UserError as error:
        raise UserError(f"{cells.where}, column 'task': {error}") from error
    voxel_z_um, voxel_y_um, voxel_x_um = map(cells.positive, VOXEL_SIZE)
    return ManifestRow(
        where=cells.where,
        number=number,
        task=task,
        signal_path=cells.file(signal_column, folder),
        target_path=cells.file(target_column, folder),
        signal_channel=cells.channel("channel_signal"),
        target_channel=cells.channel("channel_target"),
        split=cells.split(),
        voxel_size_um=(voxel_z_um, voxel_y_um, voxel_x_um),
        crop=tuple(map(cells.voxel_index, CROP)),
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of one row, by column; a column that is absent reads as blank."""

    where: str
    values: dict[str, str]

    def text(self, column: str) -> str:
        return self.values.get(column, "")

    def file(self, column: str, folder: Path) -> Path:
        value = self.text(column)
        path = (folder / value).resolve()
        if not value or not path.exists():
            remedy = f"no such file; paths are relative to {folder}"
            raise cell_error(self.where, column, value, remedy)
        return path

    def channel(self, column: str) -> int | str | None:
        value = self.text(column)
        return int(value) if value.isdecimal() else value or None

    def split(self) -> Split | None:
        value = self.text("split")
        choices: tuple[Split, ...] = get_args(Split)
        for choice in choices:
            if value == choice:
                return choice
        if value:
            raise cell_error(self.where, "split", value, f"use {', '.join(choices)}")
        return None

    def positive(self, column: str) -> float | None:
        value = self.text(column)
        if not value:
            return None
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise cell_error(self.where, column, value, "use micrometres above 0")
        return number

    def voxel_index(self, column: str) -> int | None:
        value = self.text(column)
        if value and not value.isdecimal():
            raise cell_error(self.where, column, value, "use a whole number from 0")
        return int(value) if value else None
