"""Colors of table cells: a perceptual color map under text that stays readable."""

from matplotlib import colormaps
from matplotlib.colors import to_hex

_PALE = "transparent"


def cell_style(value: float | None, low: float, high: float, *, better_up: bool) -> str:
    """Return the CSS of a cell: bright means good, on a scale from low to high.

    Values beyond an end have its color.

    >>> cell_style(1.0, 0.0, 1.0, better_up=True)
    'background:#fde725;color:#000'
    """
    if value is None:
        return f"background:{_PALE}"
    position = 0.5 if high <= low else (value - low) / (high - low)
    red, green, blue, _ = colormaps["viridis"](position if better_up else 1 - position)
    text = "#000" if _luminance(red, green, blue) > 0.179 else "#fff"
    return f"background:{to_hex((red, green, blue))};color:{text}"


def _luminance(*rgb: float) -> float:
    """Return the relative luminance (WCAG 2); beyond 0.179 black contrasts better."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
