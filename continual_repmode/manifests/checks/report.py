"""The data check as text for a terminal, and as JSON for programs."""

import json
import textwrap
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Any, get_args

from continual_repmode.data.collection import Split
from continual_repmode.manifests.checks.checked_pair import (
    CheckedPair,
    Finding,
    Severity,
)
from continual_repmode.manifests.checks.facts import to_json as facts_to_json
from continual_repmode.manifests.checks.findings import worst

WIDTH = 100
"""Columns of the report."""
NUM_SHOWN: dict[Severity, int] = {"error": 10, "warning": 3, "note": 3}
"""Findings of one kind that are told in full, unless all are asked for."""
NUM_NAMED = 3
"""Formats or channels of one task that are named."""

_HEADINGS: dict[Severity, str] = {
    "error": "ERRORS: a run would not start",
    "warning": "WARNINGS: a run would start, but look at these first",
    "note": "NOTES",
}


def format_report(
    pairs: Sequence[CheckedPair], findings: Sequence[Finding], verbose: bool = False
) -> str:
    """Return what is there, what is wrong, and a verdict.

    ``verbose``: tell every finding; otherwise the first ones of each kind and the
        number of the others.
    """
    manifests = {pair.where.rpartition(": row ")[0] for pair in pairs} - {""}
    blocks = [", ".join(sorted(manifests)), _table(pairs)] if pairs else []
    for severity in get_args(Severity):
        found = [finding for finding in findings if finding.severity == severity]
        if found:
            lines = _told(found, None if verbose else NUM_SHOWN[severity], manifests)
            blocks.append("\n".join([_HEADINGS[severity], *lines]))
    blocks.append(_verdict(pairs, findings) + _registration(pairs))
    return "\n\n".join(blocks)


def to_json(pairs: Sequence[CheckedPair], findings: Sequence[Finding]) -> str:
    """Return everything that was measured and found as a JSON text.

    Its ``status`` is that of :func:`continual_repmode.manifests.checks.findings.worst`.
    """
    report = {
        "status": worst(findings),
        "findings": [{**asdict(f), "line": f.line()} for f in findings],
        "pairs": [_pair_to_json(pair) for pair in pairs],
    }
    return json.dumps(report, indent=2, ensure_ascii=False)


def _pair_to_json(pair: CheckedPair) -> dict[str, Any]:
    facts = None if pair.facts is None else facts_to_json(pair.facts)
    return {**asdict(pair), "facts": facts}


def _told(
    findings: Sequence[Finding], limit: int | None, manifests: Collection[str]
) -> Iterator[str]:
    """Yield the lines of findings of one severity, those of a kind together.

    A lone manifest, which stands above the table, is not repeated in every line.
    """
    for code in dict.fromkeys(finding.code for finding in findings):
        alike = [finding for finding in findings if finding.code == code]
        shown = alike if limit is None or len(alike) <= limit + 1 else alike[:limit]
        for finding in shown:
            line = finding.line()
            if len(manifests) == 1:
                line = line.removeprefix(f"{next(iter(manifests))}: ")
            yield _wrapped(line, "  - ", "    ")
        others = len(alike) - len(shown)
        if others:
            yield f"    ... and {others} more like this ({code}); --verbose names them"


def _verdict(pairs: Sequence[CheckedPair], findings: Sequence[Finding]) -> str:
    """Return the last line."""
    counts = Counter(finding.severity for finding in findings)
    found = ", ".join(
        _count(counts[severity], severity)
        for severity in get_args(Severity)
        if counts[severity]
    )
    looked_at = _count(len(pairs), "pair")
    if any(pair.facts is None for pair in pairs):
        looked_at += " (headers only)"
    match worst(findings):
        case 2:
            return f"Not fit for a run: {found}; {looked_at} checked."
        case 3:
            return f"Fit for a run, with {found}; {looked_at} checked."
        case _:
            return f"Fit for a run: {found or 'nothing found'}; {looked_at} checked."


def _registration(pairs: Sequence[CheckedPair]) -> str:
    """Return of how many pairs nobody can tell whether they are registered."""
    measured = [pair.facts for pair in pairs if pair.facts]
    unknown = sum(facts.shift_yx_px is None for facts in measured)
    if not unknown:
        return ""
    whose = "1 pair shows" if unknown == 1 else f"{unknown} pairs show"
    return f"\n{whose} too little in common to tell whether they are registered."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _table(pairs: Sequence[CheckedPair]) -> str:
    """Return one line of numbers per task, and below it which channels it takes."""
    splits = get_args(Split)
    rows = [["task", *splits, "format", "voxels (z, y, x)"]]
    details = [""]
    for task in dict.fromkeys(pair.task for pair in pairs):
        alike = [pair for pair in pairs if pair.task == task]
        counts = Counter(pair.split for pair in alike)
        rows.append(
            [
                task,
                *(str(counts[split]) for split in splits),
                _names([pair.format for pair in alike]),
                _ranges([pair.shape for pair in alike]),
            ]
        )
        light = _names([pair.signal_channel for pair in alike])
        target = _names([pair.target_channel for pair in alike])
        voxels = _ranges([pair.voxel_size_um for pair in alike])
        detail = f"light {light}, target {target}, voxels of {voxels} µm"
        details.append("\n" + _wrapped(detail, "    ", "    "))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        _aligned(row, widths) + detail
        for row, detail in zip(rows, details, strict=True)
    )


def _wrapped(text: str, first: str, later: str) -> str:
    """Break a text into lines, names and numbers in one piece."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return the cells in columns, counts to the right."""
    cells = [
        cell.rjust(width) if cell.isdecimal() else cell.ljust(width)
        for cell, width in zip(row, widths, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _ranges(sizes: Sequence[Sequence[float]]) -> str:
    """Return the lengths along z, y and x, each as a range if they differ."""
    texts = []
    for lengths in zip(*sizes, strict=True):
        low, high = f"{min(lengths):.3g}", f"{max(lengths):.3g}"
        texts.append(low if low == high else f"{low}..{high}")
    return " x ".join(texts)


def _names(names: Sequence[str]) -> str:
    """Return the different names, the most frequent first."""
    distinct = [name for name, _ in Counter(names).most_common()]
    more = len(distinct) - NUM_NAMED
    return " / ".join(distinct[:NUM_NAMED]) + (f" and {more} more" if more > 0 else "")
