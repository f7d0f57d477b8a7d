"""Which channel of an image shows what, told twice: by its name and by its place.

The images have one of three layouts. Those of most data sets have seven channels, some
of spring 2017 have four, and ``membrane_caax_63x`` has one of its own. Where names and
places disagree, one of them is wrong, and only a person can say which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from continual_repmode.errors import UserError
from continual_repmode.volumes.choices import channel_role

LIGHT, STRUCTURE, DNA, MEMBRANE = "light", "structure", "dna", "membrane"

_SEVEN: Mapping[str, int] = {MEMBRANE: 1, STRUCTURE: 3, DNA: 5, LIGHT: 6}
_FOUR: Mapping[str, int] = {MEMBRANE: 0, STRUCTURE: 1, DNA: 2, LIGHT: 3}
_CAAX: Mapping[str, int] = {MEMBRANE: 3, LIGHT: 4}

CAAX_DATASET = "membrane_caax_63x"


@dataclass(frozen=True, slots=True)
class FoundChannel:
    """A channel of an image, and on what grounds it was taken."""

    #: From 0.
    index: int
    #: As in the file; ``""`` if it has none.
    name: str
    #: ``"name"`` if the number of channels fits no layout, ``"place"`` if the name says
    #: nothing.
    grounds: str


def find_channel(
    path: Path, names: Sequence[str], role: str, dataset: str
) -> FoundChannel:
    """Return the channel of an image that shows something.

    ``role``: "light" or "structure" or "dna" or "membrane"; what is wanted.
    Raises UserError if name and place disagree, or neither says which channel it is.
    """
    place = _layout(names, dataset).get(role)
    named = [i for i, name in enumerate(names) if _shows(name, role, dataset)]
    if place is None or place >= len(names):
        if len(named) == 1:
            return FoundChannel(named[0], names[named[0]], "name")
        raise UserError(
            f"{path}: cannot tell which channel shows {role!r}: its {len(names)} "
            f"channels ({_listed(names)}) fit no layout of the collection, and "
            f"{len(named)} of the names mean it; write its row of the manifest by hand"
        )
    if place in named:
        return FoundChannel(place, names[place], "name and place")
    if not named and channel_role(names[place]) is None:
        return FoundChannel(place, names[place], "place")
    raise UserError(
        f"{path}: by its place, {role!r} is channel {place}; by the names it is "
        f"{' or '.join(map(str, named)) or 'none'}. The channels are "
        f"{_listed(names)}; write its row of the manifest by hand"
    )


def _layout(names: Sequence[str], dataset: str) -> Mapping[str, int]:
    """Return the places of an image's channels, none if it has no known layout."""
    if dataset == CAAX_DATASET:
        return _CAAX
    return {7: _SEVEN, 4: _FOUR}.get(len(names), {})


def _shows(name: str, role: str, dataset: str) -> bool:
    """Return whether a channel of this name may be the one that is wanted.

    In the cells of the CAAX data set the tagged protein is the membrane's.
    """
    found = channel_role(name)
    tagged = role == MEMBRANE and dataset == CAAX_DATASET and found == STRUCTURE
    return found == role or tagged


def _listed(names: Sequence[str]) -> str:
    """Return the channels with their names, for a message."""
    return ", ".join(f"{index} {name!r}" for index, name in enumerate(names))
