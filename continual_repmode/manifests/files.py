"""The files of a manifest: which there are, what their names and their text tell."""

import codecs
import csv
import io
import re
from collections import defaultdict
from collections.abc import Container
from pathlib import Path

from continual_repmode.data.collection import Split
from continual_repmode.errors import UserError
from continual_repmode.paths import is_there, not_there
from continual_repmode.tasks import TASK_OF_LABEL, TASKS
from continual_repmode.volumes.volume import check_fetched

SPLIT_NAMES: dict[str, Split] = {
    **{"train": "train", "training": "train", "test": "test"},
    **{"valid": "valid", "val": "valid", "validation": "valid"},
}
"""What splits are called, here and elsewhere."""

MAX_SHOWN = 300
"""Characters of what is in a path, cell or header that a message repeats."""
_DELIMITERS = ",;\t|"
_MAX_BYTES = 2**24
"""A hundred thousand rows: what is larger is an image, given by mistake."""


def csv_files(path: Path) -> list[Path]:
    """Return the manifests to read: the file, or the right ones of a folder.

    Raises UserError if there is no such file, or none in the folder tells a task or
        split.
    """
    if not is_there(path):
        raise UserError(f"{str(path)[:MAX_SHOWN]}: {not_there(path)}")
    if not path.is_dir():
        check_fetched(path)
        return [path]
    known: dict[tuple[str | None, bool], list[Path]] = defaultdict(list)
    for file in sorted(path.rglob("*.csv")):
        task, split = told_by_name(file)
        if (task or split) and file.is_file():
            known[task, split is not None].append(file)
    chosen = [
        files
        for (task, has_split), files in known.items()
        if has_split or (task, True) not in known
    ]
    if not chosen:
        raise UserError(
            f"{path}: holds no CSV file named after a task or split; "
            "name the manifest itself"
        )
    return sorted(file for files in chosen for file in files)


def told_by_name(file: Path) -> tuple[str | None, Split | None]:
    """Return the task and the split that the name of a manifest tells.

    A split counts next to a task (``beta_actin_train.csv``, ``train/tom20.csv``) or as
    the whole name (``train.csv``): ``quick_test.csv`` is a try-out, no list of test
    images.
    """
    stem, split = file.stem, SPLIT_NAMES.get(file.parent.name)
    if stem in SPLIT_NAMES:
        stem, split = file.parent.name, SPLIT_NAMES[stem]
    for ending, meaning in SPLIT_NAMES.items():
        if stem.endswith(f"_{ending}"):
            stem, split = stem.removesuffix(f"_{ending}"), meaning
    stem = stem.removesuffix("_czis")
    task = TASK_OF_LABEL.get(stem, stem)
    if task in TASKS:
        return task, split
    return None, split if file.stem in SPLIT_NAMES else None


def read_csv(
    path: Path, known: Container[str]
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows that hold anything, with their line numbers.

    Read as Excel, LibreOffice, pandas and R write them: UTF-8 or, with its mark,
    UTF-16; columns separated by whatever makes most of the header known: comma,
    semicolon, tab or bar; with a first line ``sep=;``; with comments that begin with
    ``#``; with known names in any case.

    ``known``: columns that mean something.
    Raises UserError if the file is empty, far too large, or no CSV text.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise UserError(
            f"{path}: {size / 1e6:.0f} MB are no manifest of images; name a CSV file "
            "with one row per pair, or cut it into several"
        )
    try:
        content = path.read_bytes()
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if marked else "utf-8-sig")
        if "\0" in text:
            raise csv.Error("it has zero bytes, as images do")
        header, rows = _best_table(text, known)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a readable CSV file ({error}); save it as UTF-8 text "
            '("CSV UTF-8" in Excel)'
        ) from error
    if not any(map(str.isalnum, "".join(header))):
        raise UserError(f"{path}: the manifest is empty")
    return header, rows


def _best_table(
    text: str, known: Container[str]
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return header and rows with the delimiter that makes most of the header known.

    Raises csv.Error if it is a table with none.
    """
    tables, faults = [], []
    for delimiter in _DELIMITERS:
        try:
            lines = _table(text, delimiter)
        except csv.Error as error:
            faults.append(error)
            continue
        if lines:
            header = [_column(name, known) for name in lines[0][1]]
            num_known = sum(name in known for name in header)
            tables.append((num_known, header, lines[1:]))
    num_known, header, rows = max(tables, key=lambda t: t[0], default=(0, [], []))
    if faults and not num_known:
        raise faults[0]
    return header, rows


def _table(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the lines that hold anything, with their numbers.

    Raises csv.Error if it is no CSV text with this delimiter.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""),
        strict=True,
        delimiter=delimiter,
        skipinitialspace=True,
    )
    lines = [
        (reader.line_num, [value.strip() for value in line])
        for line in reader
        if any(map(str.strip, line)) and not line[0].startswith("#")
    ]
    is_separator = lines and "".join(lines[0][1]).lower() in (
        "sep=",
        f"sep={delimiter}",
    )
    return lines[1:] if is_separator else lines


def _column(name: str, known: Container[str]) -> str:
    """Return a column as it is known, or as it is."""
    plain = re.sub(r"[\s-]+", "_", name.lower())
    return plain if plain in known else name
