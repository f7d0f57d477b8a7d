"""How a lab wants its structure to be learned: for Python and the command line.

Imports nothing heavy, so that ``continual-repmode extend --help`` answers at once.
"""

from dataclasses import dataclass, fields

from continual_repmode.errors import UserError
from continual_repmode.manifests.options import VOLUMES, ManifestOptions
from continual_repmode.option_fields import flag_of, option, per_axis
from continual_repmode.results import FORMATS, LOGGERS, USUAL_LOGGERS

DEFAULT_PATCH = (16, 32, 32)
"""Training patch (z, y, x) for a model file without its window, in voxels."""
DEFAULT_VOXEL_SIZE_UM = (0.29, 0.29, 0.29)
"""Model grid (z, y, x) of a model without one in its card, as in the paper."""
DEFAULT_STEPS = 600
"""Steps of the optimizer where no epochs are given, whatever the number of images."""
NUM_SAVINGS = 10
"""How often, at least, the state of the training is saved."""

_LEARNING = "learning"
_DECIDE_NOTHING = ("device", "cache_dir", "workers", "refuse_missing_chunks")
"""Settings that the results do not depend on."""
_LISTS = ("image_curve", "metrics", "loggers", "figures")
"""Settings of any number of values."""


def _sizes(text: str) -> tuple[int, ...]:
    """Read ``1,2,4`` or ``none``."""
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"--image-curve {text}: use numbers of images such as 1,2,4, or none"
        ) from None


