import pytest
from ome_types.model import UnitsLength

from continual_repmode.volumes.formats.units import length_um, unit_um

LENGTHS = [
    (290, "nm", 0.29), ("0.29", "µm", 0.29), (0.29, "μm", 0.29),
    (2.9e-4, "millimeters", 0.29), (0.29, "micron", 0.29), (1, "inch", 25400.0),
    (3.0, "\\u00B5m", 3.0), (2900, "angstrom", 0.29), (-2.5, "um", 2.5),
    (0.29, "micrometer", 0.29), (0.29, " Micrometres ", 0.29), (1, "Mm", 1e12),
    (3.0, "\\u03BCm", 3.0), (3.0, "\\xb5m", 3.0), (3.0, "&micro;m", 3.0),
    (3.0, "&#181;m", 3.0), (3.0, "Âµm", 3.0), (3.0, "㎛", 3.0), (3.0, "UM", 3.0),
    (3, "\\u00C5", 3e-4), (3, "\\u212B", 3e-4), (3, "\\u00c5ngstr\\u00f6m", 3e-4),
    (3, "A\u030angstro\u0308ms", 3e-4), (2, "hectometer", 2e8), (2, "dam", 2e7),
    (2, "yd", 1828800.0), (2, "feet", 609600.0), (3, "thou", 76.2), (1, "fm", 1e-9),
]  # fmt: skip
NO_LENGTHS: list[tuple[object, str]] = [
    (1.0, "pixel"), (1.0, ""), (1.0, "second"), (0.0, "um"), (None, "um"),
    ("wide", "um"), (float("nan"), "um"), (float("inf"), "um"), ([1], "um"),
    (10**400, "um"), (1.0, "reference frame"), (1.0, "s"), (1.0, "\\u00B5s"),
]  # fmt: skip


def test_lengths_in_any_spelling_are_micrometres() -> None:
    for value, unit, expected in LENGTHS:
        assert length_um(value, unit) == pytest.approx(expected), (value, unit)


def test_what_is_no_length_is_unknown() -> None:
    for value, unit in NO_LENGTHS:
        assert length_um(value, unit) is None, (value, unit)


def test_all_lengths_of_ome_are_known() -> None:
    for unit in UnitsLength:
        known = unit_um(unit.value) is not None
        assert known == (unit.value not in ("pixel", "reference frame")), unit
