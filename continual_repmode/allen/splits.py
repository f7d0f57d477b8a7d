"""Who trains and who tests: the procedure of the paper's published code, repeated.

Per data set: shuffle the list of images with seed 42 and take the last quarter for
testing; shuffle the rest again with seed 42 and take the last tenth for validation.
DNA, per split: join the lists of all data sets in alphabetical order, shuffle twice
with one generator of seed 42, and take the first 54, 6 or 20 that have a DNA channel.
So an image that serves two tasks is on the same side in both.

The published code ships the lists of images, but not their division. On those lists
this module gives what the published procedure gives, image for image and in the same
order; that was compared for all twelve tasks. The order of a list decides everything,
though, and cannot be guessed from the names of the files. Without the published lists
(:func:`read_published_order`), names are sorted: then the counts are the paper's, and
the procedure, but not the very same images. Whether the authors ran the code as
published cannot be known.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from continual_repmode.data.collection import Split
from continual_repmode.data.splits import split_counts
from continual_repmode.errors import UserError
from continual_repmode.paths import user_path

SEED = 42
SPLITS: tuple[Split, ...] = get_args(Split)
_COLUMN = "path_czi"


def split_images(names: Sequence[str]) -> dict[Split, list[str]]:
    """Divide the images of one data set.

    ``names``: in the order of the list; another order, another division.
    Returns: ``train``, ``valid`` and ``test``, each in the order drawn.
    """
    counts = split_counts(len(names))
    kept, test = _cut(names, counts["test"])
    train, valid = _cut(kept, counts["valid"])
    return {"train": train, "valid": valid, "test": test}


def draw_dna(
    lists: Mapping[str, Mapping[Split, Sequence[str]]],
    with_dna: Sequence[str],
    num_images: int,
) -> dict[Split, list[tuple[str, str]]]:
    """Draw the images of the DNA task from the lists of the other tasks.

    ``lists``: data set -> split -> images; data sets in the order in which they are
        joined.
    ``with_dna``: data sets whose images have a DNA channel.
    ``num_images``: how many to draw in all; they are divided as those of any data set.
        Fewer if a split has not enough.
    Returns: data set and image, by split, in the order drawn.
    """
    counts = split_counts(num_images)
    drawn: dict[Split, list[tuple[str, str]]] = {}
    for split in SPLITS:
        joined = [(name, image) for name in lists for image in lists[name][split]]
        generator = _generator()
        shuffled = generator.permutation(len(joined))
        order = shuffled[generator.permutation(len(joined))]
        candidates = [joined[index] for index in order if joined[index][0] in with_dna]
        drawn[split] = candidates[: counts[split]]
    return drawn


def read_published_order(folder: str | Path, dataset: str) -> list[str]:
    """Return the names of a data set's images in the order of the published list.

    ``folder``: with the lists of the published code, ``<data set>.csv``.
    Raises UserError if there is no such list, or it is none.
    """
    path = user_path(folder) / f"{dataset}.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names = [Path(row[_COLUMN]).name for row in csv.DictReader(file)]
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such list; --published-lists takes the folder with the lists "
            "of the published code, one CSV file per data set"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a CSV file with the column {_COLUMN!r} in every row ({error})"
        ) from error
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        what = f"names {repeated[0]!r} twice" if repeated else "names no images"
        raise UserError(f"{path}: {what}; take the published list as it is")
    return names


def _cut(names: Sequence[str], num_last: int) -> tuple[list[str], list[str]]:
    """Shuffle, and part the last ones from the rest."""
    order = _generator().permutation(len(names))
    shuffled = [names[index] for index in order]
    first = len(names) - num_last
    return shuffled[:first], shuffled[first:]


def _generator() -> np.random.RandomState:
    """Return the generator of the published code; its numbers never change."""
    return np.random.RandomState(SEED)
