"""How a lab wants its structure to be learned, checked where it is written down."""

from dataclasses import dataclass
from pathlib import Path

from continual_repmode.errors import UserError

DEFAULT_PATCH = (16, 32, 32)
"""Training patch (z, y, x) for a model that does not tell its window, in voxels."""
DEFAULT_VOXEL_SIZE_UM = (0.29, 0.29, 0.29)
"""Model grid (z, y, x) of a model that does not tell its own, as in the paper."""
DEFAULT_STEPS = 600
"""Steps of the optimizer where no epochs are given, whatever the number of images."""
NUM_SAVINGS = 10
"""How often, at least, the state of the training is saved."""

_OPTIONS = {
    "epochs": "--epochs",
    "patch_size": "--patch-size",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "schedule": "--schedule",
    "expert": "--expert",
    "expert_mix": "--expert-mix",
    "gate_init": "--gate-init",
    "gate_rate": "--gate-rate",
    "outer_rate": "--outer-rate",
    "private_bn": "--private-bn",
    "use_extensions": "--use-extensions",
    "precision": "--precision",
    "seed": "--seed",
    "reference": "--reference",
    "image_curve": "--image-curve",
    "voxel_size_um": "--voxel-size",
    "source_voxel_size_um": "--source-voxel-size",
    "root": "--root",
}
"""Settings that decide the results -> what the command calls them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtensionSettings:
    """Everything about an extension besides model, manifest and task.

    Attributes
    ----------
    epochs : int or None
        An epoch is one random patch of every training image; None: as many as make
        :data:`DEFAULT_STEPS` steps.
    patch_size : tuple of int or None
        Training patch (Z, Y, X) in voxels of the model grid; None: the model's window,
        cut to what fits into the images.
    batch_size : int
        Patches in a batch.
    learning_rate : float
        Of Adam.
    schedule : {"one_cycle", "constant"}
        See :func:`continual_repmode.training.plugins.learning_rate.one_cycle`.
    expert, expert_mix, private_bn, use_extensions
        See :meth:`continual_repmode.models.RepModeUNet.add_task`. An additive expert
        starts at zero, one of the softmax at random.
    gate_init : str
        How gate and normalization start: ``mean`` of the known tasks, ``uniform``,
        ``closest`` (of the known task that predicts the new images best), or the name
        of a known task.
    gate_rate, outer_rate : float
        Factors of the learning rate for gates, and for outer factors of low-rank
        experts.
    precision : {"float32", "bfloat16"}
        Of training and testing; bfloat16 is for GPUs.
    seed : int
        Of training, and of the random split of a manifest without the column split.
    reference : {"scratch", None}
        Also train a network of its own for the structure, from scratch, to compare the
        extension with: a plain U-Net of the model's width and depth with 3x3x3 kernels,
        on the same images, in as many steps of the same batches, patches, learning rate
        and schedule.
    image_curve : tuple of int or None
        Numbers of training images to learn from besides all of them; None: a half, a
        quarter and an eighth; empty: none.
    voxel_size_um : tuple of float or None
        Model grid (z, y, x) in micrometres, for a model that does not tell its own.
    source_voxel_size_um : tuple of float or None
        Voxel size (z, y, x) in micrometres of all files, whatever their metadata say;
        only columns of the manifest come before it.
    root : str, Path or None
        What relative paths in the manifest are relative to; None: its folder.
    cache_dir : str, Path or None
        Where prepared volumes are kept; None: the user's cache folder.
    workers : int
        Processes that check and prepare volumes; a script that asks for more than one
        needs the usual ``if __name__ == "__main__"`` guard.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    """

    epochs: int | None = None
    patch_size: tuple[int, int, int] | None = None
    batch_size: int = 4
    learning_rate: float = 0.005
    schedule: str = "one_cycle"
    expert: str | None = "conv3"
    expert_mix: str = "additive"
    gate_init: str = "closest"
    gate_rate: float = 20.0
    outer_rate: float = 10.0
    private_bn: bool = True
    use_extensions: bool = False
    precision: str = "float32"
    seed: int = 0
    reference: str | None = None
    image_curve: tuple[int, ...] | None = None
    voxel_size_um: tuple[float, float, float] | None = None
    source_voxel_size_um: tuple[float, float, float] | None = None
    root: str | Path | None = None
    cache_dir: str | Path | None = None
    workers: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check ranges and choices.

        Raises
        ------
        UserError
            For the first value that cannot be.
        """
        for name in ("epochs", "batch_size", "workers"):
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
        if self.reference not in (None, "scratch"):
            raise UserError(f"reference={self.reference!r}: use scratch or None")
        if self.precision not in ("float32", "bfloat16"):
            raise UserError(f"precision={self.precision!r}: use float32 or bfloat16")

    def command_line(self) -> list[str]:
        """Return the settings that differ from the defaults as words of the command."""
        words: list[str] = []
        for name, option in _OPTIONS.items():
            value = getattr(self, name)
            if value == getattr(ExtensionSettings(), name):
                continue
            match value:
                case True:
                    words += [option]
                case False:
                    words += [option.replace("--", "--no-", 1)]
                case None | ():
                    words += [option, "none"]
                case tuple() if name == "image_curve":
                    words += [option, ",".join(map(str, value))]
                case tuple():
                    words += [option, *map(str, value)]
                case _:
                    words += [option, str(value)]
        return words

    def num_epochs(self, num_images: int) -> int:
        """Return how many epochs to learn from so many images."""
        if self.epochs is not None:
            return self.epochs
        steps_per_epoch = -(-num_images // self.batch_size)
        return -(-DEFAULT_STEPS // steps_per_epoch)
