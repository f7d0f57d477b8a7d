"""What a caller may choose about predicting files: for Python and the command line.

Imports nothing heavy, so that ``continual-repmode predict --help`` answers at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from continual_repmode.errors import UserError
from continual_repmode.option_fields import option, per_axis

if TYPE_CHECKING:
    from continual_repmode.inference.windows import Overlap
    from continual_repmode.trained_model import Precision
    from continual_repmode.volumes.preparation import VoxelSizeUm
    from continual_repmode.volumes.volume import Size3

Unit = Literal["zscore", "target"]
Blank = Literal["nan", "zero"]


def _choices(words: Sequence[str]) -> dict[str, str]:
    """Return what ``--choose`` says, as a mapping."""
    chosen: dict[str, str] = {}
    for word in words:
        what, _, which = word.partition("=")
        if not what or not which:
            raise UserError(f"--choose {word}: use WHAT=WHICH, such as scene=0")
        if what in chosen:
            raise UserError(
                f"--choose {word}: {what}={chosen[what]} is chosen, too; give one"
            )
        chosen[what] = which
    return chosen


def _bytes(amount: str) -> int:
    from continual_repmode.inference.memory import parse_bytes

    return parse_bytes(amount)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictOptions:
    """Choices for all images of a call.

    Each field but ``progress`` is an option of ``continual-repmode predict``, whose
    ``--help`` says what it does. Sizes are (z, y, x). From Python, ``channel`` and
    ``target`` may also be an index, ``target`` a path, ``overlap`` one number for all
    axes, and ``memory`` is in bytes. ``choices`` (``--choose``) maps what is chosen to
    which: see :func:`continual_repmode.volumes.opening.open_volume`. ``progress`` shows
    progress bars, if stderr is a terminal.
    """

    tasks: str | tuple[str, ...] = option(
        "all",
        "structures to predict: dna,nucleolus (default: all that MODEL knows)",
        metavar="NAMES",
    )
    channel: int | str | None = option(
        None,
        "the transmitted light (default: the only channel that is named so)",
        metavar="NAME_OR_INDEX",
    )
    voxel_size_um: "VoxelSizeUm | None" = per_axis(
        None, "voxel size of the images in um, whatever their metadata say", float
    )
    choices: Mapping[str, str] = option(
        dict,
        "of files that hold several: scene=0, time=3, level=1 and so on; may be "
        "repeated",
        _choices,
        "--choose",
        metavar="WHAT=WHICH",
        action="append",
    )
    target: int | str | Path | None = option(
        None,
        "fluorescence to compare the one task with; writes metrics.csv",
        metavar="CHANNEL_OR_FILE",
    )
    metrics: str | tuple[str, ...] = option(
        (),
        "compare by these, too: ssim,dice or a set of them, field, objects or "
        "lightmycells (default: MSE, MAE, R2 and Pearson's r only)",
        metavar="NAMES",
    )
    uncertainty: bool = option(
        False,
        "predict each window in all eight orientations of the plane: write their "
        "mean and, as one more channel per structure, their standard deviation "
        "(eight times the work)",
    )
    ensemble: tuple[str | Path, ...] = option(
        (),
        "another model of the same structures and voxel size: predict the mean of "
        "all (with --uncertainty, the deviation over all, too); may be repeated",
        tuple,
        metavar="MODEL",
        action="append",
    )
    series: Literal["whole", "per-frame"] = option(
        "whole",
        "z-score of a time series (--choose time=all): one for all of it, so that "
        "nothing flickers, or per-frame (default: whole)",
        choices=("whole", "per-frame"),
    )
    root: str | Path | None = option(
        None,
        "what relative paths of a manifest are relative to (default: its folder)",
        metavar="DIR",
    )
    intensity: Unit = option(
        "zscore",
        "z-scores, or the mean intensities of the training images (default: zscore)",
        choices=("zscore", "target"),
    )
    padding: Blank = option(
        "nan",
        "what is written where the light is padding, borders that were not "
        "recorded (default: nan)",
        choices=("nan", "zero"),
    )
    memory: int | None = option(
        None,
        "such as 4GB, for all the command takes (default: half of this machine's)",
        _bytes,
        metavar="AMOUNT",
    )
    device: str = option("auto", "auto, cpu, cuda or mps (default: auto)")
    precision: "Precision | Literal['auto']" = option(
        "float32",
        "of the network; auto: bfloat16 where the processor has instructions for it "
        "and the model's test MSE changes by less than 0.5 %% (default: float32)",
        choices=("float32", "bfloat16", "auto"),
    )
    window: "Size3 | None" = per_axis(
        None, "voxels predicted at a time (default: as the model was tested)", int
    )
    overlap: "Overlap | None" = per_axis(
        None,
        "share of a window that the next one covers again (default: as the model "
        "was tested; 0.45 0.125 0.125 is about three times as fast)",
        float,
    )
    batch_size: int | None = option(
        None, "windows at a time (default: 1 on a CPU, else 8)"
    )
    model_voxel_size_um: "VoxelSizeUm | None" = per_axis(
        None, "voxel size in um of a MODEL that has none in its metadata", float
    )
    overwrite: bool = option(False, "replace outputs that were made in another way")
    yes: bool = option(
        False,
        "what is asked back, such as two planes or a very large number of windows, "
        "is right",
    )
    refuse_missing_chunks: bool = option(
        False,
        "an OME-Zarr of which chunk files are missing fails, instead of a warning",
    )
    progress: bool = False
