import pytest

from continual_repmode.volumes.formats.units import length_um

LENGTHS = [
    (290, "nm", 0.29), ("0.29", "µm", 0.29), (0.29, "μm", 0.29),
    (2.9e-4, "millimeters", 0.29), (0.29, "micron", 0.29), (1, "inch", 25400.0),
    (3.0, "\\u00B5m", 3.0), (2900, "angstrom", 0.29), (-2.5, "um", 2.5),
    (0.29, "micrometer", 0.29), (0.29, " Micrometres ", 0.29),
]  # fmt: skip
NO_LENGTHS: list[tuple[object, str]] = [
    (1.0, "pixel"), (1.0, ""), (1.0, "second"), (0.0, "um"), (None, "um"),
    ("wide", "um"), (float("nan"), "um"), (float("inf"), "um"), ([1], "um"),
    (10**400, "um"),
]  # fmt: skip


def test_lengths_in_any_spelling_are_micrometres() -> None:
    for value, unit, expected in LENGTHS:
        assert length_um(value, unit) == pytest.approx(expected), (value, unit)


def test_what_is_no_length_is_unknown() -> None:
    for value, unit in NO_LENGTHS:
        assert length_um(value, unit) is None, (value, unit)
