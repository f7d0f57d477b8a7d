"""What a benchmark measured, as plain values that go to JSON and back."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from continual_repmode.files import replacing


@dataclass(frozen=True)
class Spread:
    """Median and extremes of the rounds of one run."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        listed = list(values)
        return cls(statistics.median(listed), min(listed), max(listed))

    @classmethod
    def ratio(cls, above: Sequence[float], below: Sequence[float]) -> Self:
        """Divide round by round: what slows a whole round down cancels out.

        Where one was measured less often, only the rounds of both count.
        """
        return cls.of(a / b for a, b in zip(above, below, strict=False))


@dataclass(frozen=True)
class Comparison:
    """A measurement against another one, and what it should be.

    Attributes
    ----------
    name : str
        What is compared with what, such as ``time over plain``.
    value : Spread
    unit : str
        ``x`` for a ratio.
    at_most : float or None
        The target, in the same unit.
    """

    name: str
    value: Spread
    unit: str = "x"
    at_most: float | None = None


@dataclass(frozen=True)
class Measurement:
    """One row of the table.

    Attributes
    ----------
    case : str
        What was done: sizes, tasks, input.
    what : str
        Who did it.
    value : Spread or None
        None if it could not be measured; ``note`` then says why.
    unit : str
    memory_bytes : int or None
        Peak over what the process held after its imports.
    comparisons : tuple of Comparison
    note : str
    """

    case: str
    what: str
    value: Spread | None
    unit: str
    memory_bytes: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class SectionResult:
    """All rows of one section, and where they come from.

    Attributes
    ----------
    section, about : str
        Its name and one line that says what it measures.
    device : str
        ``cpu`` or ``cuda``.
    began : str
        Date and time in UTC, ISO 8601.
    wall_time_s : float
    command : str
    machine, versions : dict of str to str
    measurements : tuple of Measurement
    """

    section: str
    about: str
    device: str
    began: str
    wall_time_s: float
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    measurements: tuple[Measurement, ...]

    @property
    def file_name(self) -> str:
        return f"{self.section}-{self.device}.json"

    def save(self, folder: Path) -> None:
        """Write the result to its file in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1) + "\n"
        with replacing(folder / self.file_name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        entries = json.loads(path.read_text(encoding="utf-8"))
        rows = [_measurement(row) for row in entries.pop("measurements")]
        return cls(**entries, measurements=tuple(rows))


def _measurement(row: dict[str, Any]) -> Measurement:
    value = row.pop("value")
    comparisons = [
        Comparison(**(entry | {"value": Spread(**entry["value"])}))
        for entry in row.pop("comparisons")
    ]
    return Measurement(
        **row,
        value=None if value is None else Spread(**value),
        comparisons=tuple(comparisons),
    )
