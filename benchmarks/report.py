"""The table: Markdown made of nothing but the results on disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.records import Comparison, Measurement, SectionResult, Spread
from continual_repmode.files import replacing

BEGIN = "<!-- What follows is written by `python -m benchmarks`. -->"
END = "<!-- What was written by `python -m benchmarks` ends here. -->"

_DEVICES = {"cpu": "CPU", "cuda": "CUDA"}


def load_results(folder: Path, order: Sequence[str]) -> list[SectionResult]:
    """Read the results of all sections, those on a CPU first, in the order given."""
    return [
        SectionResult.load(path)
        for device in _DEVICES
        for section in order
        if (path := folder / f"{section}-{device}.json").exists()
    ]


def write_report(path: Path, results: Sequence[SectionResult]) -> None:
    """Put the tables between the marks of a Markdown file; keep what is around them."""
    before, after = "# Benchmarks\n\n", "\n"
    if path.exists():
        text = path.read_text(encoding="utf-8")
        if BEGIN in text and END in text:
            before, _, rest = text.partition(BEGIN)
            after = rest.partition(END)[2]
    with replacing(path) as temporary:
        text = f"{before}{BEGIN}\n\n{render(results)}\n{END}{after}"
        temporary.write_text(text, encoding="utf-8")


def render(results: Sequence[SectionResult]) -> str:
    """Return targets, measurements and their origin as Markdown."""
    lines = ["## Targets", "", *_table(_TARGET_COLUMNS, _target_rows(results)), ""]
    lines += ["## Everything measured", "", _LEGEND, ""]
    lines += [*_table(_COLUMNS, _measurement_rows(results)), ""]
    lines += ["## How it was measured", "", *_table(_ORIGIN_COLUMNS, _origins(results))]
    return "\n".join(lines) + "\n"


_LEGEND = (
    "Medians over the rounds of one run, in which the cases take turns, with the "
    "extremes in brackets. Ratios are taken round by round. Memory is the peak of one "
    "step or prediction, with its network, in a process of its own, over what the "
    "process held before; on CUDA the peak of what tensors take on the device."
)
_TARGET_COLUMNS = ("section", "case", "what", "measured", "target", "reached")
_COLUMNS = ("section", "case", "who", "measured", "memory", "compared", "notes")
_ORIGIN_COLUMNS = ("section", "command", "when (UTC)", "took", "machine", "versions")


def _target_rows(results: Sequence[SectionResult]) -> Iterator[Sequence[str]]:
    for result in results:
        for row in result.measurements:
            for comparison in row.comparisons:
                if comparison.at_most is not None:
                    target = Spread.of([comparison.at_most])
                    yield (
                        _title(result),
                        row.case,
                        f"{row.what}: {comparison.name}",
                        _value(comparison.value, comparison.unit),
                        f"at most {_value(target, comparison.unit)}",
                        _reached(comparison, comparison.at_most),
                    )


def _measurement_rows(results: Sequence[SectionResult]) -> Iterator[Sequence[str]]:
    for result in results:
        for row in result.measurements:
            yield (_title(result), *_measurement(row))


def _origins(results: Sequence[SectionResult]) -> Iterator[Sequence[str]]:
    for result in results:
        yield (
            _title(result),
            f"`{result.command}`",
            result.began,
            f"{result.wall_time_s:.0f} s",
            _listed(result.machine),
            _listed(result.versions),
        )


def _measurement(row: Measurement) -> tuple[str, str, str, str, str, str]:
    return (
        row.case,
        row.what,
        "-" if row.value is None else _value(row.value, row.unit),
        "-" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:,.0f} MB",
        "<br>".join(f"{_value(c.value, c.unit)} {c.name}" for c in row.comparisons),
        row.note,
    )


def _title(result: SectionResult) -> str:
    return f"{result.about} ({_DEVICES[result.device]})"


def _value(spread: Spread, unit: str) -> str:
    text = f"{_number(spread.median)}{'' if unit == 'x' else ' '}{unit}"
    if spread.low == spread.high:
        return text
    return f"{text} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    """Write three digits, four where a ratio is almost 1, without an exponent."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 4 if abs(value - 1) < 0.005 else 3
    return f"{float(f'{value:.{digits}g}'):g}"


def _reached(comparison: Comparison, at_most: float) -> str:
    return "yes" if comparison.value.median <= at_most else "**no**"


def _listed(entries: dict[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in entries.items())


def _table(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Lay out a table; what repeats the row above in the first columns is left out."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    above: Sequence[str] = ()
    for row in rows:
        same = 0
        while same < 2 and above[: same + 1] == tuple(row[: same + 1]):
            same += 1
        cells = ["" if i < same else cell for i, cell in enumerate(row)]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        above = tuple(row)
