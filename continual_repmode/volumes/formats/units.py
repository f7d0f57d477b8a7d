"""Units of length as image files spell them, in micrometres."""

import math

_MICROMETRES = {
    "pm": 1e-6, "picometer": 1e-6, "picometre": 1e-6,
    "å": 1e-4, "angstrom": 1e-4, "ångström": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "µm": 1.0, "um": 1.0, "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "inch": 25400.0, "in": 25400.0, "m": 1e6, "meter": 1e6, "metre": 1e6,
}  # fmt: skip


def unit_um(unit: str) -> float | None:
    r"""Return the micrometres in a unit, None if it is no length.

    Parameters
    ----------
    unit : str
        As OME-TIFF (``µm``), ImageJ (``micron``, ``\u00B5m`` written out) and NGFF
        (``micrometer``) spell it; case and a plural s do not matter.
    """
    unit = unit.replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("μ", "µ")
    unit = unit.strip().lower()
    return _MICROMETRES.get(unit, _MICROMETRES.get(unit.removesuffix("s")))


def length_um(value: object, unit: str) -> float | None:
    """Return a length in micrometres, None if it cannot be one.

    Parameters
    ----------
    value : str or float
        Its sign does not matter: ImageJ writes a negative depth for reversed stacks.
        Zero is what programs write that do not know.
    unit : str
        See :func:`unit_um`.
    """
    scale = unit_um(unit)
    if scale is None or not isinstance(value, str | int | float):
        return None
    try:
        length = abs(float(value)) * scale
    except (ValueError, OverflowError):
        return None
    return length if math.isfinite(length) and length > 0 else None
