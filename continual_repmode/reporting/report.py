"""Writes the report: run folders in, one HTML file out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from continual_repmode import __version__
from continual_repmode.errors import UserError
from continual_repmode.files import write_whole
from continual_repmode.paths import user_path
from continual_repmode.reporting.calibration_section import (
    CalibrationSection,
    calibration_sections,
)
from continual_repmode.reporting.data_section import DataSection, data_section
from continual_repmode.reporting.run_content import RunContent, read_run
from continual_repmode.reporting.run_facts import (
    Fact,
    duration,
    facts_of,
    model_name,
    wall_time_s,
)
from continual_repmode.reporting.run_figures import (
    ReportFigure,
    forgetting_figure,
    run_figures,
)
from continual_repmode.reporting.sample_strips import VOLUMES, Sample, read_samples
from continual_repmode.reporting.score_tables import (
    REPORTED,
    ScoreTable,
    TaskLine,
    compared_tables,
    mean_forgetting,
    overall,
    result_tables,
    task_lines,
)
from continual_repmode.tasks import display_name

_TEMPLATE = "report.html.jinja"
_MOST_PANELS = 4
"""Runs whose forgetting is drawn side by side; with more the panels are too small."""
_WIDE = 3
"""Columns from which on tables do not stand side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSection:
    """Everything that the template shows of one run."""

    anchor: str
    label: str
    content: RunContent
    facts: list[Fact]
    tasks: list[TaskLine]
    tables: list[ScoreTable]
    figures: dict[str, ReportFigure]
    samples: list[Sample]
    data: DataSection | None

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Return anchor and title of each part that there is something in."""
        parts = [
            ("summary", "Summary", True),
            ("scores", "Scores", bool(self.tables)),
            ("forgetting", "Forgetting and proofs", bool(self.tables)),
            ("learning", "Learning", bool(self.content.records)),
            (
                "reference",
                "Against a network from scratch",
                self.content.reference is not None,
            ),
            ("images", "How many images", self.content.image_curve is not None),
            ("gates", "Gating weights", "gating" in self.figures),
            ("samples", "Predictions", bool(self.samples)),
            ("data", "Data check", self.data is not None),
            ("repeat", "Hashes, how to repeat", True),
        ]
        return [(name, title) for name, title, is_there in parts if is_there]


def write_report(
    folders: Sequence[str | Path],
    path: str | Path,
    *,
    predicted: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> Path:
    """Write one HTML file about run folders; it needs no other file and no network.

    Parameters
    ----------
    folders : sequence of str or Path
        At least one; several are also compared. Runs that were stopped are shown as
        far as they came.
    path : str or Path
        The file to write.
    predicted : sequence of str or Path
        Folders that ``predict --uncertainty --target`` has written: errors against
        predicted deviations are shown.
    overwrite : bool
        Replace the file if it exists.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    UserError
        If a folder is no run folder or was written by a newer version, one of
        ``predicted`` has no such predictions, or the file exists.
    """
    path = user_path(path)
    _check_target(path, overwrite=overwrite)
    places = [user_path(folder) for folder in folders]
    resolved = [folder.resolve() for folder in places]
    for folder in resolved:
        if resolved.count(folder) > 1:
            raise UserError(f"{folder}: is named twice; name every run folder once")
    if not folders:
        raise UserError("no run folder was named; name at least one")
    calibrations = calibration_sections(predicted)
    runs = [read_run(folder) for folder in places]
    text = _render(runs, calibrations)
    write_whole(path, text)
    return path


def labels_of(runs: Sequence[RunContent]) -> list[str]:
    """Return a short name of every run: what tells them apart, else their folders."""
    features = [
        [str(run.header.get("strategy") or "run") for run in runs],
        [f"network {name}" if (name := model_name(run)) else "" for run in runs],
        [str(run.header.get("scenario") or "") for run in runs],
        [f"seed {run.header.get('seed')}" for run in runs],
    ]
    telling = [names for names in features if len(set(names)) > 1] or features[::2]
    labels = [", ".join(filter(None, of_run)) for of_run in zip(*telling, strict=True)]
    if len(set(labels)) == len(labels):
        return labels
    names = [run.folder.path.resolve().name for run in runs]
    together = [f"{a} ({b})" for a, b in zip(features[0], names, strict=True)]
    if len(set(together)) == len(together):
        return together
    return [f"{label} {number}" for number, label in enumerate(together, start=1)]


def _check_target(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file, such as report.html")
    if path.exists() and not overwrite:
        raise UserError(
            f"{path}: exists already; choose another name (--out) or allow it to be "
            "replaced (--overwrite)"
        )


def _render(
    runs: Sequence[RunContent], calibrations: Sequence[CalibrationSection]
) -> str:
    sections = [
        _section(f"run{number}", label, run)
        for number, (label, run) in enumerate(
            zip(labels_of(runs), runs, strict=True), start=1
        )
    ]
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            runs=sections,
            comparison=_comparison(sections) if len(sections) > 1 else None,
            calibrations=calibrations,
            metrics=REPORTED,
            volumes=VOLUMES,
            version=__version__,
            written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "duration": duration,
        "structure": display_name,
    }
    return environment


def _section(anchor: str, label: str, run: RunContent) -> RunSection:
    lines = task_lines(run)
    samples = read_samples(
        run.folder,
        [line.task for line in lines],
        run.header.get("voxel_size_um"),
        run.problems,
    )
    return RunSection(
        anchor=anchor,
        label=label,
        content=run,
        facts=facts_of(run),
        tasks=lines,
        tables=[] if run.results is None else result_tables(run.results),
        figures=run_figures(run),
        samples=samples,
        data=data_section(run),
    )


def _comparison(sections: Sequence[RunSection]) -> Mapping[str, Any]:
    """Return what is said about several runs together."""
    labels = [section.label for section in sections]
    tested = {s.label: s.content.results for s in sections if s.content.results}
    streams = {n: r for n, r in tested.items() if len(r["experiences"]) > 1}
    drawn = 1 < len(streams) <= _MOST_PANELS
    return {
        "rows": [
            {
                "section": section,
                "overall": {name: overall(section.content, name) for name in REPORTED},
                "forgetting": {
                    name: mean_forgetting(section.content, name) for name in REPORTED
                },
                "wall_time_s": wall_time_s(section.content),
            }
            for section in sections
        ],
        "tables": compared_tables([s.content for s in sections], labels),
        "wide": len(tested) > _WIDE,
        "figure": forgetting_figure(streams) if drawn else None,
    }


def _number(value: float | None) -> str:
    """Return a score with three digits; what is not known is a dash.

    Only what is exactly zero is "0".

    >>> _number(0.12345), _number(0.0)
    ('0.123', '0')
    """
    if value is None or value == 0:
        return "\N{EN DASH}" if value is None else "0"
    return f"{value:.3f}"
