"""Settings of the volumes: one class per option of ``data``."""

from dataclasses import dataclass
from typing import get_args

from omegaconf import MISSING

from continual_repmode.checks import SIDES, at_least, check_settings, one_of, setting
from continual_repmode.data.dataset import Sampling
from continual_repmode.data.variation import Variation
from continual_repmode.volumes.preparation import Order, Storage
from continual_repmode.volumes.resampling import ResizeMethod
from continual_repmode.volumes.volume import DEFAULT_WINDOW


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """Patches and windows; the base of the data options."""

    #: Training patch [z, y, x] in voxels.
    patch_size: list[int] = setting(lambda: [*DEFAULT_WINDOW], SIDES)
    #: Axes along which training patches are flipped at random; the paper: ZYX. A flip
    #: along Z turns the contrast of transmitted light around, which is harder to learn.
    flip_axes: str = "ZYX"
    #: uniform (paper): training patches from everywhere; foreground: more often
    #: from where the target is bright. The loss is not corrected for it.
    sampling: str = setting("uniform", one_of(*get_args(Sampling)))
    #: Random turns of training patches in the plane YX: none (paper), quarter turns, or
    #: any angle.
    rotation: str = "none"
    #: Random scale of training patches in the plane YX; 0.1: 0.9 to 1.1 times as large.
    scaling: float = 0.0
    #: Random gain and offset of the light in training; 0.1: a gain of 0.9 to 1.1, an
    #: offset of -0.1 to 0.1 standard deviations.
    intensity: float = 0.0
    #: Noise added to the light in training, in standard deviations of the image.
    noise: float = 0.0
    #: Pad volumes smaller than the patch instead of refusing them.
    pad_small: bool = False
    #: Prediction window [z, y, x] in voxels; null: the size of the patch.
    window: list[int] | None = setting(None, SIDES)
    #: Training images of each task that arrives after the first experience; null: all.
    num_new: int | None = setting(None, at_least(1))

    def __post_init__(self) -> None:
        """Check ranges."""
        check_settings(self, "data")
        self.variation().check_patch(self.patch_size)

    def variation(self) -> Variation:
        """Return how training patches are changed at random, besides flips."""
        return Variation(
            rotation=self.rotation,
            scaling=self.scaling,
            intensity=self.intensity,
            noise=self.noise,
        )

    def window_size(self) -> tuple[int, int, int]:
        """Return the prediction window (Z, Y, X)."""
        z, y, x = self.window or self.patch_size
        return z, y, x


@dataclass(kw_only=True, slots=True)
class SyntheticConfig(DataConfig):
    """Generated cell monolayers."""

    #: Training, validation and test volumes of each task.
    num_train: int = setting(54, at_least(1))
    num_valid: int = setting(6, at_least(1))
    num_test: int = setting(20, at_least(1))
    #: Size of a volume [z, y, x] in voxels of 0.29 um.
    shape: list[int] = setting(lambda: [*DEFAULT_WINDOW], SIDES)
    #: Seed of the cells, apart from that of the run.
    seed: int = setting(0, at_least(0))
    #: Where generated volumes are kept; null: the user's cache folder.
    cache_dir: str | None = None


@dataclass(kw_only=True, slots=True)
class ManifestConfig(DataConfig):
    """Volumes listed in a CSV file."""

    #: The CSV file, or a folder of them; see docs/data.md for the columns.
    manifest: str = MISSING
    #: What relative paths in it are relative to; null: the folder of the CSV file.
    root: str | None = None
    #: Voxel size [z, y, x] of the model grid in um.
    voxel_size_um: list[float] = setting(lambda: [0.29, 0.29, 0.29], SIDES)
    #: Voxel size [z, y, x] in um of the files, whatever they say; null: what they say.
    source_voxel_size_um: list[float] | None = setting(None, SIDES)
    #: Seed of the split into training, validation and test images.
    seed: int = setting(0, at_least(0))
    #: paper: cubic splines as in the published code; fast: average and linear.
    resize: str = setting("paper", one_of(*get_args(ResizeMethod)))
    #: zscore_first as in the paper, or resize_first.
    order: str = setting("zscore_first", one_of(*get_args(Order)))
    #: Type of prepared volumes on disk: float16 or float32.
    storage: str = setting("float16", one_of(*get_args(Storage)))
    #: Where prepared volumes are kept; null: the user's cache folder.
    cache_dir: str | None = None
    #: An OME-Zarr of which chunk files are missing is an error, not only a warning.
    refuse_missing_chunks: bool = False
    #: What the check asks back, such as two planes or DAPI as light, is right.
    yes: bool = False
