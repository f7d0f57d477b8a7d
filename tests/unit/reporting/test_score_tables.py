import re

import numpy as np

from continual_repmode.reporting.score_tables import cell_style


def luminance(color: str) -> float:
    if len(color) == 4:
        color = "#" + "".join(2 * digit for digit in color[1:])
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_text_is_readable_on_every_color():
    for value in np.linspace(-1, 1, 41):
        colors = re.findall(r"#\w+", cell_style(value, -1, 1, better_up=True))
        dark, bright = sorted(map(luminance, colors))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, value  # WCAG 2, level AA


def test_bright_means_good_whichever_way_is_up():
    up = cell_style(0.9, 0, 1, better_up=True)
    assert up == cell_style(0.1, 0, 1, better_up=False)
    assert up != cell_style(0.9, 0, 1, better_up=False)


def test_one_value_alone_has_a_color():
    assert "#" in cell_style(0.5, 0.5, 0.5, better_up=True)


def test_no_value_has_none():
    assert cell_style(None, 0, 1, better_up=True) == "background:transparent"
