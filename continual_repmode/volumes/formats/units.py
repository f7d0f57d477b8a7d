"""Units of length as image files spell them, in micrometres."""

import html
import math
import re
import unicodedata
from contextlib import suppress

_PREFIXES = {
    "q": ("quecto", -30), "r": ("ronto", -27), "y": ("yocto", -24),
    "z": ("zepto", -21), "a": ("atto", -18), "f": ("femto", -15), "p": ("pico", -12),
    "n": ("nano", -9), "μ": ("micro", -6), "m": ("milli", -3), "c": ("centi", -2),
    "d": ("deci", -1), "": ("", 0), "da": ("deca", 1), "h": ("hecto", 2),
    "k": ("kilo", 3), "M": ("mega", 6), "G": ("giga", 9), "T": ("tera", 12),
    "P": ("peta", 15), "E": ("exa", 18), "Z": ("zetta", 21), "Y": ("yotta", 24),
    "R": ("ronna", 27), "Q": ("quetta", 30),
}  # fmt: skip
_METRES = {
    ("m", "meter", "metre"): 1.0, ("Å", "angstrom", "ångström", "ångstrom"): 1e-10,
    ("in", "inch", "inche", '"'): 0.0254, ("thou", "mil"): 25.4e-6,
    ("li", "line"): 0.0254 / 12, ("ft", "foot", "feet"): 0.3048,
    ("yd", "yard"): 0.9144, ("mi", "mile"): 1609.344,
    ("pt", "point"): 0.0254 / 72, ("ua", "au", "astronomical unit"): 149597870700.0,
    ("ly", "light year", "lightyear"): 9460730472580800.0,
    ("pc", "parsec"): 3.0856775814913673e16,
}  # fmt: skip
_MICROMETRES = {
    **{
        spelling: float(f"1e{power + 6}")
        for symbol, (name, power) in _PREFIXES.items()
        for spelling in (f"{symbol}m", f"{name}meter", f"{name}metre")
    },
    **{name: metres * 1e6 for names, metres in _METRES.items() for name in names},
    **dict.fromkeys(("um", "micron", "micro m"), 1.0),
}
"""All lengths that OME and NGFF have, by symbol and name, and ImageJ's spellings."""

_IN_ANY_CASE = {
    **{unit.lower(): um for unit, um in reversed(_MICROMETRES.items())},
    **{unit: um for unit, um in _MICROMETRES.items() if unit.islower()},
}
_ESCAPED = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2}))")


def unit_um(unit: str) -> float | None:
    r"""Return the micrometres in a unit, None if it is no length.

    ``unit``: as OME-TIFF (``µm``), ImageJ (``micron``, ``\u00B5m`` written out) and
        NGFF (``micrometer``) spell it, with any prefix of the SI. Characters may be
        escaped as Java, HTML and XML do, or composed of several. A plural s does not
        matter, nor case where it makes no other unit (``Mm`` is no ``mm``).
    """
    text = _ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), unit)
    text = html.unescape(text)
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")  # Âµ: UTF-8 read as Latin-1
    text = unicodedata.normalize("NFKC", text).strip()
    for known, spelling in ((_MICROMETRES, text), (_IN_ANY_CASE, text.lower())):
        for candidate in (spelling, spelling.removesuffix("s")):
            if candidate in known:
                return known[candidate]
    return None


def length_um(value: object, unit: str) -> float | None:
    """Return a length in micrometres, None if it cannot be one.

    ``value``: its sign does not matter: ImageJ writes a negative depth for reversed
        stacks. Zero is what programs write that do not know.
    ``unit``: see :func:`unit_um`.
    """
    position = position_um(value, unit)
    return abs(position) if position else None


def position_um(value: object, unit: str) -> float | None:
    """Return a position in micrometres, None if it cannot be one.

    ``unit``: see :func:`unit_um`.
    """
    scale = unit_um(unit)
    if scale is None or not isinstance(value, str | int | float):
        return None
    try:
        position = float(value) * scale
    except (ValueError, OverflowError):
        return None
    return position if math.isfinite(position) else None
