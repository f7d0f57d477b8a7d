"""What microscopes call the same channel: names that mean one dye or one light."""

import re

_SPELLINGS = {
    "light": (
        "bright", "brightfield", "bf", "tl", "tlbrightfield", "transmitted",
        "transmittedlight", "tpmt", "dic", "phase", "phasecontrast",
    ),
    "structure": ("egfp", "gfp", "megfp"),
    "dna": ("h3342", "h33342", "hoechst", "hoechst33342", "dapi"),
    "membrane": ("cmdrp", "cellmask", "cellmaskdeepred", "draq5"),
}  # fmt: skip


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
