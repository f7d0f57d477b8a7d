import pytest

from continual_repmode.volumes.formats.units import length_um


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (290, "nm", 0.29), ("0.29", "µm", 0.29), (0.29, "μm", 0.29),
        (2.9e-4, "millimeters", 0.29), (0.29, "micron", 0.29), (1, "inch", 25400.0),
        (3.0, "\\u00B5m", 3.0), (2900, "angstrom", 0.29), (-2.5, "um", 2.5),
        (0.29, "micrometer", 0.29), (0.29, " Micrometres ", 0.29),
    ],
)  # fmt: skip
def test_lengths_in_any_spelling_are_micrometres(
    value: str | float, unit: str, expected: float
) -> None:
    assert length_um(value, unit) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (1.0, "pixel"), (1.0, ""), (1.0, "second"), (0.0, "um"), (None, "um"),
        ("wide", "um"), (float("nan"), "um"), (float("inf"), "um"), ([1], "um"),
        (10**400, "um"),
    ],
)  # fmt: skip
def test_what_is_no_length_is_unknown(value: object, unit: str) -> None:
    assert length_um(value, unit) is None
