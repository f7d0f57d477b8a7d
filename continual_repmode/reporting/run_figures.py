"""The figures of a run for the report: those of the folder, or drawn again."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from continual_repmode.analysis._figure import DOTS_PER_INCH
from continual_repmode.analysis.gating import (
    GatingRow,
    load_gating,
    read_gating_weights,
)
from continual_repmode.analysis.plots import (
    plot_extent_profile,
    plot_forgetting,
    plot_gate_distances,
    plot_gating,
    plot_gating_overview,
    plot_learning_curves,
    plot_scale_preference,
)
from continual_repmode.analysis.preferences import earlier_tasks, gate_distances
from continual_repmode.errors import UserError
from continual_repmode.reporting.run_content import RunContent
from continual_repmode.reporting.sample_strips import data_uri
from continual_repmode.results import RunFolder

_SCREEN_DPI = 96
_TITLE_LENGTH = 26
_CAPTIONS = {
    "learning_curves": (
        "Error on training patches and on whole validation images, per experience. The "
        "circle marks the epoch whose weights were kept."
    ),
    "forgetting": (
        "R² of each structure right after it was learned (open circle) and after "
        "later experiences (dots). Where they coincide, nothing was forgotten."
    ),
    "gating": (
        "How much each structure uses each expert, in the block of the encoder and of "
        "the decoder where structures differ most. Right of the dotted line an expert "
        "gets more than an equal share."
    ),
    "gating_overview": (
        "The same for every block: rows are blocks from input to output, columns are "
        "experts; orange is more than an equal share, purple less."
    ),
    "scale_preference": (
        "Kernel extent that each structure prefers, averaged with its gating weights, "
        "from small structures to large ones."
    ),
    "extent_profile": (
        "Preferred kernel extent from the input of the network to its output: each "
        "structure (thin) and the mean of all (thick)."
    ),
    "gate_distances": (
        "How far the gates of each added structure are from those of earlier ones, the "
        "nearest on top: 0 is the same, 1 is no expert in common."
    ),
    "calibration": (
        "Errors against predicted deviations, ten classes of voxels for each image. On "
        "the dashed line both are equal."
    ),
    "images": (
        "Validation error against the number of training images: where the curve is "
        "flat, more images would help little."
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFigure:
    """A picture in the report."""

    name: str
    #: The PNG as a data URI.
    uri: str
    #: In CSS pixels: figures have more pixels than are needed on a plain screen.
    width: int
    height: int
    #: What one sees; also the text for those who do not.
    caption: str


def run_figures(run: RunContent) -> dict[str, ReportFigure]:
    """Return the figures of a run by name; what cannot be drawn is left out.

    A line for it is added to the problems of the run.
    """
    drawings = _drawings(run)
    if run.image_curve is not None:
        drawings["images"] = None
    found = {}
    for name, draw in drawings.items():
        try:
            content = _png(run.folder.figures / f"{name}.png", draw)
            found[name] = report_figure(name, content)
        except UserError as error:
            run.problems.append(str(error))
    return found


def forgetting_figure(runs: Mapping[str, Mapping[str, Any]]) -> ReportFigure:
    """Draw the scores of several runs over their streams, side by side.

    ``runs``: label -> content of its ``results.json``.
    """
    titled = {fill(label, _TITLE_LENGTH): results for label, results in runs.items()}
    return report_figure("forgetting", plot_forgetting(titled, "r2"))


def _drawings(run: RunContent) -> dict[str, Callable[[], Figure] | None]:
    """Return what draws each figure that this run can have."""
    drawings: dict[str, Callable[[], Figure] | None] = {}
    if any(not record.adopted for record in run.records):
        drawings["learning_curves"] = lambda: plot_learning_curves(run.records)
    results = run.results
    if results is not None and len(results["experiences"]) > 1:
        name = str(run.header.get("strategy", "this run"))
        drawings["forgetting"] = lambda: plot_forgetting({name: results}, "r2")
    if run.folder.gating_weights.is_file():
        drawings |= _gate_drawings(run)
    return drawings


def _gate_drawings(run: RunContent) -> dict[str, Callable[[], Figure]]:
    try:
        rows = read_gating_weights(run.folder)
    except UserError as error:
        run.problems.append(str(error))
        return {}
    drawings: dict[str, Callable[[], Figure]] = {
        "gating": lambda: plot_gating(rows),
        "gating_overview": lambda: plot_gating_overview(rows),
        "scale_preference": lambda: plot_scale_preference(rows),
        "extent_profile": lambda: plot_extent_profile(rows),
    }
    pairs = _compared_tasks(rows)
    if pairs:
        drawings["gate_distances"] = lambda: _draw_distances(run.folder, pairs)
    return drawings


def _compared_tasks(rows: Sequence[GatingRow]) -> dict[str, list[str]]:
    """Return the tasks to compare each added task with.

    Those learned before it in this run, or those of the model that the run started
    from: they are in the network but were learned in no experience of this run.
    """
    learned = {row.task: row.experience for row in rows}
    known = [task for task, experience in learned.items() if experience is not None]
    base = [task for task in learned if task not in known]
    return earlier_tasks(rows) or {task: base for task in known if base}


def _draw_distances(folder: RunFolder, pairs: Mapping[str, Sequence[str]]) -> Figure:
    _, tables = load_gating(folder)
    known = {table.task for table in tables}  # fewer if the table is ahead of the model
    return plot_gate_distances(
        [
            distance
            for task, others in pairs.items()
            if task in known
            for distance in gate_distances(tables, task, others)
        ]
    )


def _png(path: Path, draw: Callable[[], Figure] | None) -> bytes:
    """Return the figure of the folder if it is a sound PNG, else draw it."""
    if path.is_file():
        content = path.read_bytes()
        try:
            Image.open(io.BytesIO(content), formats=("PNG",)).verify()
        except (OSError, SyntaxError, UnidentifiedImageError):
            if draw is None:
                raise UserError(f"{path}: not a PNG image") from None
        else:
            return content
    if draw is None:
        raise UserError(f"{path}: no such file")
    return _drawn(draw())


def _drawn(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def report_figure(name: str, drawn: Figure | bytes) -> ReportFigure:
    """Return a figure, drawn or a PNG, with its caption."""
    content = _drawn(drawn) if isinstance(drawn, Figure) else drawn
    width, height = Image.open(io.BytesIO(content)).size
    return ReportFigure(
        name=name,
        uri=data_uri(content, "png"),
        width=round(width * _SCREEN_DPI / DOTS_PER_INCH),
        height=round(height * _SCREEN_DPI / DOTS_PER_INCH),
        caption=_CAPTIONS[name],
    )
