"""Which channel, scene, time point, ... a name or an index means."""

import re
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from continual_repmode.errors import UserError
from continual_repmode.volumes.volume import VolumeReader, volume_shape

Choices = Mapping[str, str]
"""What to take of a file that holds more than one volume: one of ``CHOICES`` -> index
from 0, or name. They are columns of the manifest too."""

CHOICES = (
    *("scene", "time", "view", "phase", "illumination", "rotation", "block"),
    *("tile", "level"),
)
"""Names of what can be chosen. ``tile`` is one part of a mosaic or ``all`` of them;
``level`` is one resolution of an OME-Zarr."""

Z_HINT = (
    "if these are the z planes of a stack, save it with axes ZYX (tifffile: "
    "metadata={'axes': 'ZYX'}; ImageJ: Image > Properties, slices)"
)
"""What to do with a stack whose planes are stored as something else."""

_MOST_UNNAMED = 7
"""Channels of one plane each, without names, that an image may have."""

_MAX_DIGITS = 18
"""Longer numbers are no index of anything."""

_SPELLINGS = {
    "light": (
        "bright", "brightfield", "bf", "tl", "tlbrightfield", "transmitted",
        "transmittedlight", "tpmt", "dic", "phase", "phasecontrast",
    ),
    "structure": ("egfp", "gfp", "megfp"),
    "dna": ("h3342", "h33342", "hoechst", "hoechst33342", "dapi"),
    "membrane": ("cmdrp", "cellmask", "cellmaskdeepred", "draq5"),
}  # fmt: skip


class ChoiceNeededError(UserError):
    """A file holds several volumes, and none of them was chosen."""

    def __init__(self, problem: str, what: str) -> None:
        super().__init__(f"{problem}, in Python by choices={{{what!r}: '0'}}")
        self.problem, self.what = problem, what

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, self.what)


def channel_index(volume: VolumeReader, channel: int | str) -> int:
    """Return the index of a channel given by index or name.

    A name is looked for as it is, then in any case, then, if it is a usual name of
    transmitted light, EGFP, the DNA dye or the membrane dye, by any other usual name
    of the same (``Hoechst`` finds ``H3342``). A text that is a whole number may be
    either; ``index:1`` and ``name:1`` are but one.

    Raises UserError if there is no such channel, or several of that name, or one of
        that name and another of that index; lists the choices.
    """
    names = volume.channel_names
    if isinstance(channel, int):
        found = [channel] if 0 <= channel < len(names) else []
    else:
        found = _meant(volume.path, "channel", names, channel, _named)
    if len(found) == 1:
        return found[0]
    choices = ", ".join(
        f"{index} {name!r}" if name else str(index) for index, name in enumerate(names)
    )
    problem = "several channels are named" if found else "no channel"
    raise UserError(f"{volume.path}: {problem} {channel!r:.80}; choose from {choices}")


class SeveralTimesError(UserError):
    """All time points were asked for where one volume is opened.

    ``number``: how many there are.
    """

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(
            f"{path}: time 'all' is for `predict` and its --choose; choose one of 0 to "
            f"{number - 1}"
        )
        self.number = number


def chosen_index(
    path: Path,
    what: str,
    names: Sequence[str],
    choices: Choices,
    *,
    single_planes: bool = False,
) -> int:
    """Return which of several scenes, time points, ... to take.

    ``names``: of each one in the file, ``""`` where it has none; its length is their
        number.
    ``single_planes``: each has one plane only, so they may be meant to be z planes.
    Raises UserError if there are several and none was chosen, or there is none like the
        chosen one, or two may be meant.
    """
    wanted = choices.get(what)
    all_times = what == "time" and wanted == "all"
    if len(names) == 1 and (wanted is None or all_times):
        return 0
    if all_times:
        raise SeveralTimesError(path, len(names))
    found = [] if wanted is None else _meant(path, what, names, wanted, _exactly)
    if len(found) == 1:
        return found[0]
    last = len(names) - 1
    listed = f"0 to {last}" if last else "0"
    if any(names):
        listed += " (" + ", ".join(map(repr, names[:20])) + ")"
    if wanted is None:
        hint = f" ({Z_HINT})" if single_planes else ""
        raise ChoiceNeededError(
            f"{path}: holds {len(names)} of {what!r}{hint}; choose one: {listed}", what
        )
    raise UserError(f"{path}: no {what} {wanted!r:.80}; choose from {listed}")


def refuse_planes_as_channels(volume: VolumeReader) -> None:
    """Raise if what a file calls channels can hardly be but z planes."""
    num_channels = len(volume.channel_names)
    unnamed = not any(volume.channel_names)
    if volume_shape(volume)[0] == 1 and unnamed and num_channels > _MOST_UNNAMED:
        raise UserError(
            f"{volume.path}: {num_channels} channels of one plane each, without names; "
            f"{Z_HINT}; if they are channels, give them names"
        )


def refuse_other_choices(path: Path, choices: Choices, known: Container[str]) -> None:
    """Raise if a choice is made that a format does not know; 0 always is the only one.

    ``known``: what the format knows of ``CHOICES``.
    """
    for what in CHOICES:
        if what not in known:
            chosen_index(path, what, [""], choices)


def index_from(text: str) -> int | None:
    """Return the index from 0 that a text is; None if it is none."""
    return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else None


def _meant(
    path: Path,
    what: str,
    names: Sequence[str],
    wanted: str,
    named: Callable[[Sequence[str], str], list[int]],
) -> list[int]:
    """Return what a text means that may be an index or a name."""
    kind, _, rest = wanted.partition(":")
    known = wanted not in names and kind in ("index", "name")
    index = index_from(rest if known and kind == "index" else wanted)
    by_index = [index] if index is not None and index < len(names) else []
    if known:
        return by_index if kind == "index" else named(names, rest)
    by_name = named(names, wanted)
    if by_index and by_name and by_index != by_name:
        raise UserError(
            f"{path}: {what} {wanted!r} is the name of {by_name[0]} and the index of "
            f"{names[by_index[0]]!r}; write name:{wanted} or index:{wanted}"
        )
    return by_index or by_name


def _exactly(names: Sequence[str], wanted: str) -> list[int]:
    return [index for index, name in enumerate(names) if name and name == wanted]


def _named(names: Sequence[str], wanted: str) -> list[int]:
    """Return the channels of a name: exactly, in any case, or of the same meaning."""
    role = channel_role(wanted)
    for matches in (
        lambda name: name == wanted,
        lambda name: name.lower() == wanted.lower(),
        lambda name: role is not None and channel_role(name) == role,
    ):
        found = [index for index, name in enumerate(names) if name and matches(name)]
        if found:
            return found
    return []


def plain_name(name: str) -> str:
    """Return a channel name in lower case, letters and digits only.

    Endings that tell cameras and objectives apart go too: ``Bright_2`` and
    ``TL 100x`` become ``bright`` and ``tl``.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    while len(words) > 1 and re.fullmatch(
        r"\d{1,2}|\d+x|camera|t\d|tracks?", words[-1]
    ):
        words.pop()
    return "".join(words)


def channel_role(name: str) -> str | None:
    """Return what a channel of this name shows in the Allen collection.

    Returns: transmitted light, the tagged protein (EGFP), the DNA dye (Hoechst), or the
        membrane dye (CellMask Deep Red; some files name its channel DRAQ5); None for
        any other name.
    """
    plain = plain_name(name)
    for role, spellings in _SPELLINGS.items():
        if plain in spellings:
            return role
    return None
