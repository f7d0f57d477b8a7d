"""What a caller may choose about predicting files: for Python and the command line.

Imports nothing heavy, so that ``continual-repmode predict --help`` answers at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    tasks: str | tuple[str, ...] = field(
        default="all",
        metadata=option(
            "structures to predict: dna,nucleolus (default: all that MODEL knows)",
            metavar="NAMES",
        ),
    )
    channel: int | str | None = field(
        default=None,
        metadata=option(
            "the transmitted light (default: the only channel that is named so)",
            metavar="NAME_OR_INDEX",
        ),
    )
    voxel_size_um: "VoxelSizeUm | None" = field(
        default=None,
        metadata=per_axis(
            "voxel size of the images in um, whatever their metadata say", float
        ),
    )
    choices: Mapping[str, str] = field(
        default_factory=dict,
        metadata=option(
            "of files that hold several: scene=0, time=3, level=1 and so on; may be "
            "repeated",
            _choices,
            "--choose",
            metavar="WHAT=WHICH",
            action="append",
        ),
    )
    target: int | str | Path | None = field(
        default=None,
        metadata=option(
            "fluorescence to compare the one task with; writes metrics.csv",
            metavar="CHANNEL_OR_FILE",
        ),
    )
    metrics: str | tuple[str, ...] = field(
        default=(),
        metadata=option(
            "compare by these, too: ssim,dice or a set of them, field, objects or "
            "lightmycells (default: MSE, MAE, R2 and Pearson's r only)",
            metavar="NAMES",
        ),
    )
    uncertainty: bool = field(
        default=False,
        metadata=option(
            "predict each window in all eight orientations of the plane: write their "
            "mean and, as one more channel per structure, their standard deviation "
            "(eight times the work)",
            action="store_true",
        ),
    )
    ensemble: tuple[str | Path, ...] = field(
        default=(),
        metadata=option(
            "another model of the same structures and voxel size: predict the mean of "
            "all (with --uncertainty, the deviation over all, too); may be repeated",
            tuple,
            metavar="MODEL",
            action="append",
        ),
    )
    series: Literal["whole", "per-frame"] = field(
        default="whole",
        metadata=option(
            "z-score of a time series (--choose time=all): one for all of it, so that "
            "nothing flickers, or per-frame (default: whole)",
            choices=("whole", "per-frame"),
        ),
    )
    root: str | Path | None = field(
        default=None,
        metadata=option(
            "what relative paths of a manifest are relative to (default: its folder)",
            metavar="DIR",
        ),
    )
    intensity: Unit = field(
        default="zscore",
        metadata=option(
            "z-scores, or the mean intensities of the training images (default: "
            "zscore)",
            choices=("zscore", "target"),
        ),
    )
    padding: Blank = field(
        default="nan",
        metadata=option(
            "what is written where the light is padding, borders that were not "
            "recorded (default: nan)",
            choices=("nan", "zero"),
        ),
    )
    memory: int | None = field(
        default=None,
        metadata=option(
            "such as 4GB, for all the command takes (default: half of this machine's)",
            _bytes,
            metavar="AMOUNT",
        ),
    )
    device: str = field(
        default="auto", metadata=option("auto, cpu, cuda or mps (default: auto)")
    )
    precision: "Precision | Literal['auto']" = field(
        default="float32",
        metadata=option(
            "of the network; auto: bfloat16 where the processor has instructions for "
            "it and the model's test MSE changes by less than 0.5 %% (default: "
            "float32)",
            choices=("float32", "bfloat16", "auto"),
        ),
    )
    window: "Size3 | None" = field(
        default=None,
        metadata=per_axis(
            "voxels predicted at a time (default: as the model was tested)", int
        ),
    )
    overlap: "Overlap | None" = field(
        default=None,
        metadata=per_axis(
            "share of a window that the next one covers again (default: as the model "
            "was tested; 0.45 0.125 0.125 is about three times as fast)",
            float,
        ),
    )
    batch_size: int | None = field(
        default=None,
        metadata=option(
            "windows at a time (default: 1 on a CPU, else 8)", type=int, metavar="N"
        ),
    )
    model_voxel_size_um: "VoxelSizeUm | None" = field(
        default=None,
        metadata=per_axis(
            "voxel size in um of a MODEL that has none in its metadata", float
        ),
    )
    overwrite: bool = field(
        default=False,
        metadata=option(
            "replace outputs that were made in another way", action="store_true"
        ),
    )
    yes: bool = field(
        default=False,
        metadata=option(
            "what is asked back, such as two planes or a very large number of windows, "
            "is right",
            action="store_true",
        ),
    )
    progress: bool = False
