"""Part of the report: errors against predicted deviations, of predictions with both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from continual_repmode.errors import UserError
from continual_repmode.paths import user_path
from continual_repmode.prediction.calibration import (
    CALIBRATION_FILE,
    factor_of,
    plot_calibration,
    read_calibration,
)
from continual_repmode.reporting.run_figures import ReportFigure, report_figure


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationLine:
    """One task in a folder of predictions."""

    task: str
    num_images: int
    num_voxels: int
    #: How many times larger errors were than deviations: all, and the voxels of the
    #: smallest and of the largest deviations.
    factor: float
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationSection:
    """What the report shows of a folder of predictions."""

    folder: Path
    lines: list[CalibrationLine]
    figure: ReportFigure


def calibration_sections(folders: Sequence[str | Path]) -> list[CalibrationSection]:
    """Read folders that ``predict --uncertainty --target`` has written.

    Raises UserError if there is no ``calibration.csv``, or it cannot be read.
    """
    return [_section(user_path(folder)) for folder in folders]


def _section(folder: Path) -> CalibrationSection:
    table = read_calibration(folder)
    if not table:
        raise UserError(
            f"--predicted {folder}: no {CALIBRATION_FILE} there; name a folder that "
            "continual-repmode predict --uncertainty --target has written"
        )
    lines = []
    for task in dict.fromkeys(task for _, task in table):
        images = [points for (_, of), points in table.items() if of == task]
        lines.append(
            CalibrationLine(
                task=task,
                num_images=len(images),
                num_voxels=sum(num for points in images for num, *_ in points),
                factor=factor_of([point for points in images for point in points]),
                lowest=factor_of([points[0] for points in images]),
                highest=factor_of([points[-1] for points in images]),
            )
        )
    figure = report_figure("calibration", plot_calibration(table))
    return CalibrationSection(folder=folder, lines=lines, figure=figure)
