"""What the data check says about the manifest of a run, if it is still there."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from continual_repmode.errors import UserError
from continual_repmode.manifests.check import Check, check_manifest
from continual_repmode.manifests.checks.checked_pair import CheckedPair
from continual_repmode.reporting.run_content import RunContent
from continual_repmode.reporting.run_facts import by_sides, manifest_path
from continual_repmode.tasks import display_name

_MOST_FINDINGS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRow:
    """The volumes of one structure, as the manifest lists them now."""

    name: str
    num_images: dict[str, int]
    formats: str
    shapes: str
    channels: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSection:
    """The data check of a run."""

    #: What was checked, or why nothing was.
    note: str
    rows: list[DataRow]
    #: Severity and line.
    findings: Sequence[tuple[str, str]]
    #: Findings beyond those told.
    num_more: int = 0


def data_section(run: RunContent) -> DataSection | None:
    """Check the headers of a run's volumes; None if they were generated."""
    path = manifest_path(run)
    if path is None:
        return None
    if not path.exists():
        return _nothing(
            f"{path} is not here any more, so its volumes cannot be looked at; "
            "a run folder does not keep the findings."
        )
    z, y, x = run.setting("data.patch_size") or (1, 1, 1)
    names = ("root", "voxel_size_um", "source_voxel_size_um", "seed")
    settings = {name: run.setting(f"data.{name}") for name in names}
    tasks = [task for names in run.planned or [] for task in names] or None
    try:
        check = check_manifest(
            path,
            tasks=tasks,
            patch_size=(z, y, x),
            pad_small=bool(run.setting("data.pad_small")),
            voxels="none",
            **{name: value for name, value in settings.items() if value is not None},
        )
    except UserError as error:
        return _nothing(f"The check could not be done: {error}")
    return _section(path.name, check)


def _section(name: str, check: Check) -> DataSection:
    tasks = dict.fromkeys(pair.task for pair in check.pairs)
    findings = [(f.severity, f.line()) for f in check.findings]
    return DataSection(
        note=(
            f"{name} and the headers of its files as they are now, not as they were "
            "when the run began; pixels were not read (continual-repmode check does)."
        ),
        rows=[_row([p for p in check.pairs if p.task == task]) for task in tasks],
        findings=findings[:_MOST_FINDINGS],
        num_more=max(0, len(findings) - _MOST_FINDINGS),
    )


def _row(pairs: Sequence[CheckedPair]) -> DataRow:
    return DataRow(
        name=display_name(pairs[0].task),
        num_images=dict(Counter(pair.split for pair in pairs)),
        formats=_distinct([pair.format for pair in pairs]),
        shapes=_distinct([by_sides(pair.shape) for pair in pairs]),
        channels=_distinct(
            [f"{pair.signal_channel} → {pair.target_channel}" for pair in pairs]
        ),
    )


def _distinct(texts: Sequence[str]) -> str:
    """Return the different texts, the most frequent first; at most three."""
    found = [text for text, _ in Counter(texts).most_common()]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more


def _nothing(note: str) -> DataSection:
    return DataSection(note=note, rows=[], findings=[])
