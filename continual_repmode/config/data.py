"""Settings of the volumes: one class per option of ``data``."""

from dataclasses import dataclass, field
from typing import get_args

from omegaconf import MISSING

from continual_repmode.checks import require, require_choice, require_sides
from continual_repmode.data.dataset import Sampling
from continual_repmode.data.variation import Variation
from continual_repmode.volumes.preparation import Order, Storage
from continual_repmode.volumes.resampling import ResizeMethod
from continual_repmode.volumes.volume import DEFAULT_WINDOW


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """Patches and windows; the base of the data options."""

    #: Training patch [z, y, x] in voxels.
    patch_size: list[int] = field(default_factory=lambda: [*DEFAULT_WINDOW])
    #: Axes along which training patches are flipped at random; the paper: ZYX. A flip
    #: along Z turns the contrast of transmitted light around, which is harder to learn.
    flip_axes: str = "ZYX"
    #: uniform (paper): training patches from everywhere; foreground: more often
    #: from where the target is bright. The loss is not corrected for it.
    sampling: str = "uniform"
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
    window: list[int] | None = None
    #: Training images of each task that arrives after the first experience; null: all.
    num_new: int | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        require_sides("data.patch_size", self.patch_size)
        if self.window is not None:
            require_sides("data.window", self.window)
        require_choice("data.sampling", self.sampling, get_args(Sampling))
        self.variation().check_patch(self.patch_size)
        few = self.num_new
        require(few is None or few >= 1, "data.num_new", few, "at least 1, or null")

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
    num_train: int = 54
    num_valid: int = 6
    num_test: int = 20
    #: Size of a volume [z, y, x] in voxels of 0.29 um.
    shape: list[int] = field(default_factory=lambda: [*DEFAULT_WINDOW])
    #: Seed of the cells, apart from that of the run.
    seed: int = 0
    #: Where generated volumes are kept; null: the user's cache folder.
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        DataConfig.__post_init__(self)
        for name in ("num_train", "num_valid", "num_test"):
            value = getattr(self, name)
            require(value >= 1, f"data.{name}", value, "at least 1")
        require_sides("data.shape", self.shape)
        require(self.seed >= 0, "data.seed", self.seed, "at least 0")


_MANIFEST_CHOICES = {
    "resize": get_args(ResizeMethod),
    "order": get_args(Order),
    "storage": get_args(Storage),
}


@dataclass(kw_only=True, slots=True)
class ManifestConfig(DataConfig):
    """Volumes listed in a CSV file."""

    #: The CSV file, or a folder of them; see docs/data.md for the columns.
    manifest: str = MISSING
    #: What relative paths in it are relative to; null: the folder of the CSV file.
    root: str | None = None
    #: Voxel size [z, y, x] of the model grid in um.
    voxel_size_um: list[float] = field(default_factory=lambda: [0.29, 0.29, 0.29])
    #: Voxel size [z, y, x] in um of the files, whatever they say; null: what they say.
    source_voxel_size_um: list[float] | None = None
    #: Seed of the split into training, validation and test images.
    seed: int = 0
    #: paper: cubic splines as in the published code; fast: average and linear.
    resize: str = "paper"
    #: zscore_first as in the paper, or resize_first.
    order: str = "zscore_first"
    #: Type of prepared volumes on disk: float16 or float32.
    storage: str = "float16"
    #: Where prepared volumes are kept; null: the user's cache folder.
    cache_dir: str | None = None
    #: An OME-Zarr of which chunk files are missing is an error, not only a warning.
    refuse_missing_chunks: bool = False
    #: What the check asks back, such as two planes or DAPI as light, is right.
    yes: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        DataConfig.__post_init__(self)
        require(self.seed >= 0, "data.seed", self.seed, "at least 0")
        require_sides("data.voxel_size_um", self.voxel_size_um)
        for name, choices in _MANIFEST_CHOICES.items():
            require_choice(f"data.{name}", getattr(self, name), choices)
        if self.source_voxel_size_um is not None:
            require_sides("data.source_voxel_size_um", self.source_voxel_size_um)