def _names(text: str) -> tuple[str, ...]:
    """Read ``csv,wandb`` or ``none``."""
    return () if text == "none" else tuple(text.split(","))


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtensionSettings(ManifestOptions):
    """Everything about an extension besides model, manifest and task.

    Each field is an option of ``continual-repmode extend``, whose ``--help`` says what
    it does; None leaves it to its default. Sizes are (z, y, x). From Python, no expert
    (``none``) is ``expert=None``, no curve (``none``) is ``image_curve=()``, and
    ``workers`` is 1 unless given; a script that asks for more needs the usual
    ``if __name__ == "__main__"`` guard. See
    :meth:`continual_repmode.models.RepModeUNet.add_task` for experts and gates: an
    additive expert starts at zero, one of the softmax at random.
    """

    epochs: int | None = option(
        None,
        "one random patch of every training image is an epoch (default: as many "
        f"as make {DEFAULT_STEPS} steps)",
        group=_LEARNING,
    )
    patch_size: tuple[int, int, int] | None = per_axis(
        None,
        "in voxels of the model grid (default: the model's window, or 16 32 32, "
        "cut to what fits into the images)",
        int,
        _LEARNING,
    )
    plan: str | None = option(
        None,
        "auto: the patch as large as memory and two hours allow, and as many epochs "
        "as fit into a day, tried on this machine, where you do not give them",
        group=_LEARNING,
        choices=("auto",),
    )
    pad_small: bool = option(
        False,
        "pad training images smaller than the patch instead of refusing them",
        group=_LEARNING,
    )
    batch_size: int = option(4, "patches in a step (default: 4)", group=_LEARNING)
    learning_rate: float = option(0.005, "of Adam (default: 0.005)", group=_LEARNING)
    schedule: str = option(
        "one_cycle",
        "of the learning rate (default: one_cycle)",
        group=_LEARNING,
        choices=("one_cycle", "constant"),
    )
    patience: int | None = option(
        None,
        "end at a validation that comes so many epochs after the best one; with "
        "--schedule constant, as a falling rate would be cut short (default: never)",
        group=_LEARNING,
    )
    expert: str | None = option(
        "conv3",
        "what each block gains: conv3 (default), conv3_rank4 (far smaller), "
        "conv1, conv5, avg3_conv1, ..., or none: a gate only",
        lambda kind: None if kind == "none" else kind,
        group=_LEARNING,
        metavar="KIND",
    )
    expert_mix: str = option(
        "additive",
        "additive (default): the expert is added to what the known ones make; "
        "softmax: it competes with them, as in the paper",
        group=_LEARNING,
        choices=("additive", "softmax"),
    )
    gate_init: str = option(
        "closest",
        "how gate and normalization start: closest (default; of the known "
        "structure that predicts the new images best), mean, uniform, or a known "
        "structure",
        group=_LEARNING,
        metavar="START",
    )
    gate_rate: float = option(
        20.0, "factor of the learning rate for gates (default: 20)", group=_LEARNING
    )
    outer_rate: float = option(
        10.0,
        "factor of the learning rate for outer factors of low-rank experts "
        "(default: 10)",
        group=_LEARNING,
    )
    private_bn: bool = option(
        True,
        "batch normalizations of its own (default), or those of the others",
        group=_LEARNING,
    )
    use_extensions: bool = option(
        False, "let it use the experts of earlier extensions too", group=_LEARNING
    )
    image_curve: tuple[int, ...] | None = option(
        None,
        "also learn from so many training images, in as many steps; none: do not "
        "(default: a half, a quarter and an eighth of them, which takes up to "
        "three times longer again)",
        _sizes,
        group=_LEARNING,
        metavar="N,N,...",
    )
    reference: str | None = option(
        None,
        "also train a network of its own from scratch, a plain U-Net of the "
        "model's width and depth with 3x3x3 kernels, on the same images in as many "
        "steps, and say which was better (about as long again)",
        group=_LEARNING,
        choices=("scratch",),
    )
    metrics: tuple[str, ...] = option(
        (),
        "measure by these, too: ssim,dice or a set of them, field, objects or "
        "lightmycells (default: MSE, MAE, R2 and Pearson's r only)",
        _names,
        group=_LEARNING,
        metavar="NAMES",
    )
    loggers: tuple[str, ...] = option(
        USUAL_LOGGERS,
        "where learning curves, figures and the model go besides the folder: "
        "csv,tensorboard (default), mlflow, wandb, or none",
        _names,
        group=_LEARNING,
        metavar="NAMES",
    )
    figures: tuple[str, ...] = option(
        ("png",),
        "what figures are written as besides PNG: pdf,svg",
        _names,
        group=_LEARNING,
        metavar="FORMATS",
    )
    device: str = option(
        "auto", "auto (default), cpu, cuda or mps", group=_LEARNING, metavar="NAME"
    )
    precision: str = option(
        "float32",
        "bfloat16 is for GPUs (default: float32)",
        group=_LEARNING,
        choices=("float32", "bfloat16"),
    )
    seed: int = option(
        0,
        "of learning, and of the random split of a manifest without the column "
        "split (default: 0)",
        group=_LEARNING,
    )
    voxel_size_um: tuple[float, float, float] | None = per_axis(
        None, "of the model grid in um, for a model file without it", float, VOLUMES
    )
    workers: int = option(
        1,
        "processes that check and prepare volumes (default: one per core)",
        group=VOLUMES,
    )

    def __post_init__(self) -> None:
        """Check ranges and choices.

        Raises UserError: for the first value that cannot be.
        """
        for name in ("epochs", "patience", "batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value}: use 1 or more")
        for name in ("learning_rate", "gate_rate", "outer_rate"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name}={getattr(self, name)}: use more than 0")
        if self.seed < 0:
            raise UserError(f"seed={self.seed}: use 0 or more")
        for sides in (self.patch_size, self.image_curve):
            if sides is not None and any(side < 1 for side in sides):
                name = "patch_size" if sides is self.patch_size else "image_curve"
                raise UserError(f"{name}={sides}: use whole numbers from 1")
        if self.schedule not in ("one_cycle", "constant"):
            raise UserError(f"schedule={self.schedule!r}: use one_cycle or constant")
        if self.plan not in (None, "auto"):
            raise UserError(f"plan={self.plan!r}: use auto or None")
        if self.reference not in (None, "scratch"):
            raise UserError(f"reference={self.reference!r}: use scratch or None")
        if self.precision not in ("float32", "bfloat16"):
            raise UserError(f"precision={self.precision!r}: use float32 or bfloat16")
        for name, choices in (("loggers", LOGGERS), ("figures", FORMATS)):
            for chosen in getattr(self, name):
                if chosen not in choices:
                    some = ",".join(choices)
                    raise UserError(f"{name}={chosen}: use some of {some}, or none")
        if self.metrics:
            from continual_repmode.metrics.further import choose_metrics

            choose_metrics(self.metrics, "metrics=")

    def command_line(self) -> list[str]:
        """Return the settings that differ from the defaults as words of the command."""
        words: list[str] = []
        for declared in fields(self):
            value, flag = getattr(self, declared.name), flag_of(declared)
            if value == declared.default or declared.name in _DECIDE_NOTHING:
                continue
            match value:
                case True:
                    words += [flag]
                case False:
                    words += [flag.replace("--", "--no-", 1)]
                case None | ():
                    words += [flag, "none"]
                case tuple() if declared.name in _LISTS:
                    words += [flag, ",".join(map(str, value))]
                case tuple():
                    words += [flag, *map(str, value)]
                case _:
                    words += [flag, str(value)]
        return words

    def num_epochs(self, num_images: int) -> int:
        """Return how many epochs to learn from so many images."""
        if self.epochs is not None:
            return self.epochs
        steps_per_epoch = -(-num_images // self.batch_size)
        return -(-DEFAULT_STEPS // steps_per_epoch)
