"""The files of a manifest: which there are, what their names and their text tell."""

import csv
from collections import defaultdict
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
_MAX_BYTES = 2**24
"""A hundred thousand rows: what is larger is an image, given by mistake."""


def csv_files(path: Path) -> list[Path]:
    """Return the manifests to read: the file, or the right ones of a folder.

    Raises
    ------
    UserError
        If there is no such file, or none in the folder tells a task or split.
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


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows that hold anything, with their line numbers.

    Raises
    ------
    UserError
        If the file is empty, far too large, or no CSV text.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise UserError(
            f"{path}: {size / 1e6:.0f} MB are no manifest of images; name a CSV file "
            "with one row per pair, or cut it into several"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [
                (reader.line_num, [value.strip() for value in line])
                for line in reader
                if any(map(str.strip, line))
            ]
        if any("\0" in value for _, line in lines for value in line):
            raise csv.Error("it has zero bytes, as UTF-16 text and images do")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a readable CSV file ({error}); save it as UTF-8 text with "
            "commas between the columns"
        ) from error
    if not lines:
        raise UserError(f"{path}: the manifest is empty")
    return lines[0][1], lines[1:]
